"""`tierplan run-flash`: execute a sparse decode from flash, and set predicted beside measured times."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.options import AsJson, Seed

if TYPE_CHECKING:
    from tierplan.sim.flash_trace import ActivationTrace

_LOCALITY, _SKEW = 0.6, 0.5  # of generated traces: most of what a token uses, the one before used too


def run_flash(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A language model with ReLU (built in, or a config.json), 'synthetic', or "
            "'synthetic:LAYERSxNEURONSxHIDDEN'. Weights are random numbers.",
        ),
    ],
    hardware: Annotated[
        str,
        typer.Option(
            "--hardware", "-H", metavar="HW", help="This machine, as 'tierplan calibrate -o FILE' measured it."
        ),
    ],
    dram: Annotated[str, typer.Option("--dram", metavar="SIZE", help="Bytes of memory for neurons that are kept.")],
    tokens: Annotated[int, typer.Option(metavar="N", help="Tokens to run.")] = 32,
    layers: Annotated[int | None, typer.Option(metavar="N", help="Run only the first N layers.")] = None,
    window: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the neurons of the last N tokens. Default: what fits --dram.")
    ] = None,
    active: Annotated[str, typer.Option(metavar="SHARE", help="Share of the neurons that a token uses.")] = "5%",
    trace: Annotated[
        str | None, typer.Option(metavar="FILE", help="A .npz of which neurons each token uses, in place of --active.")
    ] = None,
    io_threads: Annotated[
        int | None, typer.Option("--io-threads", metavar="N", help="Reads at once. Default: the queue depth of HW.")
    ] = None,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the weights are written for the run. Default: here.")
    ] = Path(),
    file_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Refuse to write more than this; --layers makes the file smaller.")
    ] = "4GiB",
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Predict from reads of this run's file, measured just before it.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run the feed-forward part of a decode from a file on this machine's disk, in four ways; check the prediction."""
    from contextlib import ExitStack

    from tierplan.hardware.load import load_machine
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.units import read_bytes, read_share, show_bytes
    from tierplan.run_flash import longest_window, neuron_file, run_flash, run_row
    from tierplan.run_flash_report import print_run
    from tierplan.scratch_file import check_space
    from tierplan.terminal import print_json, steps

    room, most = read_bytes(dram), read_bytes(file_size)
    machine = load_machine(hardware)
    file = neuron_file(model, layers)
    if file.n_bytes > most:
        fit = int(most // (file.n_bytes // file.n_layers))
        advice = f"--layers {fit} fits, or raise --file-size" if fit else "raise --file-size"
        raise InvalidInputError(
            f"the weights of '{model}' take {show_bytes(file.n_bytes)}, more than --file-size {show_bytes(most)}: "
            f"{advice}"
        )
    free = check_space(folder, file.n_bytes)
    found = _trace(trace, read_share(active), tokens, file.n_layers, file.n_neurons, seed)
    kept = longest_window(found, file, room, window)
    typer.echo(
        f"tierplan writes {show_bytes(file.n_bytes)} of random weights ({file.n_layers} layers of {file.n_neurons} "
        f"neurons of 2 x {file.hidden} float32, apart and bundled) to a nameless file in {folder.resolve()} "
        f"({show_bytes(free)} free); nothing is left of it",
        err=True,
    )
    with ExitStack() as stack:
        run = run_flash(
            file, found, kept, machine, io_threads, folder, seed,
            lambda what, total: stack.enter_context(steps(what, total)), remeasure,
        )  # fmt: skip
    if as_json:
        print_json(run_row(run))
    else:
        print_run(run)


def _trace(path: str | None, active: float, tokens: int, n_layers: int, n_neurons: int, seed: int) -> "ActivationTrace":
    from tierplan.ir.errors import InvalidInputError
    from tierplan.sim.flash_generate import Activity, generate_trace
    from tierplan.sim.flash_trace import ActivationTrace, load_trace

    if not 4 <= tokens <= 10_000:
        raise InvalidInputError(f"--tokens {tokens}; need 4 to 10000")
    if path is None:
        return generate_trace(Activity(active, _LOCALITY, _SKEW), tokens, n_layers, n_neurons, seed)
    found = load_trace(Path(path))
    if found.n_layers < n_layers or found.n_neurons != n_neurons or found.n_tokens < tokens:
        raise InvalidInputError(
            f"{path}: {found.n_tokens} tokens, {found.n_layers} layers of {found.n_neurons} neurons; need {tokens} "
            f"tokens and {n_layers} layers of {n_neurons}: record a trace of this model, or lower --tokens or --layers"
        )
    return ActivationTrace(found.words[:tokens, :n_layers].copy(), n_neurons)
