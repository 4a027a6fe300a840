"""How low no allocation can go, and which buffers already prove it."""

import numpy as np

from tierplan.ir.buffers import Ints
from tierplan.planner.offset_orders import order_by
from tierplan.planner.offset_problem import Blocks, Sections


def lower_bound(b: Blocks, sections: Sections) -> int:
    """A height, in units, below which no allocation of `b` fits.

    The largest load; the tallest block; the top of each fixed block; and, where all offsets are multiples of some
    step, the load with every block but one rounded up to that step.
    """
    if not len(b.height):
        return 0
    pinned = b.fixed >= 0
    bound = max(int(sections.load.max()), int(b.height.max()), int((b.fixed + b.height)[pinned].max(initial=0)))
    step = int(np.gcd.reduce(b.align))
    if step > 1 and b.plain:
        bound = max(bound, int(_rounded(b, sections, step).max()))
    return bound


def _rounded(b: Blocks, sections: Sections, step: int) -> Ints:
    """Per section: heights rounded up to `step`, but for the block that loses most by it, which may lie on top."""
    rounded = -(-b.height // step) * step
    change = np.zeros(len(sections.load) + 1, np.int64)
    np.add.at(change, sections.begin, rounded)
    np.subtract.at(change, sections.end, rounded)
    load = np.cumsum(change[:-1])
    spare = np.zeros(len(load), np.int64)
    for lost in np.unique(rounded - b.height):
        at = rounded - b.height == lost
        cover = np.zeros(len(load) + 1, np.int64)
        np.add.at(cover, sections.begin[at], 1)
        np.subtract.at(cover, sections.end[at], 1)
        spare[np.cumsum(cover[:-1]) > 0] = lost
    return load - spare


def overloaded(b: Blocks, sections: Sections, capacity: int) -> Ints:
    """The fewest blocks that are held at one step and together exceed `capacity`; empty if none do."""
    fewest = np.empty(0, np.int64)
    for s in np.flatnonzero(sections.load > capacity):
        held = np.flatnonzero((sections.begin <= s) & (s < sections.end))
        tall = (b.high - b.low)[held]
        order = order_by(tall)
        count = int(np.searchsorted(np.cumsum(tall[order]), capacity, "right")) + 1
        if not len(fewest) or count < len(fewest):
            fewest = held[order[:count]]
    return np.unique(b.owner[fewest])
