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

MOVE = np.dtype([("action", "i8"), ("forced", "i8")])  # forced: 1 if drop-backup turned it into a drop
PLACED = np.dtype(
    [
        ("base", "i8"),
        ("rect", "i8"),  # where it lies, or lay and could still be kept; NONE if nowhere
        ("dirty", "i8"),  # 1: its base is not valid
        ("pending", "i8"),  # 1: a write-back is under way
        ("ready", "i8"),  # the step from which its base can be copied from
        ("since", "i8"),  # the step from which its base is reserved
    ]
)
RECT = np.dtype([("tensor", "i8"), ("tier", "i8"), ("offset", "i8"), ("start", "i8"), ("stop", "i8"), ("end", "i8")])
COPY = np.dtype([("tensor", "i8"), ("source", "i8"), ("target", "i8"), ("start", "i8"), ("done", "i8")])
STEP = np.dtype([("own", "f8"), ("busy", "f8"), ("issue", "i8")])
QUEUED = np.dtype([("copy", "i8"), ("left", "f8")])
