"""The command line: `tierplan COMMAND`. Exits 0 done, 1 no plan or a rule broken, 2 bad input."""

import signal
import sys
from typing import Annotated

import typer

from tierplan import __version__
from tierplan.commands.allocate import allocate
from tierplan.commands.calibrate import calibrate
from tierplan.commands.cascade import cascade
from tierplan.commands.check_jax import check_jax
from tierplan.commands.compare import compare
from tierplan.commands.compare_xla import compare_xla
from tierplan.commands.emit import emit
from tierplan.commands.experts import experts
from tierplan.commands.hardware import hardware
from tierplan.commands.models import models
from tierplan.commands.plan import plan
from tierplan.commands.play import play
from tierplan.commands.report import report
from tierplan.commands.reproduce import reproduce
from tierplan.commands.run_flash import run_flash
from tierplan.commands.sensitivity import sensitivity
from tierplan.commands.simulate import simulate
from tierplan.commands.sweep import sweep
from tierplan.commands.train import train
from tierplan.commands.verify import verify
from tierplan.ir.errors import InvalidPlanError, TierplanError

_BAD_INPUT = 2
_INTERRUPTED = 130

app = typer.Typer(
    name="tierplan",
    help="Plan which tensor lies in which memory tier, at which offset, from when to when, moved when.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    plan, experts, compare, sweep, sensitivity, simulate, report, verify, emit, allocate, cascade, reproduce,
    play, train, calibrate, models, hardware,
)  # fmt: skip
for _command in _COMMANDS:
    app.command()(_command)
app.command("compare-xla")(compare_xla)
app.command("check-jax")(check_jax)
app.command("run-flash")(run_flash)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tierplan {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback for errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del debug, version


def main() -> None:
    """Run the command line; every expected error is one line on standard error."""
    arguments = _with_addresses(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: planners return the best plan so far
    try:
        code = app(arguments or ["--help"], standalone_mode=False)
        if code == _INTERRUPTED:  # how typer tells of Ctrl-C
            _complain("interrupted", False)
    except typer.TyperException as error:
        _complain(error.format_message(), "--debug" in arguments)
        code = _BAD_INPUT
    except typer.Abort:
        _complain("interrupted", False)
        code = _INTERRUPTED
    except InvalidPlanError as error:
        _complain(f"a planner went wrong, please report it: {error}", "--debug" in arguments)
        code = 1
    except TierplanError as error:
        _complain(str(error), "--debug" in arguments)
        code = _BAD_INPUT
    except KeyboardInterrupt:
        _complain("interrupted", False)
        code = _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code)


def _with_addresses(arguments: list[str]) -> list[str]:
    """Arguments in which `--ray` without an address has one; typer knows no option whose value may be left out."""
    follows = [*arguments[1:], "-"]
    pairs = zip(arguments, follows, strict=False)
    return [part for one, after in pairs for part in ((one, "auto") if one == "--ray" and after[:1] == "-" else (one,))]


def _complain(message: str, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    one_line = " ".join(message.split())
    sys.stderr.write(f"tierplan: {one_line}\n")
