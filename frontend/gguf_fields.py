"""The metadata of a GGUF file, by the key behind the name of its architecture."""

from tierplan.frontend.gguf import GgufFile, Value
from tierplan.ir.errors import InvalidInputError

_LARGEST = 10**9


class Metadata:
    """Typed look-ups in the metadata of one file.

    Raises: InvalidInputError: a value is missing or is not what its key asks for.
    """

    def __init__(self, file: GgufFile) -> None:
        self.source = file.source
        self._values = file.metadata
        self._prefix = f"{file.metadata.get('general.architecture')}."

    def __contains__(self, key: str) -> bool:
        return self._prefix + key in self._values

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number of 0 or more; without a default, of 1 or more."""
        value = self._values.get(self._prefix + key)
        if value is None and default is not None:
            return default
        return self._checked(key, value, 0 if default is not None else 1)

    def count_of_all(self, key: str, default: int | None = None) -> int:
        """A number that all layers share; a list of one for each layer must have the same for all that have any."""
        value = self._values.get(self._prefix + key)
        if not isinstance(value, tuple):
            return self.count(key, default)
        different = {self._checked(key, entry, 0) for entry in value} - {0}
        if len(different) > 1:
            raise InvalidInputError(
                f"{self.source}: '{self._prefix}{key}' differs from layer to layer, which is not supported"
            )
        if not different:
            raise InvalidInputError(f"{self.source}: '{self._prefix}{key}' is 0 in all layers")
        return different.pop()

    def number(self, key: str) -> float | None:
        """A number above 0, or None where there is none."""
        value = self._values.get(self._prefix + key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
            return None
        return float(value)

    def _checked(self, key: str, value: Value, least: int) -> int:
        key = self._prefix + key
        if value is None:
            raise InvalidInputError(f"{self.source}: its metadata lack '{key}'")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
            raise InvalidInputError(
                f"{self.source}: '{key}' is {str(value)[:40]}; need a whole number from {least} to a billion"
            )
        return value
