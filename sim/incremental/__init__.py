"""Re-simulation of what changed: a plan that is edited tensor by tensor, and its time after each edit."""
