"""The experts of a plan as tables for people."""

from rich.table import Table

from tierplan.experts_answer import ExpertsAnswer, places_range
from tierplan.ir.problem import Problem
from tierplan.ir.units import show_bytes, show_seconds
from tierplan.sim.replacement import Policy
from tierplan.terminal import console


def print_experts(answer: ExpertsAnswer) -> None:
    """Where experts lie, how often they are found there, and what other policies and sizes would take."""
    out, experts = console(), answer.experts
    layer, tiers = experts.layers[0], experts.problem.tiers.names
    fastest = tiers[answer.fastest]
    least, most, total = places_range(answer)
    pins = sum(option.n_pins for option in answer.taken)
    out.print(
        f"experts     {len(experts.layers)} layers of {layer.n_experts}, {show_bytes(experts.experts[0].read)} each; "
        f"a turn needs {experts.unique:.4g} of a layer (up to {answer.expected_unique:.4g} if routing is uniform)"
    )
    out.print(
        f"            routing {answer.routing}, {experts.routing.n_tokens} tokens, {experts.parallel} at a time; "
        f"every first use counts as a miss"
    )
    out.print(
        f"            {fastest} has room for {total} of {len(experts.layers) * layer.n_experts}: {least} to {most} of "
        f"a layer, {pins} pinned; policy {experts.policy.name.lower()}"
    )
    out.print(_policies(answer, fastest))
    out.print(_sizes(answer, fastest))


def _policies(answer: ExpertsAnswer, fastest: str) -> Table:
    table = Table(title="policies in the same room", title_justify="left")
    table.add_column("policy")
    for column in (f"hits in {fastest}", "over links a turn", "a turn", "tokens/s"):
        table.add_column(column, justify="right")
    for row in answer.policies:
        name = row.policy.name.lower() + (" (knows the future)" if row.policy is Policy.BELADY else "")
        if row.time_s is None:
            table.add_row(name, "does not fit", "-", "-", "-")
            continue
        cells = (
            f"{row.hit_rate:.1%}",
            show_bytes(row.moved_bytes),
            show_seconds(row.time_s),
            _rate(answer, row.time_s),
        )
        chosen = row.policy is answer.experts.policy
        table.add_row(name, *cells, style="bold" if chosen else None)
    return table


def _sizes(answer: ExpertsAnswer, fastest: str) -> Table:
    table = Table(
        title=f"if each layer had so many experts in {fastest}, whether they fit or not", title_justify="left"
    )
    for column in ("experts", "bytes", "hits", "over links a turn", "a turn", "tokens/s"):
        table.add_column(column, justify="right")
    room = sum(expert.room[answer.fastest] for expert in answer.experts.experts)
    for row in answer.sizes:
        table.add_row(
            str(row.places), show_bytes(row.places * room), f"{row.hit_rate:.1%}", show_bytes(row.moved_bytes),
            show_seconds(row.time_s), _rate(answer, row.time_s),
        )  # fmt: skip
    return table


def _rate(answer: ExpertsAnswer, time_s: float) -> str:
    return f"{answer.experts.parallel / time_s:.4g}"


def print_least(problem: Problem) -> None:
    """What must lie somewhere, by kind, when choices reserve the least they can."""
    table = Table(title="what must lie somewhere", title_justify="left")
    table.add_column("what")
    table.add_column("bytes", justify="right")
    sizes = zip(problem.tensor_kind, problem.size.tolist(), strict=True)
    exists = [(kind, n_bytes) for kind, n_bytes in sizes if kind in ("weight", "state", "input", "constant")]
    for kind in dict.fromkeys(kind for kind, _ in exists):
        table.add_row(f"{kind}s", show_bytes(sum(n_bytes for other, n_bytes in exists if other == kind)))
    experts = sum(min(sum(a.reserved) for a in choice.alternatives) for choice in problem.choices)
    if experts:
        table.add_row("experts", show_bytes(experts))
    console().print(table)
