"""The headers of safetensors files: name, shape, type and place of each tensor. The data are never read.

A model may be one file, or several that an index names. Every extent is checked against the size of its file.

Source: the format as the safetensors library documents it; its limit of 100 MB for a header is kept.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tierplan.frontend.byte_reader import ByteReader
from tierplan.frontend.fields import read_object
from tierplan.ir.errors import InvalidInputError, nearest

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of an element of each type that a header may name."""

INDEX = "model.safetensors.index.json"
_LONGEST_HEADER = 100_000_000
_MOST_DIMS = 32
_MOST_SHARDS = 10_000
_SHARD = re.compile(r"(.*)-\d{5}-of-\d{5}\.safetensors")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file: `dtype` as the header names it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SafetensorsFiles:
    """What the headers of the files of a model say. `n_read` counts the bytes that were read of them."""

    source: str
    tensors: Mapping[str, StoredTensor]
    n_read: int


def read_safetensors(path: Path) -> SafetensorsFiles:
    """The headers of a model: of one file, of all that an index names, or of all that a shard belongs to.

    Raises: InvalidInputError: a file is missing or damaged, or an index names files outside its folder.
    """
    if path.name.endswith(".index.json"):
        return _read_index(path)
    shard = _SHARD.fullmatch(path.name)
    index = path.with_name(f"{shard.group(1)}.safetensors.index.json") if shard else path
    return _read_index(index) if shard and index.is_file() else _read_one(path)


def _read_one(path: Path) -> SafetensorsFiles:
    with ByteReader(path) as reader:
        if reader.size < 8:
            raise InvalidInputError(f"{path}: is not a safetensors file: it has {reader.size} bytes")
        length = int.from_bytes(reader.take(8, "its header"), "little")
        if length > min(_LONGEST_HEADER, reader.left):
            raise InvalidInputError(
                f"{path}: is not a safetensors file, or is truncated: its header would have {length:,} bytes, "
                f"and the file has {reader.size:,}"
            )
        header = reader.take(length, "its header")
        room = reader.left
        n_read = reader.n_read
    if not header.startswith(b"{"):
        raise InvalidInputError(f"{path}: is not a safetensors file: its header is no JSON object")
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: its header is not UTF-8 text; the file is damaged") from None
    entries = read_object(text, f"{path}: header", "the header of a safetensors file").values
    tensors, places = _tensors(entries, str(path))
    _check_places(places, room, str(path))
    return SafetensorsFiles(str(path), tensors, n_read)


_Places = list[tuple[int, int, str]]


def _tensors(entries: Mapping[str, object], source: str) -> tuple[dict[str, StoredTensor], _Places]:
    tensors: dict[str, StoredTensor] = {}
    places: _Places = []
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        where = f"{source}: tensor {name[:80]!r}"
        if not isinstance(entry, dict):
            raise InvalidInputError(f"{where} is not described by an object; the file is damaged")
        fields = cast("dict[str, object]", entry)
        dtype, shape, offsets = fields.get("dtype"), _counts(fields.get("shape")), _counts(fields.get("data_offsets"))
        if not isinstance(dtype, str) or dtype not in BITS:
            guess = nearest(str(dtype), BITS)
            hint = f"; did you mean '{guess}'?" if guess else ""
            raise InvalidInputError(f"{where} is of type {str(dtype)[:40]!r}, which safetensors does not have{hint}")
        if shape is None or len(shape) > _MOST_DIMS:
            raise InvalidInputError(f"{where} has no proper shape; the file is damaged")
        if offsets is None or len(offsets) != 2:
            raise InvalidInputError(f"{where} has no proper offsets; the file is damaged")
        n_bytes = _size(shape, dtype, where)
        if offsets[1] - offsets[0] != n_bytes:
            raise InvalidInputError(
                f"{where} lies in bytes {offsets[0]:,} to {offsets[1]:,}, and its shape {list(shape)} of {dtype} "
                f"takes {n_bytes:,}; the file is damaged"
            )
        tensors[name] = StoredTensor(name, shape, dtype, n_bytes)
        places.append((offsets[0], offsets[1], name))
    return tensors, places


def _counts(value: object) -> tuple[int, ...] | None:
    """A list of whole numbers, each up to 2^60; None for anything else."""
    if not isinstance(value, list):
        return None
    entries = cast("list[object]", value)
    if any(isinstance(entry, bool) or not isinstance(entry, int) or not 0 <= entry <= 2**60 for entry in entries):
        return None
    return tuple(cast("list[int]", entries))


def _size(shape: tuple[int, ...], dtype: str, where: str) -> int:
    bits = BITS[dtype]
    for extent in shape:
        bits *= extent
        if bits > 2**63:
            raise InvalidInputError(f"{where} has an absurd shape {list(shape)[:8]}; the file is damaged")
    if bits % 8:
        raise InvalidInputError(f"{where}: {list(shape)} of {dtype} do not fill whole bytes; the file is damaged")
    return bits // 8


def _check_places(places: _Places, room: int, source: str) -> None:
    """Every tensor lies within the file, and upon no other."""
    end, before = 0, ""
    for start, stop, name in sorted(places):
        where = f"{source}: tensor {name[:80]!r}"
        if stop > room:
            raise InvalidInputError(f"{where} ends at byte {stop:,} of {room:,} bytes of data; the file is truncated")
        if start < end:
            raise InvalidInputError(f"{where} overlaps tensor {before[:80]!r}; the file is damaged")
        end, before = stop, name


def _read_index(path: Path) -> SafetensorsFiles:
    """All files that an index names, and of each the tensors that it is to hold."""
    weight_map = read_object(_index_text(path), str(path), "an index of safetensors files").values.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidInputError(f"{path}: is not an index of safetensors files: it has no 'weight_map'")
    wanted = cast("dict[str, object]", weight_map)
    shards = {_shard_name(value, path) for value in wanted.values()}
    if len(shards) > _MOST_SHARDS:
        raise InvalidInputError(f"{path}: names {len(shards):,} files; need up to {_MOST_SHARDS:,}")
    files = {shard: _read_one(path.with_name(shard)) for shard in sorted(shards)}
    tensors: dict[str, StoredTensor] = {}
    for name, shard in wanted.items():
        found = files[str(shard)].tensors.get(name)
        if found is None:
            raise InvalidInputError(f"{path}: '{shard}' does not hold the tensor {name[:80]!r} that it should")
        tensors[name] = found
    n_read = path.stat().st_size + sum(file.n_read for file in files.values())
    return SafetensorsFiles(str(path), tensors, n_read)


def _shard_name(value: object, path: Path) -> str:
    """The name of a file in the folder of the index, and nowhere else."""
    plain = isinstance(value, str) and value.endswith(".safetensors") and value.isprintable() and len(value) < 256
    if not plain or "/" in str(value) or "\\" in str(value):
        raise InvalidInputError(
            f"{path}: names the file {str(value)[:80]!r}; files must lie in the folder of the index"
        )
    return str(value)


def _index_text(path: Path) -> str:
    with ByteReader(path) as reader:
        if reader.size > _LONGEST_HEADER:
            raise InvalidInputError(f"{path}: is too large for an index: {reader.size:,} bytes")
        raw = reader.take(reader.size, "it")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: is not UTF-8 text") from None
