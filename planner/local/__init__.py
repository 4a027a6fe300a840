"""Search from the best plan so far."""
