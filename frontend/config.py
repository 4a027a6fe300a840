"""Hugging Face configurations: a `config.json` to an `Architecture`."""

import re
from typing import cast

from tierplan.frontend.architecture import FAMILIES, Architecture
from tierplan.frontend.families import READERS
from tierplan.frontend.fields import Fields, read_object
from tierplan.ir.errors import InvalidInputError, nearest

_MODEL_TYPES = {**{family: family for family in FAMILIES}, "RefinedWeb": "falcon", "RefinedWebModel": "falcon"}

_CLASS_NAME = re.compile(f"({'|'.join(FAMILIES)})(?:For|LMHead|Model).*", re.IGNORECASE)


def read_config(text: str, source: str) -> Architecture:
    """The architecture that a configuration describes; `source` names its file.

    Raises: InvalidInputError: the text is not JSON, a field is missing, misspelt or has an impossible value,
        or the architecture is not supported.
    """
    fields = read_object(text, source)
    architecture = READERS[_family(fields)](fields)
    fields.check_spelling()
    return architecture


def _family(fields: Fields) -> str:
    model_type = fields.string("model_type")
    if model_type is None:
        model_type = _from_class_names(fields)
    if model_type not in _MODEL_TYPES:
        guess = nearest(model_type, FAMILIES)
        hint = f" (did you mean '{guess}'?)" if guess else ""
        raise InvalidInputError(
            f"{fields.source}: the architecture '{model_type}' is not supported{hint}; supported: {', '.join(FAMILIES)}"
        )
    return _MODEL_TYPES[model_type]


def _from_class_names(fields: Fields) -> str:
    """The family by `architectures`, which old configurations have in place of `model_type`."""
    listed = fields.values.get("architectures")
    first = cast("list[object]", listed)[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, str):
        raise fields.missing("model_type")
    match = _CLASS_NAME.fullmatch(first)
    return match.group(1).lower() if match else first
