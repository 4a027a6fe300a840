"""How busy the machine was meanwhile: what others took of the processor, which the load does not tell.

The load counts threads that wait for a disk, and so a program's own readers.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from time import process_time

_STAT = Path("/proc/stat")
_BUSY = (0, 1, 2, 5, 6)  # user, nice, system, interrupts, soft interrupts
_IDLE = (3, 4)
_STEAL = 7


@dataclass(frozen=True, slots=True)
class Usage:
    """Shares of all processors' time: `others` ran other programs, `stolen` other virtual machines; None: not known."""

    load_before: float
    load_after: float
    others: float | None
    stolen: float | None

    def __str__(self) -> str:
        load = f"load {self.load_before:.1f} to {self.load_after:.1f}"
        if self.others is None or self.stolen is None:
            return load
        return f"{load}; other programs took {self.others:.0%} of the processors, other machines {self.stolen:.0%}"


class Watch:
    """Begins to watch where it is made."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat, self._before, self._load = stat, _ticks(stat), os.getloadavg()[0]
        self._own = process_time()

    def usage(self) -> Usage:
        """What happened since."""
        load, before, now = os.getloadavg()[0], self._before, _ticks(self._stat)
        if before is None or now is None:
            return Usage(self._load, load, None, None)
        spent = [b - a for a, b in zip(before, now, strict=True)]
        total = sum(spent[k] for k in (*_BUSY, *_IDLE, _STEAL)) or 1
        own = (process_time() - self._own) * os.sysconf("SC_CLK_TCK")
        others = max(0.0, sum(spent[k] for k in _BUSY) - own)
        return Usage(self._load, load, min(1.0, others / total), spent[_STEAL] / total)


def _ticks(stat: Path) -> list[int] | None:
    try:
        words = stat.read_text(encoding="utf-8").split("\n", 1)[0].split()
    except OSError:
        return None
    return [int(word) for word in words[1:9]] if words[:1] == ["cpu"] and len(words) >= 9 else None
