"""How feed-forward neurons are loaded from flash, as a choice of the placement problem."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import NO_LINK, Alternative, Choice, Effect, Floats, Ints, Problem
from tierplan.sim.aside import without
from tierplan.sim.flash import ReadModel
from tierplan.sim.flash_figures import ModelSparsity
from tierplan.sim.flash_trace import check_model
from tierplan.sim.flash_ways import Ground, Kind, Pins, Way, ways
from tierplan.sim.flash_weights import FeedForwardWeights

CHOICE = "feed-forward neurons"


@dataclass(frozen=True, slots=True)
class SparseLayer:
    """One layer: what the names of its steps begin with, its feed-forward matrices by name, and its neurons."""

    prefix: str
    matrices: tuple[str, ...]
    n_neurons: int


@dataclass(frozen=True, slots=True)
class FlashChoice:
    """The problem with the choice in it; `ways[i]` is its alternative i. `predictor`: bytes, of all layers."""

    problem: Problem
    ways: tuple[Way, ...]
    predictor: int

    @property
    def least(self) -> Way:
        """The way that keeps the fewest bytes in memory."""
        return min(self.ways, key=lambda way: way.held)


def with_choice(
    problem: Problem,
    layers: Sequence[SparseLayer],
    sparsity: ModelSparsity,
    read: ReadModel,
    flash: int,
    pins: Pins,
    machine: str,
) -> FlashChoice:
    """Take the feed-forward matrices out of the problem and put the ways to load them in, one of which is taken.

    Matrices lie in tier `flash`; neurons that stay, in a tier that operations can use. Each alternative reserves room
    for both and for the predictor, and adds to steps what it computes, streams and reads:
    - reads of a layer take place while its first matrix is applied to what lies in memory already; `ahead` layers
      early, beside all steps of a layer; dense reads, whose order is known, beside all steps of a token.
    - small reads take longer than their bytes: they occupy the first link on the way as long as they last, so that
      nothing else is copied from flash meanwhile, and the bytes that they move count for the tier.
    - the last matrix of a layer waits until the rows of its cache are rewritten.

    Assumes: one new token at a time; biases stay in memory; all layers are used alike.
    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 3.

    Raises: InvalidInputError: a trace of another model, or pins that mean nothing for this one.
    """
    frame = _Frame(problem, layers, sparsity, flash, machine)
    open_ways = ways(Ground(frame.weights, sparsity, read, frame.tiers), pins)
    found = tuple(replace(way, rewrite_s=frame.rewrite_s(way)) for way in open_ways)
    alternatives = tuple(Alternative(way.name, frame.reserved(way), frame.effects(way)) for way in found)
    note = "the energy of feed-forward operations is not counted: it depends on what is loaded"
    base = frame.base if np.isnan(problem.compute_j).all() else replace(frame.base, notes=(*frame.base.notes, note))
    return FlashChoice(replace(base, choices=(*base.choices, Choice(CHOICE, alternatives))), found, frame.predictor)


class _Frame:
    """What the alternatives have in common: the problem without feed-forward matrices, and where they were used."""

    def __init__(
        self, problem: Problem, layers: Sequence[SparseLayer], sparsity: ModelSparsity, flash: int, machine: str
    ) -> None:
        index = {name: x for x, name in enumerate(problem.tensor_names)}
        matrices = np.array([[index[name] for name in layer.matrices] for layer in layers])
        self.problem, self.sparsity, self.flash, self.n_layers = problem, sparsity, flash, len(layers)
        self.weights = _weights(problem, layers, matrices)
        if sparsity.trace is not None:
            check_model(sparsity.trace, self.weights)
        step_of = np.zeros(problem.n_tensors, dtype=np.int64)
        step_of[problem.access_tensor] = problem.access_step
        self.steps: Ints = step_of[matrices]  # [layers, matrices]
        self.bytes: Ints = problem.size[matrices]
        self.compute_s: Floats = problem.compute_s[self.steps]
        self.base = _without(problem, matrices.ravel(), self.steps.ravel())
        weight = np.array([kind == "weight" for kind in problem.tensor_kind])
        self.predictor = round(sparsity.predictor * int(problem.size[weight].sum()))
        self.routes = _routes(problem, flash)
        direct = np.flatnonzero(problem.tiers.direct).tolist()
        self.tiers = tuple((k, problem.tiers.names[k]) for k in direct if k in self.routes)
        if not self.tiers:
            raise InvalidInputError(f"no link leads from '{problem.tiers.names[flash]}' to a tier for neurons")
        self.own_s = _own_s(self.base)
        self.of_layer = [self._beside(layer) for layer in layers]
        measured = sparsity.rewriting
        self.rewriting = measured.cost if measured is not None and measured.hardware == machine else None

    def _beside(self, layer: SparseLayer) -> Ints:
        """The steps of a layer."""
        names = self.problem.step_names
        return np.array([t for t, name in enumerate(names) if name.startswith(f"{layer.prefix}.")], dtype=np.int64)

    def reserved(self, way: Way) -> tuple[int, ...]:
        """Bytes per tier: the matrices in flash, and what stays in memory with the predictor."""
        n_bytes = [0] * self.problem.n_tiers
        n_bytes[self.flash] += self.weights.total
        n_bytes[way.tier] += way.held + (0 if way.kind is Kind.DENSE else self.predictor)
        return tuple(n_bytes)

    def effects(self, way: Way) -> tuple[Effect, ...]:
        """What a way adds to each step."""
        loads = _Loads(self.problem)
        for matrix in range(self.steps.shape[1]):
            loads.compute_s[self.steps[:, matrix]] += way.used * self.compute_s[:, matrix]
            loads.stream(way.tier, self.steps[:, matrix], np.rint(way.used * self.bytes[:, matrix]))
        if way.kind is not Kind.DENSE:
            self._predict(loads, way)
        if way.moved:
            self._read(loads, way)
        if way.kind is Kind.SPARSE and way.window:
            self._rewrite(loads, way)
        return loads.effects()

    def _predict(self, loads: "_Loads", way: Way) -> None:
        """The predictor is a matrix too: it takes as long per byte as the first of the layer."""
        of_layer = self.predictor / self.n_layers
        loads.compute_s[self.steps[:, 0]] += self.compute_s[:, 0] * of_layer / self.bytes[:, 0]
        loads.stream(way.tier, self.steps[:, 0], np.full(self.n_layers, round(of_layer)))

    def _read(self, loads: "_Loads", way: Way) -> None:
        """What is read per token, in the steps beside which it is read."""
        share = np.zeros(self.problem.n_steps)
        if way.kind is Kind.DENSE:
            share += _in_proportion(self.own_s + loads.compute_s)
        elif self.sparsity.ahead:
            for steps in self.of_layer:
                share[steps] += _in_proportion((self.own_s + loads.compute_s)[steps]) / self.n_layers
        else:
            share[self.steps[:, 0]] += 1 / self.n_layers
        loads.arrive(self.routes[way.tier], way.moved * share, way.io_s * share)

    def rewrite_s(self, way: Way) -> float:
        """Seconds per token for which rows of the cache are rewritten: as measured, or as its tier reads and writes."""
        if way.kind is not Kind.SPARSE or not way.window:
            return 0.0
        if self.rewriting is not None:
            return self.rewriting.time_s(way.wanted / self.weights.neuron, self.weights.neuron)
        tiers = self.problem.tiers
        return way.wanted / float(min(tiers.read_bandwidth[way.tier], tiers.write_bandwidth[way.tier]))

    def _rewrite(self, loads: "_Loads", way: Way) -> None:
        """Rows that leave are filled by others: as many bytes are read and written as come."""
        last = self.steps[:, -1]
        if self.rewriting is None:
            moved = np.full(self.n_layers, round(way.wanted / self.n_layers))
            loads.stream(way.tier, last, moved)
            loads.write[way.tier, last] += moved
            return
        streamed_s = loads.read[way.tier, last] / self.problem.tiers.read_bandwidth[way.tier]
        loads.compute_s[last] = np.maximum(loads.compute_s[last], streamed_s) + way.rewrite_s / self.n_layers


class _Loads:
    """What one alternative adds. Shapes: seconds [S], bytes [K, S] and [L, S]."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.compute_s = np.zeros(problem.n_steps)
        self.read = np.zeros((problem.n_tiers, problem.n_steps))
        self.write = np.zeros((problem.n_tiers, problem.n_steps))
        self.link = np.zeros((len(problem.links.names), problem.n_steps))

    def stream(self, tier: int, steps: Ints, n_bytes: Ints | Floats) -> None:
        """Operations read from a tier, over its link if it lies behind one."""
        self.read[tier, steps] += n_bytes
        link = int(self.problem.tiers.read_link[tier])
        if link != NO_LINK:
            self.link[link, steps] += n_bytes

    def arrive(self, route: Sequence[int], n_bytes: Floats, seconds: Floats) -> None:
        """Bytes come over a route of tiers, over its first link in `seconds` or as long as they take."""
        links = self.problem.links
        for hop, (source, target) in enumerate(itertools.pairwise(route)):
            link = links.between(source, target)
            self.read[source] += n_bytes
            self.write[target] += n_bytes
            self.link[link] += n_bytes if hop else np.maximum(n_bytes, seconds * links.bandwidth[link])

    def effects(self) -> tuple[Effect, ...]:
        """One effect per step that anything is added to."""
        read, write, link = (np.rint(loads).astype(np.int64) for loads in (self.read, self.write, self.link))
        touched = (self.compute_s != 0) | (read != 0).any(axis=0) | (write != 0).any(axis=0) | (link != 0).any(axis=0)

        def row(loads: Ints, t: int) -> tuple[int, ...]:
            column = loads[:, t]
            return tuple(column.tolist()) if column.any() else ()

        return tuple(
            Effect(t, float(self.compute_s[t]), row(read, t), row(write, t), row(link, t))
            for t in np.flatnonzero(touched).tolist()
        )


def _in_proportion(seconds: Floats) -> Floats:
    """Shares that add up to 1, as long as each step; equal if none takes time."""
    total = float(seconds.sum())
    return seconds / total if total > 0 else np.full(len(seconds), 1 / len(seconds))


def _weights(problem: Problem, layers: Sequence[SparseLayer], matrices: Ints) -> FeedForwardWeights:
    """The feed-forward matrices as they lie in the problem, in its element type."""
    sizes = problem.size[matrices]
    n_neurons = layers[0].n_neurons
    row, rest = divmod(int(sizes[0, 0]), n_neurons)
    if rest or (sizes != sizes[0, 0]).any() or any(layer.n_neurons != n_neurons for layer in layers):
        raise InvalidInputError("the feed-forward matrices of this model are not all alike; neurons have no one size")
    return FeedForwardWeights(len(layers), n_neurons, row, matrices.shape[1], element_bits=8)


def _without(problem: Problem, tensors: Ints, steps: Ints) -> Problem:
    """The problem without some tensors, and without the compute of the steps that used them."""
    compute_s, compute_j = problem.compute_s.copy(), problem.compute_j.copy()
    compute_s[steps], compute_j[steps] = 0.0, np.nan
    return replace(without(problem, tensors.tolist()), compute_s=compute_s, compute_j=compute_j)


def _own_s(problem: Problem) -> Floats:
    """Shape [S]: about how long steps take, from the fastest tier that they can use."""
    fastest = int(np.flatnonzero(problem.tiers.direct)[0])
    rate = float(problem.tiers.read_bandwidth[fastest])
    streamed = np.bincount(problem.access_step, problem.access_read + problem.access_write, minlength=problem.n_steps)
    return np.maximum(problem.compute_s, streamed / rate)


def _routes(problem: Problem, flash: int) -> dict[int, tuple[int, ...]]:
    """The shortest way over links from flash to each tier that it reaches."""
    routes: dict[int, tuple[int, ...]] = {flash: (flash,)}
    waiting = [flash]
    while waiting:
        source = waiting.pop(0)
        for target in range(problem.n_tiers):
            if target not in routes and problem.links.between(source, target) != NO_LINK:
                routes[target] = (*routes[source], target)
                waiting.append(target)
    return routes
