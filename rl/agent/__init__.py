"""Agents that learn mallocGame: a JAX twin of the rules, search, training, checkpoints."""
