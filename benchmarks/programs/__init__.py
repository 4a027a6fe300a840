"""Real programs in plain JAX, by shape only: what the placement suite is made of."""
