"""From a plan to what a JAX program does for it: which activations leave device memory when, and when they return."""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import TensorKind
from tierplan.ir.plan import Plan
from tierplan.ir.problem import NO_LINK, Mode, Problem
from tierplan.runtimes.places import Device, devices_of
from tierplan.sim.timeline import simulate


@dataclass(frozen=True, slots=True)
class Gap:
    """An activation that the plan keeps out of device memory for a while.

    It is copied out when step `out` begins (made there by that step where `at_birth`), its bytes on the device are
    given up when step `dropped` begins, and it is back for step `needed`, fetched from the beginning of `back` on.
    `again`: it is computed again at `back` instead, and never copied.
    """

    tensor: str
    size: int
    out: int
    dropped: int
    back: int
    needed: int
    at_birth: bool = False
    again: bool = False


def gaps(problem: Problem, plan: Plan, *, recompute: bool = False) -> tuple[Gap, ...]:
    """Every time that an activation is out of device memory between two uses of it.

    With `recompute`, one whose step takes less time than its two copies take on their links, and whose operands lie in
    device memory when it is needed, is computed again.

    Raises: InvalidInputError: an activation lies on a disk, which JAX cannot reach from within a function.
    """
    devices = devices_of(problem.tiers)
    held: dict[int, list[tuple[int, int]]] = defaultdict(list)
    away: dict[int, list[int]] = defaultdict(list)
    for r in sorted(plan.residencies, key=lambda r: r.start):
        if problem.tensor_kind[r.tensor] != TensorKind.ACTIVATION.value:
            continue
        if devices[r.tier] is Device.DISK:
            raise InvalidInputError(
                f"the plan puts '{problem.tensor_names[r.tensor]}' in '{problem.tiers.names[r.tier]}', which JAX does "
                "not reach from within a function; plan for a machine without that tier"
            )
        if _on_device(problem, r.tier):
            _join(held[r.tensor], r.start, r.stop)
        else:
            away[r.tensor].append(r.start)
    found = [gap for tensor in sorted(away) for gap in _of_tensor(problem, tensor, held[tensor], away[tensor])]
    if not recompute:
        return tuple(found)
    return _with_recomputing(problem, plan, found, held)


def _on_device(problem: Problem, tier: int) -> bool:
    """Whether operations reach a tier without a link: JAX calls all such tiers device memory."""
    return bool(problem.tiers.direct[tier]) and problem.tiers.read_link[tier] == NO_LINK


def _join(runs: list[tuple[int, int]], start: int, stop: int) -> None:
    if runs and start <= runs[-1][1]:
        runs[-1] = (runs[-1][0], max(runs[-1][1], stop))
    else:
        runs.append((start, stop))


def _of_tensor(problem: Problem, tensor: int, held: list[tuple[int, int]], away: list[int]) -> list[Gap]:
    order, at = problem.by_tensor()
    uses = order[at[tensor] : at[tensor + 1]]
    steps = problem.access_step[uses]
    name, size = problem.tensor_names[tensor], int(problem.size[tensor])
    reads = [int(t) for t, mode in zip(steps, problem.access_mode[uses], strict=True) if mode == Mode.READ]
    first = int(steps.min())
    found: list[Gap] = []
    born_away = not held or held[0][0] > first
    since = first + 1 if born_away else held[0][1]
    if away[0] > since:
        return []
    out = first if born_away else max(away[0], first + 1)
    for needed in reads:
        if needed < since:
            continue
        run = next(((start, stop) for start, stop in held if start <= needed < stop), None)
        back = needed if run is None else run[0]
        found.append(Gap(name, size, out, since, back, needed, at_birth=born_away))
        since = needed + 1 if run is None else run[1]
        born_away = False
    return found


def _with_recomputing(
    problem: Problem, plan: Plan, found: list[Gap], held: dict[int, list[tuple[int, int]]]
) -> tuple[Gap, ...]:
    index = {name: i for i, name in enumerate(problem.tensor_names)}
    timeline = simulate(problem, plan)
    seconds = timeline.end_s - timeline.begin_s
    chosen: list[Gap] = []
    for gap in found:
        maker = int(problem.access_step[problem.access_tensor == index[gap.tensor]].min())
        span = slice(problem.access_start[maker], problem.access_start[maker + 1])
        operands = [
            int(x)
            for x, mode in zip(problem.access_tensor[span], problem.access_mode[span], strict=True)
            if mode == Mode.READ
        ]
        there = all(_lies(problem, operand, gap.back, held) for operand in operands)
        cheap = float(seconds[maker]) < _copies_s(problem, gap.size)
        chosen.append(replace(gap, again=there and cheap))
    return tuple(chosen)


def _lies(problem: Problem, tensor: int, step: int, held: dict[int, list[tuple[int, int]]]) -> bool:
    """Whether a tensor lies in device memory at a step, as far as a JAX program knows: arguments always do."""
    if problem.tensor_kind[tensor] != TensorKind.ACTIVATION.value:
        return True
    return any(start <= step < stop for start, stop in held[tensor])


def _copies_s(problem: Problem, size: int) -> float:
    """Seconds of a copy out of device memory and back, on the fastest links that there are."""
    inward = [_on_device(problem, int(t)) and not _on_device(problem, int(s)) for s, t in _ends(problem)]
    outward = [_on_device(problem, int(s)) and not _on_device(problem, int(t)) for s, t in _ends(problem)]
    rates = [problem.links.bandwidth[np.array(way)] for way in (inward, outward)]
    return sum(size / float(rate.max()) if len(rate) else float("inf") for rate in rates)


def _ends(problem: Problem) -> list[tuple[int, int]]:
    return list(zip(problem.links.source.tolist(), problem.links.target.tolist(), strict=True))
