"""Which experts are asked for: requests to whole models, and routing of tokens in layers; given or drawn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats, Ints
from tierplan.sim.flash_archive import read_arrays
from tierplan.sim.replacement import Accesses


@dataclass(frozen=True, slots=True)
class Demand:
    """How experts are drawn: popularity falls as `rank ** -skew` (0: uniform), and a draw repeats the one
    before with a chance of `stay`.

    Assumes: measured skews differ by model and work, from none to 80 % of the picks on a tenth of the experts: bring
    your own trace, or try several skews.
    """

    skew: float = 0.0
    stay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.skew <= 10:
            raise InvalidInputError(f"skew is {self.skew}; need 0 (uniform) to 10")
        if not 0 <= self.stay <= 1:
            raise InvalidInputError(f"chance to repeat is {self.stay}; need 0 to 1")


def popularity(skew: float, n_experts: int) -> Floats:
    """Shape [n_experts]: chance of each rank, most popular first.

    >>> popularity(1.0, 2).round(3)
    array([0.667, 0.333])
    """
    if n_experts < 1:
        raise InvalidInputError(f"{n_experts} experts; need 1 or more")
    weight = np.arange(1, n_experts + 1, dtype=np.float64) ** -skew
    return weight / weight.sum()


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """The expert, a whole model, that each request is routed to. Shape: `experts` [requests]."""

    experts: Ints
    n_experts: int

    def __post_init__(self) -> None:
        if self.experts.ndim != 1 or len(self.experts) == 0:
            raise InvalidInputError(f"requests of shape {self.experts.shape}; need one expert for each of 1 or more")
        _check_range(self.experts, self.n_experts)

    def accesses(self) -> Accesses:
        """One step per request."""
        return Accesses(self.n_experts, np.arange(len(self.experts) + 1, dtype=np.int64), self.experts)

    def grouped(self, batch: int) -> "Requests":
        """The same requests, those of each batch sorted so that each expert is needed once in a row."""
        parts = [np.sort(self.experts[first : first + batch]) for first in range(0, len(self.experts), batch)]
        return Requests(np.concatenate(parts), self.n_experts)


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """The experts that each token takes in each layer. Shape: `experts` [tokens, layers, top-k], different ones."""

    experts: Ints
    n_experts: int

    def __post_init__(self) -> None:
        if self.experts.ndim != 3 or 0 in self.experts.shape:
            raise InvalidInputError(f"routing of shape {self.experts.shape}; need [tokens, layers, top-k]")
        _check_range(self.experts, self.n_experts)
        if (np.diff(np.sort(self.experts, axis=2), axis=2) == 0).any():
            raise InvalidInputError("a token takes one expert twice in a layer; its top-k must be different experts")

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return self.experts.shape[0]

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.experts.shape[1]

    @property
    def top_k(self) -> int:
        """Experts per token."""
        return self.experts.shape[2]

    def accesses(self, layer: int, parallel: int = 1) -> Accesses:
        """The experts of a layer that each step of `parallel` tokens needs; a last, partly filled step counts."""
        if parallel < 1:
            raise InvalidInputError(f"{parallel} parallel tokens; need 1 or more")
        step = np.repeat(np.arange(self.n_tokens) // parallel, self.top_k)
        pairs = np.unique(step * self.n_experts + self.experts[:, layer, :].ravel())
        n_steps = -(-self.n_tokens // parallel)
        per_step = np.bincount(pairs // self.n_experts, minlength=n_steps)
        start = np.concatenate(([0], np.cumsum(per_step))).astype(np.int64)
        return Accesses(self.n_experts, start, (pairs % self.n_experts).astype(np.int64))


def generate_requests(demand: Demand, n_requests: int, n_experts: int, seed: int = 0) -> Requests:
    """Draw requests; which expert is the most popular is drawn too.

    >>> generate_requests(Demand(stay=1.0), n_requests=3, n_experts=9).accesses().uses.max()
    np.int64(3)
    """
    if n_requests < 1:
        raise InvalidInputError(f"{n_requests} requests; need 1 or more")
    random = np.random.default_rng(seed)
    names = random.permutation(n_experts)
    drawn = names[random.choice(n_experts, size=n_requests, p=popularity(demand.skew, n_experts))]
    return Requests(_repeated(drawn, demand.stay, random), n_experts)


def generate_routing(
    demand: Demand, n_tokens: int, n_layers: int, n_experts: int, top_k: int, seed: int = 0
) -> Routing:
    """Draw routing: each layer has a popularity of its own; a token takes `top_k` experts one after another.

    Source: sampling without replacement by Gumbel noise, Kool et al., Stochastic Beams, ICML 2019.
    """
    if not 1 <= top_k <= n_experts:
        raise InvalidInputError(f"top-{top_k} of {n_experts} experts; need 1 to {n_experts}")
    if n_tokens < 1 or n_layers < 1:
        raise InvalidInputError(f"{n_tokens} tokens, {n_layers} layers; need 1 or more")
    random = np.random.default_rng(seed)
    logarithm = np.log(popularity(demand.skew, n_experts))
    layers: list[Ints] = []
    for _ in range(n_layers):
        score = random.permutation(logarithm) + random.gumbel(size=(n_tokens, n_experts))
        drawn = np.argpartition(-score, top_k - 1, axis=1)[:, :top_k]
        layers.append(_repeated(drawn, demand.stay, random))
    return Routing(np.stack(layers, axis=1), n_experts)


def load_requests(path: Path, n_experts: int) -> Requests:
    """Requests from an `.npz` with whole numbers `requests` [requests].

    Raises: InvalidInputError: no such file, not such a file, or an expert that does not exist.
    """
    return Requests(_load(path, "requests"), n_experts)


def load_routing(path: Path, n_experts: int) -> Routing:
    """Routing from an `.npz` with whole numbers `routing` [tokens, layers, top-k].

    Raises: InvalidInputError: no such file, not such a file, or an expert that does not exist.
    """
    return Routing(_load(path, "routing"), n_experts)


def _load(path: Path, name: str) -> Ints:
    arrays = read_arrays(path)
    if name not in arrays:
        raise InvalidInputError(f"{path}: arrays {sorted(arrays)}; need '{name}'")
    if not np.issubdtype(arrays[name].dtype, np.integer):
        raise InvalidInputError(f"{path}: '{name}' holds {arrays[name].dtype}; need whole numbers")
    return arrays[name].astype(np.int64)


def _check_range(experts: Ints, n_experts: int) -> None:
    if experts.min() < 0 or experts.max() >= n_experts:
        wrong = int(experts.min() if experts.min() < 0 else experts.max())
        raise InvalidInputError(f"expert {wrong} does not exist; there are {n_experts}, numbered from 0")


def _repeated(drawn: Ints, stay: float, random: np.random.Generator) -> Ints:
    """Each draw, or the one before it where it stays."""
    fresh = random.random(len(drawn)) >= stay
    source = np.maximum.accumulate(np.where(fresh, np.arange(len(drawn)), 0))
    return drawn[source].astype(np.int64)
