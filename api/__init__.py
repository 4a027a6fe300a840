"""tierplan."""
