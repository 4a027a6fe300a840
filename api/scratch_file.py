"""A file for measurements that has no name: however the program ends, the system takes its space back."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.units import show_bytes

Buffer: TypeAlias = bytes | memoryview

BLOCK = 4096
"""Bytes of which direct reads take whole multiples; drives and file systems ask for 512 or 4096."""

_SPARE = 64 * 2**20  # left free on the disk
_AT_ONCE = 4 * 2**20  # bytes of one write
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


@dataclass(frozen=True, slots=True)
class ScratchFile:
    """An open file without a name. `past_cache` says how reads of `descriptor` get past the page cache.

    `written_s`: seconds that writing it took, until the disk said that it has it.
    """

    descriptor: int
    n_bytes: int
    past_cache: str
    written_s: float

    @property
    def is_direct(self) -> bool:
        """Whether reads pass the page cache by themselves."""
        return self.past_cache != _BY_ADVICE

    def forget(self) -> None:
        """Drop what the page cache holds of the file, where reads go through it."""
        if not self.is_direct:
            os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


_BY_ADVICE = "posix_fadvise(DONTNEED)"


def check_space(folder: Path, n_bytes: int) -> int:
    """Bytes that are free on a folder's disk, which must be enough.

    Raises: InvalidInputError: no such folder, one that cannot be written, one in memory, or too little space.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"no folder '{folder}'; --folder names one on the disk to read from")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInputError(f"'{folder}' is read-only, or not yours to write in; --folder names another one")
    system = file_system(folder)
    if system in _IN_MEMORY:
        raise InvalidInputError(f"'{folder}' lies in memory ({system}), not on a disk; --folder names another one")
    free = shutil.disk_usage(folder).free
    if free < n_bytes + _SPARE:
        raise InvalidInputError(
            f"'{folder}' has {show_bytes(free)} free, less than a file of {show_bytes(n_bytes)} and "
            f"{show_bytes(_SPARE)} to spare: write a smaller file, or name another --folder"
        )
    return free


def file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The type of the file system that a folder lies in; '' where the system does not tell."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    found, place = "", folder.resolve()
    longest = -1
    for words in lines:
        point = Path(words[1].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = words[2], len(point.parts)
    return found


@contextmanager
def scratch_file(
    folder: Path, n_bytes: int, pieces: Iterable[Buffer], advance: Callable[[int], None]
) -> Generator[ScratchFile]:
    """A file of `n_bytes` in a folder, written from pieces, one behind the other, and flushed to the disk.

    Its name is taken away before anything is written, so that nothing is left behind, whatever happens.

    Raises: InvalidInputError: as `check_space`, or the disk refuses the bytes.
    """
    check_space(folder, n_bytes)
    writer = reader = -1
    try:
        writer, reader, past_cache = _opened(folder)
        written_s = _write(writer, n_bytes, pieces, advance)
        yield ScratchFile(reader, n_bytes, past_cache, written_s)
    except OSError as error:
        raise InvalidInputError(f"a file of {show_bytes(n_bytes)} in '{folder}': {error.strerror}") from None
    finally:
        for descriptor in (writer, reader):
            if descriptor >= 0:
                os.close(descriptor)


def _opened(folder: Path) -> tuple[int, int, str]:
    """Descriptors to write and to read with, of a file that has lost its name, and how reads pass the cache."""
    writer, name = tempfile.mkstemp(prefix=".tierplan-", dir=folder)
    try:
        if sys.platform == "darwin":
            import fcntl

            reader = os.open(name, os.O_RDONLY)
            fcntl.fcntl(reader, fcntl.F_NOCACHE, 1)  # pyright: ignore
            return writer, reader, "F_NOCACHE"
        with contextlib.suppress(OSError):  # some file systems know no O_DIRECT
            return writer, os.open(name, os.O_RDONLY | os.O_DIRECT), "O_DIRECT"
        return writer, os.open(name, os.O_RDONLY), _BY_ADVICE
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.unlink(name)


def _write(descriptor: int, n_bytes: int, pieces: Iterable[Buffer], advance: Callable[[int], None]) -> float:
    """Ask for all the space first, so that a full disk is found before anything is written; seconds of writing."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)
    seconds = 0.0
    for piece in pieces:
        rest = memoryview(piece).cast("B")
        while rest:
            began = time.perf_counter()
            written = os.write(descriptor, rest[:_AT_ONCE])
            seconds += time.perf_counter() - began
            advance(written)
            rest = rest[written:]
    began = time.perf_counter()
    os.fsync(descriptor)
    seconds += time.perf_counter() - began
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if os.fstat(descriptor).st_size != n_bytes:
        raise ValueError(f"the pieces of a scratch file are {os.fstat(descriptor).st_size} B, not {n_bytes}")
    return seconds
