"""What the commands share on a terminal: progress, JSON, and files that are written whole or not at all."""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tierplan.ir.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console

_PATIENCE_S = 1.0


def print_json(row: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(row, indent=2) + "\n")


def console() -> "Console":
    """A console for tables; as wide as the terminal, or 120 columns where there is none."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@contextmanager
def progress(what: str, budget_s: float | None = None) -> Generator[None]:
    """Show on a terminal's standard error that something runs, once it has run for a second."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    )
    bar.add_task(what, total=None)
    timer = threading.Timer(_PATIENCE_S, bar.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


@contextmanager
def steps(what: str, total: int, done: int = 0) -> Generator[Callable[..., None]]:
    """As `progress`, for work whose amount is known; call what comes with the amount that is done, 1 by default.

    `told`: with each call, what there is to tell.
    """
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )  # fmt: skip
    lines_above = sys.stdout.isatty()  # what is printed meanwhile; a file that takes it is not to lose it
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=lines_above)
    task = bar.add_task(what, total=total, completed=done, told="")

    def advance(amount: int = 1, told: str = "") -> None:
        bar.update(task, advance=amount, told=told)

    timer = threading.Timer(_PATIENCE_S, bar.start)
    timer.start()
    try:
        yield advance
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def _silent(amount: int = 1, told: str = "") -> None:
    """Show nothing."""


def check_folder(path: Path) -> None:
    """Refuse a file whose folder does not exist or cannot be written to, before any work is done for it."""
    if not path.parent.is_dir():
        raise InvalidInputError(f"cannot write '{path}': there is no folder '{path.parent}'")
    if path.is_dir():
        raise InvalidInputError(f"cannot write '{path}': it is a folder")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidInputError(f"cannot write '{path}': folder '{path.parent}' is read-only, or not yours to write in")


def _umask() -> int:
    """The permissions that new files go without; reading it means setting it for a moment."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_whole(path: Path, text: str) -> None:
    """Replace a file with `text`, atomically.

    Raises: InvalidInputError: the folder is missing or cannot be written to.
    """
    write_bytes_whole(path, text.encode("utf-8"))


def write_bytes_whole(path: Path, content: bytes) -> None:
    """As `write_whole`, for a file that is no text."""
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InvalidInputError(f"cannot write '{path}': {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(draft, 0o666 & ~_umask())
        os.replace(draft, path)
    except OSError as error:
        Path(draft).unlink(missing_ok=True)
        raise InvalidInputError(f"cannot write '{path}': {error.strerror}") from None
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
