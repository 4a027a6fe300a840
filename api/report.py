"""The answers as tables for people: every number has its unit."""

from collections.abc import Sequence

from rich.table import Table

from tierplan.answer import BY_CHOICES, COMPUTE_NAME, Occupancy, limits, occupancy, tokens_per_s, traffic
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.timeline import Timeline
from tierplan.ir.units import show_bytes, show_joules, show_seconds
from tierplan.terminal import console

_MOST_LIMITS = 5
_KIND_ORDER = ("weight", "state", "activation", "input", "output", "constant", BY_CHOICES)
_KIND_TITLES = {
    "weight": "weights",
    "state": "KV / state",
    "activation": "activations",
    "input": "inputs",
    BY_CHOICES: "by choices",
}


def print_answer(title: str, problem: Problem, outcome: Outcome, timeline: Timeline | None) -> None:
    """Does it fit, what lies where, how fast, what limits it, how far from the best possible, how long it took."""
    out = console()
    out.print(f"[bold]{title}[/]")
    if outcome.plan is None or timeline is None:
        out.print(f"[red]does not fit[/]: {outcome.status.value}")
        out.print(missing_table(problem, outcome))
        out.print(f"planned in {show_seconds(outcome.planning_s)} by {outcome.planner}")
        return
    out.print(f"[green]fits[/]: {outcome.status.value}")
    out.print(tier_table(occupancy(problem, outcome.plan)))
    print_prediction(problem, outcome.plan, timeline)
    gap = "not known" if outcome.gap is None else f"{outcome.gap:.2%}"
    out.print(f"bound       no plan is faster than {show_seconds(outcome.bound_s)}; gap {gap}")
    out.print(f"planning    {show_seconds(outcome.planning_s)} by {outcome.planner}")
    for note in (*problem.notes, *outcome.notes):
        out.print(f"note        {note}")


def print_prediction(problem: Problem, plan: Plan, timeline: Timeline) -> None:
    """Predicted time, what limits it, and the bytes that move."""
    out = console()
    per_turn = "a turn" if problem.cyclic else "a run"
    rate = tokens_per_s(problem, timeline)
    tokens = (
        ""
        if rate is None
        else f", {rate:.4g} tokens/s ({problem.tokens} {_plural('token', problem.tokens)} {per_turn})"
    )
    energy, how = _energy(timeline), "" if problem.calibrated else ", uncalibrated"
    out.print(f"predicted   {show_seconds(timeline.time_s)} {per_turn}{tokens}, energy {energy}{how}")
    shares = limits(problem, timeline)
    shown = ", ".join(f"{s.what} {s.share:.1%}" for s in shares[:_MOST_LIMITS])
    out.print(f"limited by  {shown or 'nothing: no step takes time'}")
    if timeline.wait_s.size and timeline.wait_s.max() > 0:
        step = int(timeline.wait_s.argmax())
        wait = show_seconds(float(timeline.wait_s[step]))
        awaited = problem.tensor_names[plan.copies[int(timeline.waited_copy[step])].tensor]
        out.print(f"            longest wait: {wait} for '{awaited}' before step {step} ({problem.step_names[step]})")
    flows = traffic(problem, plan, timeline)
    streams = [f for f in flows if COMPUTE_NAME in (f.source, f.target)]
    copies = [f for f in flows if COMPUTE_NAME not in (f.source, f.target)]
    for title, group in (("streams", streams), ("copies", copies)):
        text = ", ".join(f"{f.source} -> {f.target} {show_bytes(f.bytes)}" for f in group)
        out.print(f"{title:<11} {text or 'none'}")


def tier_table(tiers: Sequence[Occupancy]) -> Table:
    """Per tier: capacity, and what lies in it at its fullest step."""
    kinds = [kind for kind in _KIND_ORDER if any(kind in tier.by_kind for tier in tiers)]
    table = Table(title="what lies where, at the fullest step of each tier", title_justify="left")
    table.add_column("tier")
    for column in ("capacity", "peak", *(_KIND_TITLES.get(kind, f"{kind}s") for kind in kinds)):
        table.add_column(column, justify="right")
    for tier in tiers:
        used = f"{show_bytes(tier.peak_bytes)} ({tier.peak_bytes / tier.capacity_bytes:.0%})"
        cells = [show_bytes(tier.by_kind[kind]) if kind in tier.by_kind else "-" for kind in kinds]
        table.add_row(tier.name, show_bytes(tier.capacity_bytes), used, *cells)
    return table


def missing_table(problem: Problem, outcome: Outcome) -> Table:
    """Per tier: what would lack if all data had to lie in it and the faster ones."""
    table = Table(title="bytes missing with this tier and the faster ones", title_justify="left")
    table.add_column("tier")
    table.add_column("capacity", justify="right")
    table.add_column("missing", justify="right")
    for k, name in enumerate(problem.tiers.names):
        lacking = outcome.missing.get(name, 0)
        table.add_row(name, show_bytes(int(problem.tiers.capacity[k])), show_bytes(lacking) if lacking else "-")
    return table


def comparison_table(outcomes: Sequence[Outcome]) -> Table:
    """Planners side by side."""
    table = Table(title_justify="left")
    table.add_column("planner")
    for column in ("predicted", "bound", "gap", "planning"):
        table.add_column(column, justify="right")
    table.add_column("status")
    for outcome in outcomes:
        found = outcome.status in (Status.OPTIMAL, Status.FEASIBLE)
        cost = show_seconds(outcome.cost_s) if outcome.cost_s is not None else "-"
        gap = f"{outcome.gap:.2%}" if outcome.gap is not None else "-"
        status = f"{outcome.status.name.lower()}: {outcome.status.value}"
        planning = show_seconds(outcome.planning_s)
        table.add_row(
            outcome.planner,
            cost,
            show_seconds(outcome.bound_s),
            gap,
            planning,
            status if found else f"[red]{status}[/]",
        )
    return table


def _energy(timeline: Timeline) -> str:
    if timeline.energy_j is None:
        return "not known for this machine"
    without = f" (without {', '.join(timeline.energy_without)}: not known)" if timeline.energy_without else ""
    return show_joules(timeline.energy_j) + without


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
