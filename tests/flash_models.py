"""Model sizes for tests, counted from configurations."""

from tierplan.model_bytes import model_bytes

__all__ = ["model_bytes"]
