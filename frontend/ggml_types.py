"""The element types of ggml: blocks of so many elements in so many bytes.

Source: the block structures of ggml, `ggml-common.h`, and its type table, `ggml.c`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class BlockType:
    """`elements` lie together in `bytes`: a scale or several, perhaps offsets, and the packed elements."""

    name: str
    elements: int
    bytes: int

    def size(self, n_elements: int) -> int:
        """Bytes of so many elements, which must fill their blocks."""
        return n_elements // self.elements * self.bytes


_TABLE: tuple[tuple[int, str, int, int], ...] = (
    (0, "f32", 1, 4), (1, "f16", 1, 2), (30, "bf16", 1, 2), (28, "f64", 1, 8),
    (24, "i8", 1, 1), (25, "i16", 1, 2), (26, "i32", 1, 4), (27, "i64", 1, 8),
    # 32 elements around a half-precision scale (and an offset), 4, 5 or 8 bits each
    (2, "q4_0", 32, 18), (3, "q4_1", 32, 20), (6, "q5_0", 32, 22), (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34), (9, "q8_1", 32, 36),
    # 256 elements in sub-blocks with quantised scales of their own
    (10, "q2_k", 256, 84), (11, "q3_k", 256, 110), (12, "q4_k", 256, 144), (13, "q5_k", 256, 176),
    (14, "q6_k", 256, 210), (15, "q8_k", 256, 292),
    # code books
    (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74), (18, "iq3_xxs", 256, 98), (19, "iq1_s", 256, 50),
    (20, "iq4_nl", 32, 18), (21, "iq3_s", 256, 110), (22, "iq2_s", 256, 82), (23, "iq4_xs", 256, 136),
    (29, "iq1_m", 256, 56),
    # ternary, microscaling and binary
    (34, "tq1_0", 256, 54), (35, "tq2_0", 256, 66), (39, "mxfp4", 32, 17), (40, "nvfp4", 64, 36), (41, "q1_0", 128, 18),
)  # fmt: skip

TYPES: Mapping[int, BlockType] = MappingProxyType({code: BlockType(name, n, size) for code, name, n, size in _TABLE})
"""Each type by the number that stands for it in a file."""

_REMOVED = {4: "q4_2", 5: "q4_3", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8", 36: "iq4_nl_4_4", 37: "iq4_nl_4_8",
            38: "iq4_nl_8_8"}  # fmt: skip


def block_type(code: int, where: str) -> BlockType:
    """The type that a number stands for; `where` names the tensor in errors.

    >>> block_type(12, "x").size(4096)
    2304

    Raises: InvalidInputError: ggml has removed the type, or never had it.
    """
    if code in TYPES:
        return TYPES[code]
    if code in _REMOVED:
        raise InvalidInputError(f"{where} is of type {_REMOVED[code]}, which ggml has removed; convert the model anew")
    raise InvalidInputError(f"{where} is of type {code}, which ggml does not have; is the file damaged?")
