"""Machines as YAML: the built-in ones and the reader for a user's own."""
