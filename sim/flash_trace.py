"""Traces of neuron activations: which neuron was active for which token, one bit each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Bools, Ints
from tierplan.sim.flash_archive import read_arrays
from tierplan.sim.flash_sparsity import AggregatedUse, Sparsity
from tierplan.sim.flash_weights import FeedForwardWeights
from tierplan.sim.replacement import Accesses

Words: TypeAlias = NDArray[np.uint64]

_WORD = 64


@dataclass(frozen=True, slots=True, eq=False)
class ActivationTrace:
    """Which neurons each token activated (or a predictor named) in each layer.

    Shapes: `words` [tokens, layers, ceil(neurons / 64)]; bit j of word i is neuron 64 i + j, the lowest bit first.
    """

    words: Words
    n_neurons: int

    def __post_init__(self) -> None:
        if self.words.ndim != 3 or 0 in self.words.shape:
            raise InvalidInputError(f"activation trace of shape {self.words.shape}; need [tokens, layers, words]")
        if self.words.shape[2] != -(-self.n_neurons // _WORD):
            raise InvalidInputError(
                f"activation trace has {self.words.shape[2]} words per layer; {self.n_neurons} neurons take "
                f"{-(-self.n_neurons // _WORD)}"
            )
        spare = self.words.shape[2] * _WORD - self.n_neurons
        if spare and (self.words[:, :, -1] >> np.uint64(_WORD - spare)).any():
            raise InvalidInputError(f"activation trace has bits set beyond its {self.n_neurons} neurons")

    @classmethod
    def of(cls, active: Bools) -> "ActivationTrace":
        """From booleans of shape [tokens, layers, neurons].

        >>> trace = ActivationTrace.of(np.eye(3, dtype=bool)[:, None, :])
        >>> trace.n_tokens, trace.n_layers, trace.n_neurons, trace.active_share
        (3, 1, 3, 0.3333333333333333)
        """
        if active.ndim != 3 or active.dtype != np.bool_:
            raise InvalidInputError(
                f"activations of shape {active.shape} and type {active.dtype}; need booleans [tokens, layers, neurons]"
            )
        return _from_bytes(np.packbits(active, axis=2, bitorder="little"), active.shape[2])

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return self.words.shape[0]

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.words.shape[1]

    @property
    def active_share(self) -> float:
        """Share of the neurons that is active for a token, on average."""
        return float(counts(self.words).mean()) / self.n_neurons

    def active(self, layer: int) -> Bools:
        """Shape [tokens, neurons]: which neurons of one layer were active."""
        packed = np.ascontiguousarray(self.words[:, layer, :]).view(np.uint8)
        return np.unpackbits(packed, axis=1, count=self.n_neurons, bitorder="little").view(np.bool_)

    def accesses(self, layer: int) -> Accesses:
        """The neurons of one layer that each token needs, as accesses of a cache."""
        tokens, neurons = np.nonzero(self.active(layer))
        per_token = np.bincount(tokens, minlength=self.n_tokens)
        start = np.concatenate(([0], np.cumsum(per_token))).astype(np.int64)
        return Accesses(self.n_neurons, start, neurons.astype(np.int64))


def counts(words: Words) -> Ints:
    """Bits set in each row of words (the last axis)."""
    return np.bitwise_count(words).sum(axis=-1, dtype=np.int64)


def aggregated_use(trace: ActivationTrace, longest: int) -> AggregatedUse:
    """s(k) for k = 1 to `longest`, measured: the mean over layers and over all tokens that have a full past.

    Raises: InvalidInputError: the trace is shorter than `longest`.
    """
    check_window(trace, longest)
    if longest < 1:
        raise InvalidInputError("aggregated use of 0 tokens; need 1 or more")
    last = trace.words[longest - 1 :]
    together = last.copy()
    shares = [float(counts(together).mean()) / trace.n_neurons]
    for back in range(1, longest):
        together |= trace.words[longest - 1 - back : trace.n_tokens - back]
        shares.append(float(counts(together).mean()) / trace.n_neurons)
    return AggregatedUse.of(shares)


def measured_sparsity(trace: ActivationTrace, longest: int) -> Sparsity:
    """The sparsity of a trace, over-prediction 1: what it holds is taken as what must be loaded."""
    return Sparsity(trace.active_share, 1.0, aggregated_use(trace, longest))


def check_window(trace: ActivationTrace, window: int) -> None:
    """Refuse a window that the trace cannot fill."""
    if not 0 <= window <= trace.n_tokens:
        raise InvalidInputError(f"a window of {window} tokens over a trace of {trace.n_tokens}; need 0 to that many")


def check_model(trace: ActivationTrace, weights: FeedForwardWeights) -> None:
    """Refuse a trace of another model."""
    if (trace.n_layers, trace.n_neurons) != (weights.n_layers, weights.n_neurons):
        raise InvalidInputError(
            f"the trace has {trace.n_layers} layers of {trace.n_neurons} neurons, the model {weights.n_layers} of "
            f"{weights.n_neurons}; record a trace of this model"
        )


def save_trace(trace: ActivationTrace, path: Path) -> None:
    """Write a trace as `.npz`: `packed` [tokens, layers, bytes], lowest bit first, and `n_neurons`."""
    n_bytes = -(-trace.n_neurons // 8)
    packed = trace.words.view(np.uint8)[:, :, :n_bytes]
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, packed=packed, n_neurons=np.int64(trace.n_neurons))
    partial.replace(path)


def load_trace(path: Path) -> ActivationTrace:
    """Read a trace: `packed` and `n_neurons` as `save_trace` writes them, or booleans `active`.

    Raises: InvalidInputError: no such file, not such a file, or arrays of the wrong names, types or shapes.
    """
    arrays = read_arrays(path)
    try:
        return _from_arrays(arrays)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def _from_arrays(arrays: dict[str, NDArray[np.generic]]) -> ActivationTrace:
    if "active" in arrays:
        return ActivationTrace.of(np.asarray(arrays["active"]))  # pyright: ignore[reportArgumentType]
    if "packed" not in arrays or "n_neurons" not in arrays:
        raise InvalidInputError(f"arrays {sorted(arrays)}; need 'active', or 'packed' and 'n_neurons'")
    packed, count = arrays["packed"], arrays["n_neurons"]
    if packed.dtype != np.uint8 or packed.ndim != 3:
        raise InvalidInputError(
            f"'packed' is {packed.dtype} of shape {packed.shape}; need uint8 [tokens, layers, bytes]"
        )
    if count.shape != () or not np.issubdtype(count.dtype, np.integer):
        raise InvalidInputError("'n_neurons' must be one whole number")
    return _from_bytes(packed.astype(np.uint8), int(count.astype(np.int64)))


def _from_bytes(packed: NDArray[np.uint8], n_neurons: int) -> ActivationTrace:
    """A trace from bytes; pads each row to whole words."""
    if packed.shape[2] != -(-n_neurons // 8) or n_neurons < 1:
        raise InvalidInputError(f"{packed.shape[2]} bytes per layer do not hold {n_neurons} neurons")
    padded = np.zeros((*packed.shape[:2], -(-n_neurons // _WORD) * 8), dtype=np.uint8)
    padded[:, :, : packed.shape[2]] = packed
    return ActivationTrace(padded.view("<u8").astype(np.uint64, copy=False), n_neurons)
