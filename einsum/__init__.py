"""Cascades of extended Einsums: what is computed, free of when and where."""
