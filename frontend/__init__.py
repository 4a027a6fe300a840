"""Frontends: from the files and functions that people have to a graph."""
