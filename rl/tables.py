"""How the tables of the game are laid out: the fields of its structured arrays."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = Any  # a structured array: numpy's types know nothing of fields
Flags: TypeAlias = NDArray[np.int8]

NONE = -1

VISIT = np.dtype(
    [
        ("step", "i8"),
        ("tensor", "i8"),
        ("access", "i8"),
        ("mode", "i8"),
        ("read", "i8"),
        ("write", "i8"),
        ("opens", "i8"),  # the first step at which a copy for this visit may be issued
        ("next", "i8"),  # the visit that needs what this one leaves; NONE if none does
        ("next_step", "i8"),  # its step; S if it must survive to the end; NONE if nothing needs it
        ("first", "i8"),  # 1 for the first visit of its tensor
        ("after", "i8"),  # the next visit of its tensor, whatever it needs; NONE for the last
    ]
)
TENSOR = np.dtype(
    [
        ("size", "i8"),
        ("base", "i8"),  # the tier where it lies unless the player says otherwise
        ("offset", "i8"),  # and where in it
        ("start", "i8"),  # what is reserved there: [start, stop)
        ("stop", "i8"),
        ("exists", "i8"),  # 1: lies in its base from the start of the program, or of the turn
        ("settles", "i8"),  # 1: may lie in another tier throughout
        ("circular", "i8"),  # 1: its value at the end of a turn is needed in the next
        ("returns", "i8"),  # 1: must be valid in its base at the end
        ("first", "i8"),  # its first visit, NONE if the player has no say
        ("last", "i8"),  # its last visit
    ]
)
TIER = np.dtype(
    [
        ("floor", "i8"),  # play may use [floor, usable)
        ("usable", "i8"),
        ("alignment", "i8"),
        ("direct", "i8"),
        ("read_link", "i8"),
        ("write_link", "i8"),
        ("load", "i8"),  # the tier itself if it is direct, or the slowest direct one that it can be copied to
        ("read_rate", "f8"),
        ("write_rate", "f8"),
    ]
)
PAIR = np.dtype([("link", "i8"), ("hop", "i8"), ("rate", "f8"), ("latency_s", "f8")])

# What changes in the course of a play. Steps and indices take 32 bits: many plays at once must fit into a cache.
MOVE = np.dtype([("action", "i4"), ("forced", "i4")])  # forced: 1 if drop-backup turned it into a drop
PLACED = np.dtype(
    [
        ("base", "i4"),
        ("rect", "i4"),  # where it lies, or lay and could still be kept; NONE if nowhere
        ("dirty", "i4"),  # 1: its base is not valid
        ("pending", "i4"),  # 1: a write-back is under way
        ("ready", "i4"),  # the step from which its base can be copied from
        ("since", "i4"),  # the step from which its base is reserved
    ]
)
RECT = np.dtype([("tensor", "i4"), ("tier", "i4"), ("start", "i4"), ("stop", "i4"), ("offset", "i8"), ("end", "i8")])
COPY = np.dtype([("tensor", "i4"), ("source", "i4"), ("target", "i4"), ("start", "i4"), ("done", "i4")])
STEP = np.dtype([("own", "f8"), ("busy", "f8"), ("issue", "i8")])
QUEUED = np.dtype([("copy", "i8"), ("left", "f8")])
# Found out of an action at the next visit: where it would lie, if it may be played, over how many hops it is copied
OPTION = np.dtype([("offset", "i8"), ("legal", "i4"), ("hops", "i4")])

# The numbers of `head`: the next visit, the step that play has come to, how many residencies, copies and write-backs
# under way there are, how often drop-backup took place, the step of the last issue, the visit at which nothing could be
# played, and the visit whose options were looked at
AT, REACHED, N_RECTS, N_COPIES, N_QUEUE, BACKUPS, LAST_ISSUE, STUCK, KNOWN = range(9)
N_COUNTERS = 9
# The numbers of a tier in `room`: residencies in sight, ceiling, peak, and with how many in sight to look for old ones
N_LIVE, CEILING, PEAK, CROWDED = range(4)
N_OF_ROOM = 4
NEVER = 2**30

# The arrays that kernels see, with their types and numbers of axes: those of the program, then those of one play
_INT, _REAL = np.dtype(np.int64), np.dtype(np.float64)
FIXED: dict[str, tuple[np.dtype[Any], int]] = {
    "rules": (_INT, 1), "visits": (VISIT, 1), "tensors": (TENSOR, 1), "tiers": (TIER, 1), "pairs": (PAIR, 2),
    "base_loads": (_INT, 2), "base_rates": (_REAL, 2), "base_own": (_REAL, 1), "compute": (_REAL, 1),
    "promised": (_REAL, 2), "cap": (_REAL, 2), "link_rate": (_REAL, 1),
}  # fmt: skip
OF_PLAY: dict[str, tuple[np.dtype[Any], int]] = {
    "head": (_INT, 1), "total": (_REAL, 1), "moves": (MOVE, 1), "served": (np.dtype(np.int8), 1),
    "placed": (PLACED, 1), "steps": (STEP, 1), "loads": (_INT, 2), "rates": (_REAL, 2),
    "live": (np.dtype(np.int32), 2), "room": (_INT, 2), "queue": (QUEUED, 1), "options": (OPTION, 1),
    "way": (_INT, 2), "busy": (_REAL, 1), "rects": (RECT, 1), "copies": (COPY, 1),
}  # fmt: skip
