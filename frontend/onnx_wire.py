"""The bytes of an ONNX file without its large weights, so that these are never in memory.

An ONNX file is one protocol buffer. Its fields are walked in place, and payloads of tensors above a size are left out
of a copy, whose other bytes are the same. Shapes, names and small numbers (which decide about shapes) stay.
"""

import mmap
from pathlib import Path

from tierplan.ir.errors import InvalidInputError

LARGEST_PAYLOAD = 2**16
_LARGEST_REST = 2**27
_DEEPEST = 100

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION = range(7)
_INSIDE = {
    _MODEL: {7: _GRAPH, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TENSOR: dict[int, int](),
}
_PAYLOADS = frozenset((4, 5, 6, 7, 9, 10, 11))  # float, int32, string, int64, raw, double, uint64


def without_payloads(path: Path) -> bytes:
    """The model in `path`, tensors of more than 64 KiB without their numbers.

    Raises: InvalidInputError: the file cannot be read, is cut off or broken, or is too large even without weights.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size <= LARGEST_PAYLOAD:
                return file.read()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                return _stripped(view, _MODEL, 0, str(path))
    except OSError as error:
        raise InvalidInputError(f"cannot read '{path}': {error.strerror or error}") from None


def _stripped(view: memoryview, message: int, depth: int, where: str) -> bytes:
    if depth > _DEEPEST:
        raise InvalidInputError(f"'{where}': graphs in graphs deeper than {_DEEPEST}; no model is made so")
    inside, kept, size, place, total = _INSIDE[message], list[bytes | memoryview](), 0, 0, len(view)
    run = 0  # where the bytes begin that are kept as they are
    while place < total:
        start = place
        key, place = _varint(view, place, where)
        number, kind = key >> 3, key & 7
        if kind == 2:
            length, body = _varint(view, place, where)
            place = body + length
        elif kind == 0:
            _, place = _varint(view, place, where)
            continue
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
            continue
        else:
            raise InvalidInputError(f"'{where}' is not an ONNX model: byte {start} begins no field")
        if place > total:
            raise InvalidInputError(
                f"'{where}' is cut off: a field of {length} bytes begins {total - body} before its end"
            )
        if length <= LARGEST_PAYLOAD or not (number in inside or (message == _TENSOR and number in _PAYLOADS)):
            continue
        kept.append(view[run:start])
        if number in inside:
            inner = _stripped(view[body:place], inside[number], depth + 1, where)
            kept += [_written(key), _written(len(inner)), inner]
        run = place
        size += sum(map(len, kept[-4:]))
        if size > _LARGEST_REST:
            raise InvalidInputError(f"'{where}' has more than {_LARGEST_REST} bytes beside its weights; that is absurd")
    if total - run + size > _LARGEST_REST:
        raise InvalidInputError(f"'{where}' has more than {_LARGEST_REST} bytes beside its weights; that is absurd")
    return b"".join([*kept, view[run:total]])


def _varint(view: memoryview, place: int, where: str) -> tuple[int, int]:
    value = shift = 0
    while shift < 70 and place < len(view):
        byte = view[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise InvalidInputError(f"'{where}' is cut off or is not an ONNX model: byte {place} ends no number")


def _written(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
