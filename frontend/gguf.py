"""The header of a GGUF file: its metadata and where each tensor lies. The data are never read.

Long arrays - the words of a vocabulary - are passed over. Every count is checked against the size of the file before
anything is read or made for it, so that a file that lies about itself costs no more than an honest one.

Source: the GGUF specification in ggml's repository, `docs/gguf.md`, versions 2 and 3, of either byte order.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tierplan.frontend.byte_reader import ByteReader
from tierplan.frontend.ggml_types import BlockType, block_type
from tierplan.ir.errors import InvalidInputError

Value = int | float | bool | str | tuple["Value", ...] | None
"""A value of the metadata; None where it is too long to be of interest."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_KEPT = 4096
_LONGEST_NAME = 1024
_MOST_DIMS = 4
_MOST_ENTRIES = 4_000_000
_MOST_TENSORS = 1_000_000
_MOST_BYTES = 2**60
_LEAST_PAIR, _LEAST_TENSOR = 13, 25  # bytes of the shortest pair of the metadata, and of the shortest tensor
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class FileTensor:
    """A tensor of a file: `shape` with the slowest axis first, `offset` from the start of the data."""

    name: str
    shape: tuple[int, ...]
    type: BlockType
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """What the header of a GGUF file says. `n_read` counts the bytes that were read of the file."""

    source: str
    metadata: Mapping[str, Value]
    tensors: Mapping[str, FileTensor]
    n_read: int


def read_gguf(path: Path) -> GgufFile:
    """The header of a file; of a model that was split into several, those of all of them together.

    Raises: InvalidInputError: it is no GGUF file, it is damaged, or a part is missing.
    """
    first = _read_one(path)
    match = _SHARD.fullmatch(path.name)
    count = first.metadata.get("split.count", 0)
    if match is None or not isinstance(count, int) or count < 2:
        return first
    if count > 10**4 or count != int(match.group(3)):
        raise InvalidInputError(f"{path}: is part of {count} by its header, and of {int(match.group(3))} by its name")
    parts = [_read_one(path.with_name(f"{match.group(1)}-{n:05}-of-{count:05}.gguf")) for n in range(1, count + 1)]
    tensors: dict[str, FileTensor] = {}
    for part in parts:
        for name, tensor in part.tensors.items():
            if name in tensors:
                raise InvalidInputError(f"{part.source}: the tensor '{name}' stands in another part already")
            tensors[name] = tensor
    return GgufFile(str(path), parts[0].metadata, tensors, sum(part.n_read for part in parts))


def _read_one(path: Path) -> GgufFile:
    with ByteReader(path) as reader:
        return _Header(reader).read()


class _Header:
    """A header while it is read; `order` is the byte order as `struct` writes it."""

    def __init__(self, reader: ByteReader) -> None:
        self.reader = reader
        self.where = reader.where
        self.order = "<"
        self.n_entries = 0

    def read(self) -> GgufFile:
        if self.reader.size < 4 or self.reader.take(4, "its first bytes") != b"GGUF":
            raise InvalidInputError(f"{self.where}: is not a GGUF file: it does not begin with GGUF")
        self._version()
        n_tensors, n_pairs = self._number("Q", "its header"), self._number("Q", "its header")
        self._believable(n_tensors, _LEAST_TENSOR, "tensors")
        self._believable(n_pairs, _LEAST_PAIR, "pairs of metadata")
        metadata: dict[str, Value] = {}
        for _ in range(n_pairs):
            key = self._name("a key of its metadata")
            if key in metadata:
                raise InvalidInputError(f"{self.where}: the key '{key}' stands there twice")
            metadata[key] = self._value(self._number("I", f"'{key}'"), f"'{key}'")
        tensors: dict[str, FileTensor] = {}
        for _ in range(n_tensors):
            tensor = self._tensor()
            if tensor.name in tensors:
                raise InvalidInputError(f"{self.where}: the tensor '{tensor.name}' stands there twice")
            tensors[tensor.name] = tensor
        self._check_places(tensors, metadata.get("general.alignment", 32))
        return GgufFile(self.where, metadata, tensors, self.reader.n_read)

    def _version(self) -> None:
        raw = self.reader.take(4, "its header")
        version = int.from_bytes(raw, "little")
        if version & 0xFFFF == 0:
            self.order, version = ">", int.from_bytes(raw, "big")
        if version not in (2, 3):
            raise InvalidInputError(f"{self.where}: is GGUF of version {version}; versions 2 and 3 are read")

    def _believable(self, n: int, least: int, what: str) -> None:
        if n * least > self.reader.size or n > _MOST_TENSORS:
            raise InvalidInputError(
                f"{self.where}: declares {n:,} {what}, which {self.reader.size:,} bytes cannot hold; it is damaged"
            )

    def _number(self, code: str, what: str) -> int:
        return struct.unpack(self.order + code, self.reader.take(struct.calcsize(code), what))[0]

    def _name(self, what: str) -> str:
        length = self._number("Q", what)
        if not 1 <= length <= _LONGEST_NAME:
            raise InvalidInputError(f"{self.where}: {what} has {length:,} bytes; need 1 to {_LONGEST_NAME}")
        text = self.reader.take(length, what).decode("utf-8", "replace")
        if not text.isprintable():
            raise InvalidInputError(f"{self.where}: {what} is not printable text; the file is damaged")
        return text

    def _string(self, what: str) -> str | None:
        length = self._number("Q", what)
        if length > _LONGEST_KEPT:
            self.reader.skip(length, what)
            return None
        return self.reader.take(length, what).decode("utf-8", "replace")

    def _value(self, kind: int, what: str, depth: int = 0) -> Value:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind], what)
        if kind == _STRING:
            return self._string(what)
        if kind == _ARRAY and depth < _MOST_DIMS:
            return self._array(what, depth)
        raise InvalidInputError(f"{self.where}: {what} is of a kind that GGUF does not have ({kind})")

    def _array(self, what: str, depth: int) -> Value:
        kind, n = self._number("I", what), self._number("Q", what)
        if kind in _SCALARS:
            code = _SCALARS[kind]
            if n > _LONGEST_KEPT:
                self.reader.skip(n * struct.calcsize(code), what)
                return None
            return struct.unpack(f"{self.order}{n}{code}", self.reader.take(n * struct.calcsize(code), what))
        self.n_entries += n
        if n * 8 > self.reader.left or self.n_entries > _MOST_ENTRIES:
            raise InvalidInputError(f"{self.where}: {what} declares {n:,} entries; the file is damaged")
        if n > _LONGEST_KEPT and kind == _STRING:
            self.reader.skip_texts(n, struct.Struct(self.order + "Q"), what)
            return None
        values = tuple(self._value(kind, what, depth + 1) for _ in range(n))
        return values if n <= _LONGEST_KEPT else None

    def _tensor(self) -> FileTensor:
        name = self._name("the name of a tensor")
        what = f"tensor '{name}'"
        n_dims = self._number("I", what)
        if n_dims > _MOST_DIMS:
            raise InvalidInputError(f"{self.where}: {what} has {n_dims:,} dimensions; need up to {_MOST_DIMS}")
        extents = tuple(self._number("Q", what) for _ in range(n_dims))
        kind = block_type(self._number("I", what), f"{self.where}: {what}")
        offset = self._number("Q", what)
        n_elements = 1
        for extent in extents:
            n_elements *= extent
            if n_elements > _MOST_BYTES:
                raise InvalidInputError(f"{self.where}: {what} has an absurd shape {extents}; the file is damaged")
        if extents and extents[0] % kind.elements:
            raise InvalidInputError(
                f"{self.where}: {what} has rows of {extents[0]} elements, and {kind.name} has blocks of {kind.elements}"
            )
        return FileTensor(name, extents[::-1], kind, offset, kind.size(n_elements) if extents else kind.bytes)

    def _check_places(self, tensors: Mapping[str, FileTensor], alignment: Value) -> None:
        """Every tensor lies within the file, where the alignment puts it, and upon no other."""
        if not isinstance(alignment, int) or isinstance(alignment, bool) or not 1 <= alignment <= 2**20:
            raise InvalidInputError(f"{self.where}: 'general.alignment' is {str(alignment)[:40]}; need 1 to 1048576")
        start = -(-self.reader.position // alignment) * alignment
        room, end, before = self.reader.size - start, 0, ""
        for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.bytes)):
            what = f"{self.where}: tensor '{tensor.name}'"
            if tensor.offset % alignment:
                raise InvalidInputError(f"{what} lies at {tensor.offset}, which is no multiple of {alignment}")
            if tensor.offset + tensor.bytes > room:
                raise InvalidInputError(
                    f"{what} ends at byte {start + tensor.offset + tensor.bytes:,} of a file of {self.reader.size:,}; "
                    "the file is truncated"
                )
            if tensor.offset < end:
                raise InvalidInputError(f"{what} overlaps tensor '{before}'; the file is damaged")
            end, before = tensor.offset + tensor.bytes, tensor.name
