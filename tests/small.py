"""Programs and machines small enough to work out by hand."""

from collections.abc import Mapping, Sequence

import numpy as np

from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.problem import NO_HOME, Choice, Keep, Mode, Problem, links_of, tiers_of

_UNIT = Unit("unit", {"float32": 1e9})

SRAM = Tier("sram", 1000, 100.0, 100.0, alignment=10, scratch=100)
DRAM = Tier("dram", 10_000, 10.0, 10.0)
FLASH = Tier("flash", 100_000, 1.0, 1.0, direct=False)
LINKS = (
    Link("up", "dram", "sram", 10.0),
    Link("down", "sram", "dram", 10.0),
    Link("load", "flash", "dram", 1.0),
)


def machine(tiers: Sequence[Tier] = (SRAM, DRAM, FLASH), links: Sequence[Link] = LINKS, home: str = "dram") -> Machine:
    """By default: sram (1000 B, 100 B/s), dram (10 B/s) and flash (not direct, 1 B/s) in a row."""
    return Machine("small", _UNIT, _UNIT, tuple(tiers), tuple(links), home)


def problem(
    steps: Sequence[str],
    sizes: Mapping[str, int],
    *,
    home: Sequence[str] = (),
    keep: Mapping[str, Keep] | None = None,
    cyclic: bool = False,
    compute_s: Sequence[float] | None = None,
    choices: Sequence[Choice] = (),
    on: Machine | None = None,
) -> Problem:
    """A program from lines like "read w, update s, produce y"; every access streams the whole tensor.

    `home` names the tensors that exist at the start, in the machine's home tier.
    """
    on = on or machine()
    names = list(sizes)
    modes = {"read": Mode.READ, "update": Mode.UPDATE, "produce": Mode.PRODUCE}
    rows = [[(modes[use.split()[0]], use.split()[1]) for use in step.split(",") if use.strip()] for step in steps]
    uses = [use for row in rows for use in row]
    return Problem(
        name="small",
        tiers=tiers_of(on),
        links=links_of(on),
        step_names=tuple(f"op{t}" for t in range(len(steps))),
        compute_s=np.array(compute_s or [0.0] * len(steps), dtype=np.float64),
        compute_j=np.zeros(len(steps)),
        access_start=np.cumsum([0] + [len(row) for row in rows]),
        access_tensor=np.array([names.index(name) for _, name in uses], dtype=np.int64),
        access_read=np.array([sizes[n] if m is not Mode.PRODUCE else 0 for m, n in uses], dtype=np.int64),
        access_write=np.array([sizes[n] if m is not Mode.READ else 0 for m, n in uses], dtype=np.int64),
        access_mode=np.array([int(m) for m, _ in uses], dtype=np.int64),
        tensor_names=tuple(names),
        tensor_kind=tuple("weight" if name in home else "activation" for name in names),
        size=np.array([sizes[name] for name in names], dtype=np.int64),
        home=np.array([on.tier_index(on.home) if name in home else NO_HOME for name in names], dtype=np.int64),
        keep=np.array([int((keep or {}).get(name, Keep.NOTHING)) for name in names], dtype=np.int64),
        cyclic=cyclic,
        choices=tuple(choices),
    )
