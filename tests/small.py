"""Programs and machines small enough to work out by hand."""

import itertools
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
    index, at_home = {name: x for x, name in enumerate(names)}, frozenset(home)
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
        access_tensor=np.array([index[name] for _, name in uses], dtype=np.int64),
        access_read=np.array([sizes[n] if m is not Mode.PRODUCE else 0 for m, n in uses], dtype=np.int64),
        access_write=np.array([sizes[n] if m is not Mode.READ else 0 for m, n in uses], dtype=np.int64),
        access_mode=np.array([int(m) for m, _ in uses], dtype=np.int64),
        tensor_names=tuple(names),
        tensor_kind=tuple("weight" if name in at_home else "activation" for name in names),
        size=np.array([sizes[name] for name in names], dtype=np.int64),
        home=np.array([on.tier_index(on.home) if name in at_home else NO_HOME for name in names], dtype=np.int64),
        keep=np.array([int((keep or {}).get(name, Keep.NOTHING)) for name in names], dtype=np.int64),
        cyclic=cyclic,
        choices=tuple(choices),
    )


def training(layers: int, seed: int, *, cyclic: bool = True, tiers: int = 2) -> Problem:
    """A training step in small: activations are kept for the way back, and weights are updated at the end.

    The fast tier holds about a third of all that lies somewhere at the fullest step.
    """
    rng = np.random.default_rng(seed)
    sizes: dict[str, int] = {}
    steps: list[str] = []
    for i in range(layers):
        sizes |= {f"{kind}{i}": int(rng.integers(20, 200)) for kind in "waegm"}
        steps.append(f"read w{i}, produce a{i}" + (f", read a{i - 1}" if i else ""))
    for i in reversed(range(layers)):
        after = f", read e{i + 1}" if i + 1 < layers else ""
        steps.append(f"read a{i}, read w{i}, produce e{i}, produce g{i}" + after)
    steps += [f"read g{i}, update w{i}, update m{i}" for i in range(layers)]
    names = [f"{kind}{i}" for kind in "wm" for i in range(layers)]
    fast = Tier("sram", max(400, sum(sizes.values()) // 4), 100.0, 100.0)
    middle, slow = Tier("hbm", sum(sizes.values()) // 2, 30.0, 30.0), Tier("dram", 100_000, 10.0, 10.0)
    down = Tier("flash", 100_000, 5.0, 5.0, direct=False)
    lying = {2: (fast, slow), 3: (fast, middle, slow), 4: (fast, middle, slow, down)}[tiers]
    pairs = [(p, q) for a, b in itertools.pairwise(lying) for p, q in ((a, b), (b, a))]
    links = [Link(f"{p.name}-{q.name}", p.name, q.name, min(p.read_bandwidth, q.read_bandwidth)) for p, q in pairs]
    return problem(
        steps, sizes, home=names, cyclic=cyclic, compute_s=rng.uniform(0.0, 25.0, len(steps)).tolist(),
        keep={} if cyclic else dict.fromkeys(names, Keep.HOME),
        on=machine(tiers=lying, links=links, home="dram"),
    )  # fmt: skip
