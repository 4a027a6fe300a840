"""`tierplan sweep`: many models, machines and planners, here or on a cluster, and which points are the best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierplan.sweep.folder import Found


def sweep(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC.yaml]", help="What to run; docs/sweeps.md has its keys.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where results go; the same command goes on there."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many processes; on a cluster, at most how many. Default: one per CPU."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Run on a Ray cluster: HOST:PORT, or 'auto' (also without an address) for the one of this machine.",
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run again those points that ended with an error.")] = False,
    show: Annotated[
        Path | None, typer.Option("--show", metavar="DIR", help="Show results instead: the table and the Pareto front.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every point, not only the fastest.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Where to draw. Default: pareto.png in the folder.")
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option("--map", metavar="X,Y", help="Draw the best time over two axes, like hbm.capacity,ddr.bandwidth."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run every point of SPEC that its folder lacks; or show what a folder holds."""
    from tierplan.ir.errors import InvalidInputError

    if (spec is None) == (show is None):
        raise InvalidInputError(
            "name a spec to run, like 'tierplan sweep SPEC.yaml -o results', or show results with --show results"
        )
    if show is not None:
        given = {"--output": output, "--workers": workers, "--ray": ray, "--retry": retry or None}
        if wrong := [option for option, value in given.items() if value is not None]:
            raise InvalidInputError(f"{', '.join(wrong)} means nothing with --show")
        _show(show, every, plot, axes, as_json)
        return
    assert spec is not None
    if plot is not None or axes is not None:
        raise InvalidInputError("--plot and --map draw what is there; run the sweep first, then add them to --show")
    _run(spec, output or Path("results"), workers, ray, retry, every, as_json)


def _run(
    path: Path, folder: Path, workers: int | None, ray: str | None, retry: bool, every: bool, as_json: bool
) -> None:
    import os
    import sys
    from collections.abc import Callable
    from contextlib import ExitStack

    from tierplan.ir.errors import InvalidInputError
    from tierplan.sweep.run import Where, run_sweep
    from tierplan.sweep.spec import read_spec
    from tierplan.tasks.contract import Ended
    from tierplan.terminal import steps

    if workers is not None and workers < 1:
        raise InvalidInputError(f"--workers {workers}: need at least 1")
    if ray is None and workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spec = read_spec(path)
    with ExitStack() as stack:

        def watch(total: int, done: int) -> Callable[[Ended], None]:
            if done and sys.stderr.isatty():
                typer.echo(f"{done} of {total} points are in {folder} already", err=True)
            tick = stack.enter_context(steps("sweeping", total, done))
            return lambda ended: tick(1, "" if ended.ok else f"{ended.end.value}: {ended.error}"[:60])

        try:
            found = run_sweep(spec, folder, Where(workers, ray, retry), watch)
        except KeyboardInterrupt:
            stack.close()
            typer.echo(f"tierplan: what is done is in {folder}; the same command goes on there", err=True)
            raise
    _tell(folder, found, every, as_json)


def _show(folder: Path, every: bool, plot: Path | None, axes: str | None, as_json: bool) -> None:
    from tierplan.ir.errors import InvalidInputError, MissingDependencyError
    from tierplan.sweep.folder import objectives_of, read_found
    from tierplan.sweep.front import told
    from tierplan.sweep.plot import plot_front, plot_map
    from tierplan.terminal import check_folder, console

    found = read_found(folder)
    objectives = told(found, objectives_of(folder))
    drawn = plot or folder / ("map.png" if axes is not None else "pareto.png")
    check_folder(drawn)
    note = f"drawn: {drawn}"
    if axes is not None:
        names = [name.strip() for name in axes.split(",")]
        if len(names) != 2:
            raise InvalidInputError(f"--map {axes}: need two axes, like --map hbm.capacity,ddr.bandwidth")
        plot_map(found, names[0], names[1], drawn)
    else:
        try:
            plot_front(found, objectives, drawn)
        except (InvalidInputError, MissingDependencyError) as error:
            if plot is not None:
                raise
            note = f"not drawn: {error}"
    _tell(folder, found, every, as_json)
    if not as_json:
        console().print(note)


def _tell(folder: Path, found: "Sequence[Found]", every: bool, as_json: bool) -> None:
    from tierplan.sweep.folder import objectives_of, planned
    from tierplan.sweep.front import told
    from tierplan.sweep.report import found_row, print_found
    from tierplan.terminal import print_json

    objectives = told(found, objectives_of(folder))
    if as_json:
        print_json(found_row(folder, found, objectives))
    else:
        print_found(folder, found, objectives, every=every)
    if not any(map(planned, found)):
        raise typer.Exit(1)
