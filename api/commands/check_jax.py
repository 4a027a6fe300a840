"""`tierplan check-jax`: a JAX function on this machine, predicted beside measured."""

from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.options import AsJson, Hardware, Planner, Seconds, Seed, Shapes

if TYPE_CHECKING:
    from tierplan.jax_check import Check


def check_jax(
    function: Annotated[
        str, typer.Argument(metavar="FUNCTION", help="A JAX function: module:function or file.py:function.")
    ],
    hardware: Hardware,
    shapes: Shapes = None,
    repeats: Annotated[int, typer.Option(metavar="N", help="How often each is run and timed.")] = 10,
    planner: Planner = "greedy",
    budget: Seconds = "10s",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run a JAX function on this machine, whole and operation by operation, beside what is predicted for HW.

    HW should be a file that describes this machine. Arguments that are given as shapes get numbers drawn with the seed.
    """
    from tierplan.frontend.jax_function import traced
    from tierplan.frontend.jaxpr_module import find
    from tierplan.frontend.jaxpr_shapes import read_shapes
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.units import read_seconds
    from tierplan.pipeline import lower, simulate
    from tierplan.pipeline import plan as make_plan
    from tierplan.planner.contract import Budget
    from tierplan.terminal import print_json, progress, steps

    if repeats < 3:
        raise InvalidInputError(f"--repeats is {repeats}; need 3 or more to tell a spread")
    limit = Budget(seconds=read_seconds(budget), seed=seed)
    with progress(f"planning {function}"):
        from tierplan.frontend.jax_function import require_jax

        require_jax()
        from tierplan.frontend.jaxpr_record import record
        from tierplan.jax_check import check, numbers_for
        from tierplan.jax_replay import check_pure

        found = find(function)
        shapes_of = found.example_args() if shapes is None else read_shapes(shapes)
        recorded = record(traced(found.function, shapes_of, name=function))
        check_pure(recorded, function)
        problem = lower(recorded.graph, hardware)
        outcome = make_plan(problem, hardware, planner=planner, budget=limit)
        if outcome.plan is None:
            raise InvalidInputError(f"no plan for '{function}' on '{hardware}': {outcome.status.value}")
        timeline = simulate(problem, outcome.plan)
    with steps(f"running {function}", 1 + len(recorded.graph.ops)) as advance:
        checked = check(
            found.function,
            numbers_for(shapes_of, seed),
            recorded,
            problem,
            timeline,
            repeats=repeats,
            told=lambda part: advance(1, part),
        )
    if as_json:
        print_json({"function": function, "hardware": hardware} | checked.row())
    else:
        _print(checked, function, hardware)


def _print(checked: "Check", function: str, hardware: str) -> None:
    from rich.table import Table

    from tierplan.ir.units import show_seconds
    from tierplan.terminal import console

    out = console()
    out.print(f"[bold]{function}[/] on this machine ({checked.device}), predicted for {hardware}")
    table = Table(title=f"{len(checked.terms[0].measured.seconds)} runs", title_justify="left")
    table.add_column("term")
    for name in ("operations", "predicted", "least", "error", "median", "spread", "error"):
        table.add_column(name, justify="right")
    for term in checked.terms:
        seconds = term.measured.seconds
        table.add_row(
            term.name, str(term.n), "-" if term.predicted_s is None else show_seconds(term.predicted_s),
            show_seconds(seconds[0]), _percent(term.least_error), show_seconds(term.measured.median_s),
            f"{term.measured.spread:.0%}", _percent(term.error),
        )  # fmt: skip
    out.print(table)
    out.print(
        "spread      the middle half of the runs, over the median; error: predicted over what is left of it, minus 1"
    )
    out.print(f"machine     {checked.usage}")
    out.print(f"results     of both ways to run are {checked.apart:.1e} apart, relative to the largest number")
    for note in checked.notes:
        out.print(f"note        {note}")


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{error:+.0%}"
