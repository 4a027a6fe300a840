"""Safetensors files beside a `config.json` as a checkpoint: the architecture of the one, the sizes of the other.

A weight of the model may be one tensor of the files; or several: packed integers, their scales and zero points; or
many: the matrices of all experts of a layer, which are stacked in memory. Its bytes are those of all of them.
"""

import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from tierplan.frontend.checkpoint import Checkpoint, lacking
from tierplan.frontend.config import read_config
from tierplan.frontend.encoder_decoder import EncoderDecoder
from tierplan.frontend.program import Model, weight_shapes
from tierplan.frontend.safetensors import INDEX, SafetensorsFiles, StoredTensor, read_safetensors
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Stored

_PREFIXES = (
    ("", ""), ("language_model.", ""), ("model.language_model.", "model."), ("", "model."), ("", "transformer."),
    ("", "bert."), ("", "vit."), ("", "model.decoder."),
)  # fmt: skip
"""What to take from the front of a name in the files, and what to put there, to have it as the library calls it."""

_PARTS = (
    "weight_scale_inv", "weight_scale", "weight_scale_2", "weight_zero_point", "weight_g_idx", "weight_packed",
    "weight_shape", "weight_global_scale", "input_scale", "input_global_scale", "qweight", "qzeros", "scales", "g_idx",
    "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map",
    "weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4", "SCB", "weight_format",
)  # fmt: skip
"""What quantised matrices have beside or instead of `weight`: fp8, compressed-tensors, GPTQ, AWQ, bitsandbytes."""

_STACK = re.compile(r"(.*\.experts)\.(gate_up_proj|down_proj)")
_LARGEST_CONFIG = 10_000_000


def read_safetensors_model(path: Path) -> Checkpoint:
    """The model of a folder, of its index, or of a safetensors file in it; headers are read, data are not.

    Raises: InvalidInputError: there is no `config.json` beside, a file is missing or damaged, or the files do not
        hold what the configuration asks for.
    """
    path = _within(path) if path.is_dir() else path
    config = path.with_name("config.json")
    if not config.is_file():
        raise InvalidInputError(f"no config.json beside '{path}'; it says which architecture the tensors are of")
    arch = read_config(_text(config), str(config))
    files = read_safetensors(path)
    tensors = _renamed(files, arch)
    stored: dict[str, Stored] = {}
    used: set[str] = set()
    for name, shape in weight_shapes(arch):
        parts = _parts_of(name, tensors, arch)
        if parts:
            stored[name] = _stored(name, shape, parts, files.source)
            used.update(part.name for part in parts)
    lacking(arch, None, stored, files.source)
    beside = {tensor.name: tensor.bytes for tensor in files.tensors.values() if tensor.name not in used}
    return Checkpoint(files.source, arch, None, stored, beside)


def _within(folder: Path) -> Path:
    """The index of a folder, or its only safetensors file."""
    for name in (INDEX, "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInputError(f"'{folder}' has {len(found)} safetensors files and no {INDEX}; name one of them")
    raise InvalidInputError(f"no safetensors file in '{folder}'")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise InvalidInputError(f"{path}: is too large for a configuration")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: is not UTF-8 text") from None


def _renamed(files: SafetensorsFiles, arch: Model) -> Mapping[str, StoredTensor]:
    """The tensors by the names that the library gives them, whatever stands in front of those in the files."""
    wanted = {name for name, _ in weight_shapes(arch)}
    stems = {name.removesuffix(".weight") for name in wanted}

    def renamed(front: str, new: str) -> dict[str, StoredTensor]:
        return {new + name[len(front) :]: t for name, t in files.tensors.items() if name.startswith(front)}

    def hits(names: Mapping[str, StoredTensor]) -> int:
        return sum(1 for name in names if name in wanted or name.rpartition(".")[0] in stems)

    return max((renamed(front, new) for front, new in _PREFIXES), key=hits)


def _parts_of(name: str, tensors: Mapping[str, StoredTensor], arch: Model) -> list[StoredTensor]:
    """The tensors of the files that make up a weight; none where it is missing."""
    found = list(_matrix(name, tensors))
    stack = _STACK.fullmatch(name)
    if found or stack is None or isinstance(arch, EncoderDecoder) or arch.experts is None:
        return found
    inner = ("gate_proj", "up_proj") if stack.group(2) == "gate_up_proj" else ("down_proj",)
    for expert in range(arch.experts.n):
        for each in inner:
            own = list(_matrix(f"{stack.group(1)}.{expert}.{each}.weight", tensors))
            if not own:
                return []
            found += own
    return found


def _matrix(name: str, tensors: Mapping[str, StoredTensor]) -> Iterator[StoredTensor]:
    if name in tensors:
        yield tensors[name]
    if name.endswith(".weight"):
        stem = name.removesuffix("weight")
        for part in _PARTS:
            if stem + part in tensors:
                yield tensors[stem + part]


def _stored(name: str, shape: tuple[int, ...], parts: list[StoredTensor], source: str) -> Stored:
    """How the bytes of a weight lie; its parts must be able to hold its elements.

    Assumes: packed elements take 1 to 32 bits each, with all that belongs to them up to 64.
    """
    n_bytes = sum(part.bytes for part in parts)
    n_elements = prod(shape)
    largest = max(parts, key=lambda part: part.bytes)
    whole = sum(prod(part.shape) for part in parts if part.dtype == largest.dtype)
    packed = len(parts) > 1 or largest.dtype in ("U8", "I8", "I32", "U32")
    if (
        not packed and _squeezed(largest.shape) != _squeezed(shape)
    ) or not n_elements <= n_bytes * 8 <= n_elements * 64:
        raise InvalidInputError(
            f"{source}: tensor '{largest.name}' is {list(largest.shape)} of {largest.dtype}, where the configuration "
            f"asks for {list(shape)}"
        )
    plain = whole == n_elements and all(part.dtype == largest.dtype for part in parts)
    return Stored(largest.dtype.lower() if plain else f"{largest.dtype.lower()} with scales", n_bytes)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)
