"""Time of one token of a model that lies in flash, for each way to load it, and the best way under a DRAM limit."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.units import show_bytes
from tierplan.sim.flash import ReadModel, read_bandwidth, read_runs_s
from tierplan.sim.flash_bundle import chunks
from tierplan.sim.flash_overread import expected_over_read
from tierplan.sim.flash_pipeline import overlapped
from tierplan.sim.flash_sparsity import Sparsity
from tierplan.sim.flash_store import ManagementCost
from tierplan.sim.flash_weights import ModelBytes

_WIDEST_GAP = 64


@dataclass(frozen=True, slots=True)
class FlashSetup:
    """A model in flash, and what surrounds it.

    `dram`: bytes for the model. `compute_s`: time of a token's operations with all weights at hand. `ahead`: layers by
    which reads run before compute; 0, they wait for each other, as a predictor that looks at its own
    layer's attention makes them. `predictor`: bytes of all predictors, always resident.
    """

    model: ModelBytes
    read: ReadModel
    dram: int
    sparsity: Sparsity | None = None
    predictor: int = 0
    compute_s: float = 0.0
    management: ManagementCost | None = None
    ahead: int = 0

    def __post_init__(self) -> None:
        if self.dram < 0 or self.predictor < 0:
            raise InvalidInputError(f"DRAM {self.dram} B, predictor {self.predictor} B; need 0 or more")
        if not (math.isfinite(self.compute_s) and self.compute_s >= 0):
            raise InvalidInputError(f"compute time is {self.compute_s} s; need a finite time, 0 or more")
        if self.ahead < 0:
            raise InvalidInputError(f"reads {self.ahead} layers ahead; need 0 or more")


@dataclass(frozen=True, slots=True)
class Loading:
    """One way to load a model: what stays, and how the rest comes.

    `resident`: attention, embeddings and what else fits stay in DRAM; otherwise everything is read for each token.
    `sparse`: only the feed-forward neurons that a predictor names are read, and those of the last `window` tokens,
    the present one included, stay; otherwise feed-forward weights fill the DRAM that is left, and the rest is
    read densely.
    `bundled`: a neuron's rows lie together. `over_read`: near neurons are read together where that is faster.
    """

    threads: int
    resident: bool = True
    sparse: bool = False
    window: int = 0
    bundled: bool = False
    over_read: bool = False

    def __post_init__(self) -> None:
        if self.window < 0:
            raise InvalidInputError(f"a window of {self.window} tokens; need 0 or more")
        if (self.window or self.bundled or self.over_read) and not self.sparse:
            raise InvalidInputError("windows, bundles and over-reading need sparse loading, thus a sparsity")
        if self.sparse and not self.resident:
            raise InvalidInputError("sparse loading needs attention and embeddings to be resident")


@dataclass(frozen=True, slots=True)
class TokenCost:
    """What one way of loading costs for a token.

    `parts` are the bytes in DRAM by what they hold, `dram` their sum, and `short_by` what is missing of the limit.
    `loaded` are wanted bytes read from flash, at `bandwidth` wanted bytes per second.
    """

    loading: Loading
    parts: tuple[tuple[str, int], ...]
    loaded: int
    chunk: int
    io_s: float
    management_s: float
    compute_s: float
    total_s: float
    limit: int

    @property
    def dram(self) -> int:
        """Bytes of DRAM that the model takes."""
        return sum(size for _, size in self.parts)

    @property
    def bandwidth(self) -> float:
        """Wanted bytes per second of reading; 0 if nothing is read."""
        return self.loaded / self.io_s if self.io_s else 0.0

    @property
    def short_by(self) -> int:
        """Bytes by which the DRAM limit is too small; 0 if it fits."""
        return max(0, self.dram - self.limit)


def token_cost(setup: FlashSetup, loading: Loading) -> TokenCost:
    """Time and memory of a token when the model is loaded that way, in the long run.

    Assumes: reads keep all threads busy, across layers too; dense reads are one per matrix and layer.
    Source: Alizadeh et al., LLM in a flash, ACL 2024, sections 3 and 4.
    """
    if loading.sparse:
        return _sparse(setup, loading)
    model = setup.model
    parts: list[tuple[str, int]] = []
    if loading.resident:
        parts = [("attention", model.attention), ("embeddings", model.embedding), ("other", model.other)]
        left = max(0, setup.dram - sum(size for _, size in parts))
        parts.append(("feed-forward kept", min(left, model.feed_forward.total)))
    loaded = model.total - sum(size for _, size in parts)
    n_reads = min(loaded, model.feed_forward.n_layers * model.feed_forward.n_matrices)
    chunk = -(-loaded // n_reads) if n_reads else 0
    return _cost(setup, loading, parts, loaded, chunk, read_runs_s(setup.read, n_reads, loaded, loading.threads), 0.0)


def _sparse(setup: FlashSetup, loading: Loading) -> TokenCost:
    if setup.sparsity is None:
        raise InvalidInputError(f"sparse loading of '{setup.model.name}' needs its sparsity")
    weights, use = setup.model.feed_forward, setup.sparsity.aggregated
    n_neurons = weights.n_layers * weights.n_neurons
    parts = [
        ("predictor", setup.predictor),
        ("attention", setup.model.attention),
        ("embeddings", setup.model.embedding),
        ("other", setup.model.other),
    ]
    if loading.window:
        parts.append(("feed-forward kept", round(use.share(loading.window) * weights.total)))
    else:
        parts.append(("neurons of one layer", round(use.share(1) * weights.total / weights.n_layers)))
    new = use.new(loading.window)
    cut = chunks(weights, loading.bundled)
    loaded = round(new * weights.total)
    if loading.over_read:
        near = [
            expected_over_read(setup.read, n_neurons * cut.per_neuron, new, cut.chunk, loading.threads, gap)
            for gap in range(_WIDEST_GAP)
        ]
        io_s = min(read.time_s for read in near)
    else:
        io_s = loaded / read_bandwidth(setup.read, cut.chunk, loading.threads)
    managed = setup.management if loading.window else None
    management_s = managed.time_s(new * n_neurons, weights.neuron) if managed else 0.0
    return _cost(setup, loading, parts, loaded, cut.chunk, io_s, management_s)


def _cost(
    setup: FlashSetup, loading: Loading, parts: Sequence[tuple[str, int]], loaded: int, chunk: int,
    io_s: float, management_s: float,
) -> TokenCost:  # fmt: skip
    n_layers = setup.model.feed_forward.n_layers
    stages = overlapped([io_s / n_layers] * n_layers, [setup.compute_s / n_layers] * n_layers, setup.ahead)
    return TokenCost(
        loading=loading,
        parts=tuple(part for part in parts if part[1]),
        loaded=loaded,
        chunk=chunk,
        io_s=io_s,
        management_s=management_s,
        compute_s=setup.compute_s,
        total_s=stages.total_s + management_s,
        limit=setup.dram,
    )


@dataclass(frozen=True, slots=True)
class LoadingAnswer:
    """The fastest way that fits, if any, all others beside it from fast to slow, and a sentence that says why."""

    best: TokenCost | None
    alternatives: tuple[TokenCost, ...]
    message: str


def best_loading(
    setup: FlashSetup,
    windows: Sequence[int] = (0, 1, 2, 3, 4, 5, 6, 8, 10, 16),
    bundled: Sequence[bool] = (False, True),
    threads: Sequence[int] = (1, 8, 32),
) -> LoadingAnswer:
    """Try every combination, and dense loading; one value in a list pins that choice."""
    ways = [Loading(n) for n in threads]
    if setup.sparsity is not None:
        for n, window, together, near in itertools.product(threads, windows, bundled, (False, True)):
            ways.append(Loading(n, sparse=True, window=window, bundled=together, over_read=near))
    costs = sorted((token_cost(setup, way) for way in ways), key=lambda cost: (cost.total_s, cost.dram))
    fitting = [cost for cost in costs if not cost.short_by]
    if fitting:
        return LoadingAnswer(fitting[0], tuple(costs), "the fastest way that fits")
    least = min(costs, key=lambda cost: cost.dram)
    parts = ", ".join(f"{name} {show_bytes(size)}" for name, size in least.parts)
    return LoadingAnswer(
        None,
        tuple(costs),
        f"the least DRAM that works is {show_bytes(least.dram)} ({parts}), {show_bytes(least.short_by)} more than "
        f"the limit of {show_bytes(setup.dram)}; raise the limit or store the model in fewer bits",
    )
