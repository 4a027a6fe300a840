"""Where fits look for each constant: least, where they begin, most. Fixed choices are listed in `CHOICES`."""

from collections.abc import Mapping, Sequence

from tierplan.ir.calibration import (
    CollectiveConstants,
    Constants,
    DecodeConstants,
    GemmConstants,
    MoeConstants,
    PrefillConstants,
)

Range = tuple[float, float, float]

_US = 1e-6
_PIECE: Range = (0.01 * _US, 1 * _US, 20 * _US)  # a tile, or adding up the parts of one
_ATTENTION_LAUNCH: Range = (0.5 * _US, 6 * _US, 60 * _US)
_PERSISTENCE: Range = (1e-3, 0.5, 1.0)
_OVERLAP: Range = (1.0, 4.0, 12.0)
_CACHE_SPEED: Range = (1.01, 2.0, 12.0)

RANGES: Mapping[type[Constants], Mapping[str, Range]] = {
    GemmConstants: {
        "launch_s": (0.2 * _US, 2.5 * _US, 20 * _US),
        "memory_share": (0.4, 0.8, 1.0),
        "unit_memory": (0.05, 3.0, 20.0),
        "compute_share": (0.2, 0.8, 1.0),
        "feed": (0.1, 1.5, 50.0),
        "prologue_s": (0.01 * _US, 0.3 * _US, 6 * _US),
        "epilogue": (0.01, 1.5, 20.0),
        "persistence": (1e-4, 0.5, 1.0),
        "split_s": (0.01 * _US, 2 * _US, 8 * _US),
        "overlap": _OVERLAP,
        "throttle": (1e-4, 0.1, 0.6),
        "throttle_ops": (1e10, 1e12, 1e15),
        "small_tile": (0.02, 0.3, 4.0),
        "small_tile_power": (0.3, 1.2, 3.0),
        "swizzle": (0.5, 6.0, 100.0),
        "copies": (0.5, 5.0, 40.0),
        "cache_share": (0.2, 0.8, 1.5),
        "cache_edge": (0.5, 8.0, 30.0),
        "cache_speed": _CACHE_SPEED,
    },
    PrefillConstants: {
        "launch_s": _ATTENTION_LAUNCH,
        "compute_share": (0.2, 0.75, 1.0),
        "softmax_width": (1.0, 40.0, 300.0),
        "memory_share": (0.1, 0.8, 1.0),
        "tile_s": _PIECE,
        "persistence": _PERSISTENCE,
        "balance": (1e-3, 0.3, 1.0),
        "overlap": _OVERLAP,
        "throttle": (1e-4, 0.05, 0.6),
        "throttle_ops": (1e9, 1e12, 1e16),
        "prepare": (1e-3, 0.1, 5.0),
        "reread": (5e-4, 0.05, 1.0),
        "single_query": (0.01, 0.5, 2.0),
        "cache_share": (0.05, 0.8, 2.0),
        "cache_speed": _CACHE_SPEED,
    },
    DecodeConstants: {
        "launch_s": _ATTENTION_LAUNCH,
        "memory_share": (0.3, 0.8, 1.0),
        "unit_memory": (0.1, 1.5, 30.0),
        "group_s": (0.01 * _US, 3 * _US, 20 * _US),
        "head_s": _PIECE,
        "step_s": (1e-3 * _US, 0.2 * _US, 5 * _US),
        "persistence": _PERSISTENCE,
        "overlap": (1.0, 2.0, 12.0),
        "split_s": _PIECE,
        "feed": (0.3, 2.0, 20.0),
        "window_slack": (1.0, 64.0, 4000.0),
        "dirty": (1e-3, 0.3, 2.0),
        "cache_share": (0.02, 0.8, 2.0),
        "cache_edge": (0.5, 6.0, 30.0),
        "cache_speed": (1.01, 3.0, 12.0),
    },
    MoeConstants: {
        "launch_s": (1 * _US, 20 * _US, 200 * _US),
        "compute_share": (0.1, 0.7, 1.0),
        "memory_share": (0.2, 0.8, 1.0),
        "feed": (0.1, 2.0, 20.0),
        "tile_s": (1e-3 * _US, 1 * _US, 20 * _US),
        "persistence": (1e-3, 0.9, 1.0),
        "overlap": (1.0, 3.0, 12.0),
        "expert_s": (1e-4 * _US, 0.01 * _US, 1 * _US),
        "move_routed": (0.01, 2.0, 50.0),
        "move_all": (1e-3, 1.0, 50.0),
        "activate": (1e-3, 0.3, 20.0),
    },
    CollectiveConstants: {
        "ring_s": (0.5 * _US, 5 * _US, 300 * _US),
        "rank_s": (1e-3 * _US, 1 * _US, 50 * _US),
        "ring_share": (1e-3, 0.8, 2.0),
        "direct_s": (0.5 * _US, 3 * _US, 300 * _US),
        "direct_share": (1e-3, 0.5, 2.0),
        "ramp_bytes": (10.0, 1e5, 1e9),
    },
}

_NO_LIMIT = 1024.0
_EITHER = (False, True)
CHOICES: Mapping[type[Constants], Mapping[str, Sequence[float | bool]]] = {
    DecodeConstants: {
        "largest_group": (32.0, _NO_LIMIT),
        "groups_windows": _EITHER,
        "splits_heads": _EITHER,
        "group_blocks": (4.0, _NO_LIMIT),
    },
}
"""Constants that take one of a few values: every combination is fitted."""
