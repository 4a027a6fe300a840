"""Planners: from a problem to a plan with a proved bound."""
