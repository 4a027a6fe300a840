"""Asynchronous reads beside compute: what of the reading remains visible."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Overlap:
    """A run of stages, each of which reads and then computes.

    `stall_s` is the part of the time in which compute waits for reads.
    """

    total_s: float
    stall_s: float


def overlapped(read_s: Sequence[float], compute_s: Sequence[float], ahead: int) -> Overlap:
    """Time of stages whose reads may be issued up to `ahead` stages early; see `stage_ends`.

    >>> overlapped([2.0, 2.0, 2.0], [3.0, 3.0, 3.0], ahead=0).total_s
    15.0
    >>> overlapped([2.0, 2.0, 2.0], [3.0, 3.0, 3.0], ahead=1)
    Overlap(total_s=11.0, stall_s=2.0)
    """
    ends = stage_ends(read_s, compute_s, ahead)
    return Overlap(ends[-1], ends[-1] - sum(compute_s)) if ends else Overlap(0.0, 0.0)


def stage_ends(read_s: Sequence[float], compute_s: Sequence[float], ahead: int) -> list[float]:
    """When each stage ends.

    Reads run one after another, each when the one before is done and the stage `ahead` stages earlier begins to
    compute (with `ahead` = 0: when the stage before has ended, so that nothing overlaps).

    >>> stage_ends([1.0, 5.0], [3.0, 3.0], ahead=1)
    [4.0, 9.0]
    """
    if len(read_s) != len(compute_s):
        raise InvalidInputError(f"{len(read_s)} reading times and {len(compute_s)} computing times; need one each")
    if ahead < 0:
        raise InvalidInputError(f"reads {ahead} stages ahead; need 0 or more")
    if any(not math.isfinite(time) or time < 0 for time in (*read_s, *compute_s)):
        raise InvalidInputError("reading and computing times must be finite, 0 or more")
    begins: list[float] = []
    ends: list[float] = []
    read_end = end = 0.0
    for stage, (reading, computing) in enumerate(zip(read_s, compute_s, strict=True)):
        issued = _issued(stage, ahead, begins, end)
        read_end = max(read_end, issued) + reading
        begins.append(max(end, read_end))
        end = begins[-1] + computing
        ends.append(end)
    return ends


def _issued(stage: int, ahead: int, begins: Sequence[float], end: float) -> float:
    """When the read of a stage may be issued."""
    if ahead == 0:
        return end
    return begins[stage - ahead] if stage >= ahead else 0.0
