"""`tierplan play`: methods that play mallocGame, side by side, and results played again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.options import AsJson, Batch, Context, Dtype, Phase, Seed

if TYPE_CHECKING:
    from tierplan.ir.problem import Problem
    from tierplan.rl.result import Result

_DEFAULT_METHODS = "greedy-play,anneal,msa"


def play(
    program: Annotated[
        str | None,
        typer.Argument(
            metavar="PROGRAM",
            help="suite://NAME, generator://FAMILY/SEED?level=N, or a MODEL as for 'tierplan plan'; see --list.",
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option("--hardware", "-H", metavar="HW", help="A built-in machine or a hardware file. Default: tpu-v4i."),
    ] = None,
    phase: Phase = None,
    batch: Batch = None,
    context: Context = None,
    dtype: Dtype = None,
    methods: Annotated[
        str, typer.Option(metavar="LIST", help="Players and planners, separated by commas.")
    ] = _DEFAULT_METHODS,
    evaluations: Annotated[int, typer.Option(metavar="N", help="Plays that each method may try.")] = 1000,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Processor time that each method may use, like 10s.")
    ] = None,
    bound: Annotated[
        str | None, typer.Option(metavar="TIME", help="Solve the relaxation of 'flow' for so long first: gaps.")
    ] = None,
    seed: Seed = 0,
    render: Annotated[bool, typer.Option("--render", help="Show the last play of the first player in words.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Add the results to a CSV file.")
    ] = None,
    validate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Play the results in a CSV file again; exit 1 if one differs.")
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="List programs, splits and methods.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play mallocGame on PROGRAM with methods that do not learn, each with the same budget."""
    import math

    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.units import read_seconds
    from tierplan.programs import Shaping
    from tierplan.rl.methods.contract import Effort
    from tierplan.rl.methods.registry import find_player, is_planner
    from tierplan.rl.methods.registry import play as run
    from tierplan.rl.program import program_of
    from tierplan.rl.result import write_results
    from tierplan.terminal import check_folder, print_json, progress

    if names:
        _print_names(as_json)
        return
    if validate is not None:
        _validate(validate, as_json)
        return
    if program is None:
        raise InvalidInputError("no program to play; name one like suite://bert-8x512, or see --list")
    if output is not None:
        check_folder(output)
    wanted = [name.strip() for name in methods.split(",") if name.strip()]
    if not wanted:
        raise InvalidInputError(f"--methods names none; write like --methods {_DEFAULT_METHODS}")
    for name in wanted:
        if not is_planner(name):
            find_player(name)
    effort = Effort(evaluations, math.inf if budget is None else read_seconds(budget), seed)
    with progress(f"reading {program}"):
        problem = _problem(program, hardware, Shaping(phase, batch, context, dtype, None, None, ()))
        tables = program_of(problem)
    bound_s = 0.0
    if bound is not None:
        with progress("solving the relaxation"):
            bound_s = _bound_s(problem, read_seconds(bound))
    results: list[Result] = []
    for name in wanted:
        with progress(f"playing {program} with {name}"):
            results.append(run(name, tables, effort, title=program, hardware=hardware or "", bound_s=bound_s)[0])
    if output is not None:
        write_results(output, results)
    if as_json:
        rows = [result.row() for result in results]
        print_json({"program": program, "visits": tables.n_visits, "bound_s": bound_s, "results": rows})
    else:
        _print_results(problem, tables.n_visits, results)
    if render:
        _render(problem, results)


def _problem(program: str, hardware: str | None, shaping: "object") -> "Problem":
    from tierplan.rl.programs import DEFAULT_HARDWARE, read_program

    if "://" in program:
        return read_program(program, hardware)
    from tierplan.programs import Shaping
    from tierplan.subject import Extras, read_subject

    assert isinstance(shaping, Shaping)
    return read_subject(program, shaping, hardware or DEFAULT_HARDWARE, Extras()).problem


def _bound_s(problem: "Problem", seconds: float) -> float:
    """What no plan is faster than, by the relaxation of `flow`."""
    from tierplan.planner.contract import Budget
    from tierplan.planner.registry import find_planner
    from tierplan.sim.incremental.session import Simulated

    return find_planner("flow")(problem, Budget(seconds, workers=1), cost=Simulated(problem)).bound_s


def _print_results(problem: "Problem", n_visits: int, results: "list[Result]") -> None:
    import math

    from rich.table import Table

    from tierplan.ir.units import show_seconds
    from tierplan.terminal import console

    out = console()
    out.print(f"[bold]{problem.name}[/]: {problem.n_steps} steps, {problem.n_tensors} tensors, {n_visits} decisions")
    table = Table()
    table.add_column("method")
    for column in ("predicted", "gap", "evaluations", "processor", "plan"):
        table.add_column(column, justify="right")
    for result in results:
        found = not math.isnan(result.time_s)
        table.add_row(
            result.planner,
            show_seconds(result.time_s) if found else "-",
            "-" if math.isnan(result.gap) else f"{result.gap:.2%}",
            str(result.evaluations),
            show_seconds(result.cpu_s),
            result.plan_hash or "none",
        )
    out.print(table)


def _render(problem: "Problem", results: "list[Result]") -> None:
    from tierplan.rl.env import picture
    from tierplan.rl.game import Game
    from tierplan.rl.program import program_of

    played = next((result for result in results if result.actions), None)
    if played is None:
        return
    game = Game(program_of(problem))
    for action in played.actions:
        if game.at % max(1, game.program.n_visits // 8) == 0:
            typer.echo(picture.text(game))
        game.step(action)
    typer.echo(picture.text(game))


def _validate(path: Path, as_json: bool) -> None:
    from tierplan.programs import Shaping
    from tierplan.rl.methods.registry import replayed
    from tierplan.rl.result import read_results
    from tierplan.terminal import print_json, progress

    rows: list[dict[str, object]] = []
    for number, result in enumerate(read_results(path), 2):
        with progress(f"playing line {number} again"):
            problem = _problem(result.program, result.hardware or None, Shaping(None, None, None, None, None, None, ()))
            found = replayed(problem, result)
        rows.append({"line": number, "program": result.program, "planner": result.planner, "complaints": found})
    wrong = [row for row in rows if row["complaints"]]
    if as_json:
        print_json({"file": str(path), "results": rows})
    else:
        for row in wrong:
            typer.echo(f"line {row['line']}: {row['planner']} on {row['program']}: {row['complaints']}")
        typer.echo(f"{len(rows) - len(wrong)} of {len(rows)} results are as they say")
    if wrong:
        raise typer.Exit(1)


def _print_names(as_json: bool) -> None:
    from tierplan.rl.generate import FAMILIES, LEVELS
    from tierplan.rl.methods.registry import method_names
    from tierplan.rl.programs import SPLITS, program_names
    from tierplan.terminal import print_json

    splits = {split: program_names(split) for split in SPLITS}
    if as_json:
        print_json({"splits": splits, "families": sorted(FAMILIES), "levels": LEVELS, "methods": method_names()})
        return
    for split, programs in splits.items():
        for name in programs:
            typer.echo(f"{split:6} {name}")
    typer.echo(f"methods: {', '.join(method_names())}")
