"""Placement as a single-player game, and agents that play it."""
