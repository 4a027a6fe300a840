"""Sweeps: many points of models, machines and planners, run by workers, kept in a folder, and compared."""
