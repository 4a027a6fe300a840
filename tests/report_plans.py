"""Plans for the report: a chain of layers with copies and stalls, of any length, and pages made from it."""

from pathlib import Path

from small import machine, problem

from tierplan.ir.machine import Link, Tier
from tierplan.ir.outcome import Status
from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import Problem
from tierplan.page import Planned, page
from tierplan.sim.timeline import simulate

_ON = machine(
    (Tier("near", 4000, 4000.0, 4000.0), Tier("far", 10_000_000, 800.0, 800.0)),
    (Link("up", "far", "near", 700.0),),
    "far",
)


def chain(layers: int) -> tuple[Problem, Plan]:
    """Layer t reads weight w<t> and the activation before it; every third weight is fetched one step ahead."""
    sizes = {f"layer.{t}.weight": 100 + t * 37 % 300 for t in range(layers)}
    steps = [f"read layer.{t}.weight, produce act.{t}" + (f", read act.{t - 1}" if t else "") for t in range(layers)]
    weights = list(sizes)
    sizes |= {f"act.{t}": 200 + t * 53 % 200 for t in range(layers)}
    program = problem(steps, sizes, home=weights, on=_ON, compute_s=[0.1] * layers)
    residencies: list[Residency] = []
    copies: list[Copy] = []
    offset = 0
    for t in range(layers):
        size = int(program.size[t])
        residencies.append(Residency(t, 1, offset, 0, layers))
        offset += size
        residencies.append(Residency(layers + t, 0, t % 2 * 400, t, min(t + 2, layers)))
        if t % 3 == 2:
            residencies.append(Residency(t, 0, 1000 + t % 2 * 400, t - 1, t + 1))
            copies.append(Copy(t, 1, 0, t - 1, t))
    return program, Plan(tuple(residencies), tuple(copies))


def write_page(path: Path, layers: int) -> None:
    """The page of such a plan, without what would help."""
    program, plan = chain(layers)
    timeline = simulate(program, plan)
    planned = Planned("chain <of> layers on a machine", "hand", Status.FEASIBLE, timeline.time_s / 2)
    path.write_text(page(program, plan, timeline, planned).html, encoding="utf-8")
