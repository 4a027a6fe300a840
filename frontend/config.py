"""Hugging Face configurations: a `config.json` to an architecture."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

from tierplan.frontend import (
    encoder_decoder,
    families_deepseek,
    families_gemma,
    families_llama4,
    families_qwen,
    families_vision,
)
from tierplan.frontend.families import FIRST
from tierplan.frontend.fields import Fields, read_object
from tierplan.frontend.program import Model
from tierplan.ir.errors import InvalidInputError, nearest, one_line

READERS: Mapping[str, Callable[[Fields], Model]] = MappingProxyType(
    {
        **FIRST,
        "deepseek_v2": families_deepseek.deepseek_v2,
        "deepseek_v3": families_deepseek.deepseek_v3,
        "gemma": families_gemma.gemma,
        "gemma2": families_gemma.gemma2,
        "gemma3": families_gemma.gemma3_with_vision,
        "gemma3_text": families_gemma.gemma3,
        "kimi_k2": families_deepseek.deepseek_v3,
        "llama4": families_llama4.llama4,
        "llama4_text": families_llama4.llama4_text,
        "qwen2": families_qwen.qwen2,
        "qwen2_moe": families_qwen.qwen2_moe,
        "qwen3": families_qwen.qwen3,
        "qwen3_moe": families_qwen.qwen3_moe,
        "t5": encoder_decoder.t5,
        "vit": families_vision.vit,
        "whisper": encoder_decoder.whisper,
    }
)
"""The reader of each `model_type`."""

_OLDER = {"RefinedWeb": "falcon", "RefinedWebModel": "falcon"}

_BY_CLASS = {model_type.replace("_", ""): model_type for model_type in READERS}
_CLASS_NAME = re.compile(f"({'|'.join(sorted(_BY_CLASS, reverse=True))})(?:For|LMHead|Model).*", re.IGNORECASE)


def read_config(text: str, source: str) -> Model:
    """The architecture that a configuration describes; `source` names its file.

    Raises: InvalidInputError: the text is not JSON, a field is missing, misspelt or has an impossible value,
        or the architecture is not supported.
    """
    return read_fields(read_object(text, source))


def read_fields(fields: Fields) -> Model:
    """The architecture that the fields of a configuration describe."""
    architecture = READERS[_model_type(fields)](fields)
    fields.check_spelling()
    return architecture


def _model_type(fields: Fields) -> str:
    model_type = fields.string("model_type")
    if model_type is None:
        model_type = _from_class_names(fields)
    model_type = _OLDER.get(model_type, model_type)
    if model_type not in READERS:
        guess = nearest(model_type, READERS)
        hint = f" (did you mean '{guess}'?)" if guess else ""
        raise InvalidInputError(
            f"{fields.source}: the architecture '{one_line(model_type)}' is not supported{hint}; supported: "
            f"{', '.join(sorted(READERS))}; docs/frontends.md says how to add one"
        )
    return model_type


def _from_class_names(fields: Fields) -> str:
    """The family by `architectures`, which old configurations have in place of `model_type`."""
    listed = fields.values.get("architectures")
    first = cast("list[object]", listed)[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, str):
        raise fields.missing("model_type")
    match = _CLASS_NAME.fullmatch(first)
    return _BY_CLASS[match.group(1).lower()] if match else first[:80]
