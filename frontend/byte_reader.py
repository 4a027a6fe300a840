"""Reading a few bytes of a large file: in order, in pieces, with skips, never beyond its end, and counted."""

import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tierplan.ir.errors import InvalidInputError

_PIECE = 1 << 16


class ByteReader:
    """A position in a binary file. `n_read` counts the bytes that were read from it.

    Raises: InvalidInputError: the file cannot be read, or ends before what is asked for.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            raise InvalidInputError(f"cannot read '{path}': {error.strerror}") from None
        try:
            self.size = self._file.seek(0, 2)
            self._file.seek(0)
        except OSError as error:
            self._file.close()
            raise InvalidInputError(f"cannot read '{path}': {error.strerror}") from None
        self.n_read = 0
        self._piece = b""
        self._start = 0  # where the piece lies in the file
        self._at = 0  # where reading stands in the piece

    def __enter__(self) -> "ByteReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def position(self) -> int:
        """Bytes before the next one."""
        return self._start + self._at

    @property
    def left(self) -> int:
        """Bytes from here to the end of the file."""
        return self.size - self.position

    def take(self, n: int, what: str) -> bytes:
        """The next `n` bytes, which hold `what`."""
        end = self._at + n
        if end <= len(self._piece):
            taken = self._piece[self._at : end]
            self._at = end
            return taken
        self._check(n, what)
        taken = self._piece[self._at :]
        self._start += len(self._piece)
        self._piece, self._at = b"", 0
        while len(taken) < n:
            self._piece = self._read(max(min(_PIECE, self.size - self._start), 0))
            if not self._piece:
                raise self._ended(what)
            self._at = min(n - len(taken), len(self._piece))
            taken += self._piece[: self._at]
            if len(taken) < n:
                self._start += len(self._piece)
        return taken

    def skip(self, n: int, what: str) -> None:
        """Pass over `n` bytes; those that were not read already never are."""
        self._check(n, what)
        if self._at + n <= len(self._piece):
            self._at += n
            return
        self._start = self._start + self._at + n
        self._piece, self._at = b"", 0
        self._file.seek(self._start)

    def skip_texts(self, n: int, length: struct.Struct, what: str) -> None:
        """Pass over `n` texts, each of which stands behind its length."""
        size, unpack = length.size, length.unpack_from
        while n:
            piece, at, last = self._piece, self._at, len(self._piece) - length.size
            while n and at <= last:
                at += size + unpack(piece, at)[0]
                n -= 1
            self.skip(at - self._at, what)
            if n:
                self.skip(length.unpack(self.take(size, what))[0], what)
                n -= 1

    def _check(self, n: int, what: str) -> None:
        if n > self.left:
            raise self._ended(what)

    def _ended(self, what: str) -> InvalidInputError:
        return InvalidInputError(f"{self.where}: ends within {what}; the file is truncated or damaged")

    def _read(self, n: int) -> bytes:
        try:
            piece = self._file.read(n)
        except OSError as error:
            raise InvalidInputError(f"cannot read '{self.where}': {error.strerror}") from None
        self.n_read += len(piece)
        return piece
