"""Constants of a device that were fitted on measurements of its kernels: few, and each of them physical.

Every class holds the constants of one kind of kernel in one element type. Names that end in `_s` are
seconds; `share` is of a peak rate; others are plain ratios. `sim/silicon_*.py` say how each enters the time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from tierplan.ir.errors import InvalidInputError, unknown_name


class Constants:
    """Base of the fitted constants: each must be a positive, finite number (or a truth value)."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name in names_of(type(self)):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (math.isfinite(value) and value > 0):
                raise InvalidInputError(f"calibration constant '{name}' is {value}; need a positive, finite number")


def names_of(kind: type[Constants]) -> tuple[str, ...]:
    """Names of the constants of a class, in the order of its definition."""
    return tuple(each.name for each in fields(kind))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True)
class GemmConstants(Constants):
    """Matrix products: the best of several tiles and splits of k, in waves over the units of the device."""

    launch_s: float
    """From the start of a kernel to its first instruction, and its end."""
    memory_share: float
    """Share of the peak bandwidth of memory that large products sustain."""
    unit_memory: float
    """Bandwidth that one unit alone can draw, over its even share of the peak."""
    compute_share: float
    """Share of the peak rate that a large tile reaches."""
    feed: float
    """Bandwidth from the cache to the units, over that of memory."""
    prologue_s: float
    """Filling and draining the pipeline of one tile."""
    epilogue: float
    """Time of writing a finished tile, over that of its bytes at the units' share of memory bandwidth."""
    persistence: float
    """Share of the last, partly filled wave that stream-K and persistent kernels hide; 1 hides it all."""
    split_s: float
    """Adding up the parts where k is split."""
    overlap: float
    """Exponent of the norm that joins arithmetic and memory time: 1 adds them, infinity takes the larger."""
    throttle: float
    """Share of the rate that the longest products lose to clock and power limits."""
    throttle_ops: float
    """Operations at which half of that is lost."""
    small_tile: float
    """Extra time of a 64 by 64 tile, over that of a large one."""
    small_tile_power: float
    """How fast that falls with the area of the tile."""
    swizzle: float
    """Columns of tiles that run side by side, so that rows of A are read once for all of them."""
    copies: float
    """In the measurement: sets of weights that were used in turn, so that they left the cache (or did not)."""
    cache_share: float
    """Share of the cache that keeps data from one kernel to the next."""
    cache_edge: float
    """How sharply hits end where the data outgrow the cache."""
    cache_speed: float
    """Bandwidth of hits, over that of memory."""


@dataclass(frozen=True, slots=True)
class PrefillConstants(Constants):
    """Attention of many queries: tiles of queries, each over the keys that it sees."""

    launch_s: float
    compute_share: float
    softmax_width: float
    """Cost of the exponentials of one score, in elements of head width."""
    memory_share: float
    tile_s: float
    """Start and end of one tile of queries, a wave at a time."""
    persistence: float
    balance: float
    """Share by which the longest tile outlasts the mean one, as the tiles of a causal mask differ."""
    overlap: float
    throttle: float
    throttle_ops: float
    prepare: float
    """Bytes that are read and written before (positions, cache), over those of the operands."""
    reread: float
    """Share of the repeated reads of keys and values that reach memory."""
    single_query: float
    """Work of a tile that holds one query alone, over that of a full one."""
    cache_share: float
    cache_speed: float


@dataclass(frozen=True, slots=True)
class DecodeConstants(Constants):
    """Attention of one query per sequence over a cache: bound by memory, by chains of keys, or by starting tiles."""

    launch_s: float
    memory_share: float
    unit_memory: float
    group_s: float
    """One tile of a kernel that serves all query heads of a key head together, a wave at a time."""
    head_s: float
    """The same of a kernel with one query head in a tile."""
    step_s: float
    """64 keys in the chain of one tile, at head width 128."""
    persistence: float
    overlap: float
    split_s: float
    """Adding up the parts where the keys of one head are split."""
    feed: float
    """Bandwidth at which query heads that are not served together re-read their keys, over that of memory."""
    window_slack: float
    """Positions that are read beyond a sliding window."""
    dirty: float
    """In the measurement: bytes of the cache that had to be written back first, over its capacity."""
    cache_share: float
    cache_edge: float
    cache_speed: float
    largest_group: float
    """Query heads per key head that can be served together."""
    groups_windows: bool
    """Whether heads are served together under a sliding window too."""
    splits_heads: bool
    """Whether the kernel with one head in a tile splits the keys."""
    group_blocks: float
    """Heads are served together once this many times their blocks of 128 keys outnumber the units."""


@dataclass(frozen=True, slots=True)
class MoeConstants(Constants):
    """Experts of a mixture: two grouped matrix products, and moving rows to and from experts."""

    launch_s: float
    compute_share: float
    memory_share: float
    feed: float
    tile_s: float
    persistence: float
    overlap: float
    expert_s: float
    """Per expert on the device: its descriptors."""
    move_routed: float
    """Bytes moved per row that an expert of this device reads, over those of the row."""
    move_all: float
    """The same for each row of all devices' experts."""
    activate: float
    """Bytes moved for the activation, over three times those of the inner rows."""


@dataclass(frozen=True, slots=True)
class CollectiveConstants(Constants):
    """One kind of exchange: a ring, or everything to everyone at once, whichever is faster."""

    ring_s: float
    rank_s: float
    """Per further device of a ring."""
    ring_share: float
    """Share of the peer bandwidth that a ring sustains."""
    direct_s: float
    direct_share: float
    ramp_bytes: float
    """Message size at which half of the peak of a ring is reached."""


KINDS: Mapping[str, type[Constants]] = MappingProxyType(
    {
        "gemm": GemmConstants,
        "prefill": PrefillConstants,
        "decode": DecodeConstants,
        "moe": MoeConstants,
        "collective": CollectiveConstants,
    }
)
"""The kinds of kernels, by the key that a hardware file gives them."""

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted for a device, and the sizes that the fit needs beside peak rates.

    `units` is the number of multiprocessors, `cache` the bytes of the cache before memory, `peer_bandwidth` what one
    device sends to others in one direction (0: no others). Constants are by element type, of exchanges by kind.
    """

    units: int
    cache: int
    peer_bandwidth: float = 0.0
    source: str = ""
    gemm: Mapping[str, GemmConstants] = field(default_factory=lambda: _NONE)
    prefill: Mapping[str, PrefillConstants] = field(default_factory=lambda: _NONE)
    decode: Mapping[str, DecodeConstants] = field(default_factory=lambda: _NONE)
    moe: Mapping[str, MoeConstants] = field(default_factory=lambda: _NONE)
    collective: Mapping[str, CollectiveConstants] = field(default_factory=lambda: _NONE)

    def __post_init__(self) -> None:
        if self.units < 1 or self.cache < 1:
            raise InvalidInputError("a calibration needs at least one unit and one byte of cache")
        for kind in self.collective:
            if kind not in COLLECTIVES:
                raise unknown_name("collective", kind, COLLECTIVES)

    def of(self, kind: str) -> Mapping[str, Constants]:
        """The constants of one kind of kernels, by element type (of collectives, by kind)."""
        if kind not in KINDS:
            raise unknown_name("kind of kernel", kind, KINDS)
        return getattr(self, kind)
