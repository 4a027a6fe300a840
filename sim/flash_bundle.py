"""Bundles: what is stored together, so that one read brings more; by neuron, and with the neuron's closest friend."""

from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats, Ints
from tierplan.sim.flash import ReadModel, read_s
from tierplan.sim.flash_cache import past_tokens
from tierplan.sim.flash_trace import ActivationTrace
from tierplan.sim.flash_weights import FeedForwardWeights

_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Chunks:
    """How a neuron is read: `per_neuron` reads of `chunk` bytes."""

    per_neuron: int
    chunk: int


def chunks(weights: FeedForwardWeights, bundled: bool) -> Chunks:
    """Row-column bundling stores a neuron's rows of all matrices together: one read instead of one per matrix.

    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 3.2 (bundling columns and rows).

    >>> opt = FeedForwardWeights(n_layers=32, n_neurons=16384, hidden=4096)
    >>> chunks(opt, bundled=False), chunks(opt, bundled=True)
    (Chunks(per_neuron=2, chunk=8192), Chunks(per_neuron=1, chunk=16384))
    """
    if bundled:
        return Chunks(1, weights.neuron)
    return Chunks(weights.n_matrices, weights.row)


@dataclass(frozen=True, slots=True)
class FriendRun:
    """What bundling each neuron with its closest friend reads in one layer, over a trace.

    `wanted` neurons were new; `reads` bundles of two neurons brought `fresh` neurons that did not lie in memory
    and had not come with an earlier bundle of the same token. The rest came for nothing.
    """

    reads: int
    wanted: int
    fresh: int

    @property
    def brought(self) -> int:
        """Neurons read, each as often as it was read."""
        return 2 * self.reads

    @property
    def duplicates(self) -> int:
        """Neurons read although they lay in memory or had just come."""
        return self.brought - self.fresh

    @property
    def unwanted(self) -> int:
        """Neurons that came for the first time and were not asked for."""
        return self.fresh - self.wanted


def coactivation(trace: ActivationTrace, layer: int) -> tuple[Ints, Floats]:
    """Shapes [neurons], [neurons]: each neuron's closest friend, and how often it is active when the neuron is.

    A neuron that is never active is its own friend. Of several equally close ones the first counts.
    """
    active = trace.active(layer)
    neurons = np.flatnonzero(active.any(axis=0))
    friend = np.arange(trace.n_neurons, dtype=np.int64)
    share = np.zeros(trace.n_neurons)
    used = active[:, neurons].astype(np.float32)
    if len(neurons) < 2:
        return friend, share
    for first in range(0, len(neurons), _BLOCK):
        block = np.arange(first, min(first + _BLOCK, len(neurons)))
        together = used[:, block].T @ used
        together[np.arange(len(block)), block] = -1
        best = together.argmax(axis=1)
        friend[neurons[block]] = neurons[best]
        share[neurons[block]] = together[np.arange(len(block)), best] / used[:, block].sum(axis=0)
    return friend, share


def run_friends(trace: ActivationTrace, layer: int, window: int, friend: Ints) -> FriendRun:
    """Read the new neurons of each token in bundles of a neuron and its friend.

    Assumes: a bundle is read for each new neuron that no earlier bundle of the token brought; a friend that
    nobody asked for is not kept.
    Source: Alizadeh et al., LLM in a flash, ACL 2024, appendix (bundling based on co-activation).
    """
    from tierplan.sim import _kernels

    if friend.shape != (trace.n_neurons,) or friend.min() < 0 or friend.max() >= trace.n_neurons:
        raise InvalidInputError(
            f"closest friends of shape {friend.shape}; need one neuron for each of {trace.n_neurons}"
        )
    active, held = trace.active(layer), past_tokens(trace, window).active(layer)
    brought = np.full(trace.n_neurons, -1, dtype=np.int64)
    reads = wanted = fresh = 0
    for token in range(trace.n_tokens):
        brought[held[token]] = token
        new = np.flatnonzero(active[token] & ~held[token])
        more, came = _kernels.bundle_reads(new, friend, brought, token)
        reads, wanted, fresh = reads + more, wanted + len(new), fresh + came
    return FriendRun(reads, wanted, fresh)


def friends_s(model: ReadModel, weights: FeedForwardWeights, run: FriendRun, threads: int) -> tuple[float, float]:
    """Seconds of the trace's reads with friends bundled, and with each neuron a bundle of its own.

    Assumes: the reads of all tokens follow each other without a pause.
    """
    with_friends = read_s(model, run.reads, 2 * weights.neuron, threads)
    return with_friends, read_s(model, run.wanted, weights.neuron, threads)
