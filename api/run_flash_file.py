"""Feed-forward weights in a file: each neuron's rows apart, by matrix, and together, so that both can be read."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats, Ints
from tierplan.parallel_reader import ParallelReader, aligned_bytes
from tierplan.scratch_file import BLOCK

_ELEMENT = 4  # float32: what a processor multiplies
_MATRICES = 2
LINEAR = 2**20
"""Bytes of one read when everything is read."""


@dataclass(frozen=True, slots=True)
class NeuronFile:
    """Where neurons lie. Per layer: all up rows, all down columns, and then again each neuron's two together.

    What is read begins and ends on blocks, so rows are padded to them; a bundle only behind its second row.
    """

    n_layers: int
    n_neurons: int
    hidden: int

    def __post_init__(self) -> None:
        for name in ("n_layers", "n_neurons", "hidden"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)}; need 1 or more")

    @property
    def row(self) -> int:
        """Bytes read for one row alone."""
        return -(-self.hidden * _ELEMENT // BLOCK) * BLOCK

    @property
    def bundle(self) -> int:
        """Bytes read for both rows of a neuron together."""
        return -(-_MATRICES * self.hidden * _ELEMENT // BLOCK) * BLOCK

    @property
    def neuron(self) -> int:
        """Bytes of a neuron in memory."""
        return _MATRICES * self.hidden * _ELEMENT

    @property
    def apart(self) -> int:
        """Bytes of a layer whose rows lie apart."""
        return _MATRICES * self.n_neurons * self.row

    @property
    def n_bytes(self) -> int:
        """Bytes of the file."""
        return self.n_layers * (self.apart + self.n_neurons * self.bundle)

    def begin(self, layer: int, bundled: bool) -> int:
        """Where a layer begins, in one form."""
        return layer * (self.n_bytes // self.n_layers) + (self.apart if bundled else 0)

    def pieces(self, seed: int) -> Iterator[memoryview]:
        """The file's contents: random weights that keep the size of what goes through them."""
        random = np.random.default_rng(seed)
        n, d = self.n_neurons, self.hidden
        for _ in range(self.n_layers):
            up, down = (random.standard_normal((n, d), dtype=np.float32) / np.float32(np.sqrt(d)) for _ in range(2))
            for matrix in (up, down):
                yield _padded(matrix, self.row)
            yield _padded(np.concatenate((up, down), axis=1), self.bundle)


def _padded(matrix: NDArray[np.float32], n_bytes: int) -> memoryview:
    more = n_bytes // _ELEMENT - matrix.shape[1]
    return np.ascontiguousarray(np.pad(matrix, ((0, 0), (0, more))) if more else matrix).data


class LayerRows:
    """The neurons of one layer as rows [neurons, 2 hidden], read from the file when they are asked for.

    `read_s`, `cpu_s`, `reads`: seconds by the clock, seconds that the calling thread ran, and reads, all since the
    beginning. What comes lies in `staging` until the next time.
    """

    def __init__(
        self, file: NeuronFile, reader: ParallelReader, layer: int, bundled: bool, staging: NDArray[np.uint8]
    ) -> None:
        self._file, self._reader, self._bundled, self._staging = file, reader, bundled, staging
        self._begin = file.begin(layer, bundled)
        self.read_s, self.cpu_s, self.reads = 0.0, 0.0, 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Neurons, elements of each."""
        return self._file.n_neurons, _MATRICES * self._file.hidden

    @property
    def dtype(self) -> "np.dtype[np.float32]":
        """Type of an element."""
        return np.dtype(np.float32)

    def __getitem__(self, neurons: Ints, /) -> Floats:
        """Read neurons: one read each if they are bundled, else one for each matrix."""
        file, n = self._file, len(neurons)
        if not n:
            return np.empty((0, self.shape[1]), dtype=np.float32)  # pyright: ignore[reportReturnType]
        if self._bundled:
            chunk, offsets = file.bundle, self._begin + neurons * file.bundle
            stride = file.bundle
        else:
            chunk, stride = file.row, _MATRICES * file.row
            matrices = np.arange(_MATRICES) * file.n_neurons * file.row
            offsets = (self._begin + neurons[:, None] * file.row + matrices).ravel()
        self._read(offsets, chunk)
        rows = self._staging[: n * stride].view(np.float32)
        if self._bundled:
            return rows.reshape(n, -1)[:, : _MATRICES * file.hidden]  # pyright: ignore[reportReturnType]
        parts = rows.reshape(n, _MATRICES, -1)[:, :, : file.hidden]
        return parts.reshape(n, -1)  # pyright: ignore[reportReturnType]

    def _read(self, offsets: Ints, chunk: int, places: Ints | None = None) -> None:
        began = time.thread_time()
        self.read_s += self._reader.read(offsets, chunk, self._staging, places)
        self.cpu_s += time.thread_time() - began
        self.reads += len(offsets)

    def everything(self) -> tuple[Floats, Floats]:
        """Both matrices [neurons, hidden], read one after the other in large pieces."""
        file = self._file
        whole = file.apart // LINEAR
        self._read(self._begin + np.arange(whole) * LINEAR, LINEAR)
        if rest := file.apart - whole * LINEAR:
            last = np.array([whole * LINEAR])
            self._read(self._begin + last, rest, last)
        both = self._staging[: file.apart].view(np.float32).reshape(_MATRICES, file.n_neurons, -1)
        return both[0, :, : file.hidden], both[1, :, : file.hidden]  # pyright: ignore[reportReturnType]


def linear_reads(file: NeuronFile) -> int:
    """Reads of a layer that is read as a whole."""
    return -(-file.apart // LINEAR)


def staging(file: NeuronFile, most_neurons: int) -> NDArray[np.uint8]:
    """Room for so many neurons, in either form."""
    return aligned_bytes(max(1, most_neurons) * max(_MATRICES * file.row, file.bundle))
