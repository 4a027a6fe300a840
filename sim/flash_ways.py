"""The ways to load the feed-forward neurons of a model that lies in flash: which there are, and what each costs."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.units import show_bytes
from tierplan.sim.flash import ReadModel, read_runs_s
from tierplan.sim.flash_cache import run_window
from tierplan.sim.flash_figures import ModelSparsity
from tierplan.sim.flash_overread import expected_blocks
from tierplan.sim.flash_weights import FeedForwardWeights

_WINDOWS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 16, 24)
_PER_READ = (1, 2, 4, 8)
_THREADS = (1, 8)  # and as many as the drive can have in flight
_DENSE_PARTS = 8
_LONGEST = 10**6


class Kind(Enum):
    """What of the feed-forward weights is read for a token."""

    SPARSE = "the neurons that the predictor names and the window lacks"
    RESIDENT = "nothing: all lie in memory, and the predictor saves their streaming"
    DENSE = "all layers that are not kept, in large reads, layer after layer"


@dataclass(frozen=True, slots=True)
class Pins:
    """What the user has decided; None leaves it open. `chunk`: bytes of one read."""

    window: int | None = None
    bundled: bool | None = None
    chunk: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and not 0 <= self.window <= _LONGEST:
            raise InvalidInputError(f"a window of {self.window} tokens; need 0 to {_LONGEST}")
        if self.threads is not None and not 1 <= self.threads <= 4096:
            raise InvalidInputError(f"{self.threads} I/O threads; need 1 to 4096")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to load.

    `tier`: where the neurons lie that stay. `held`: bytes there, `used`: the share of all neurons that a token's
    operations stream from there. Reads bring `per_read` rows, or bundles, at once: `wanted` bytes per token, `moved`
    with what is read along. `rewrite_s` per token goes into keeping the rows that stay without holes.
    """

    name: str
    kind: Kind
    tier: int
    held: int
    used: float
    threads: int
    window: int | None = None
    bundled: bool | None = None
    per_read: int = 1
    chunk: int = 0
    wanted: int = 0
    moved: int = 0
    io_s: float = 0.0
    rewrite_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What all ways share: the weights, how they are used, the drive, and the tiers that may hold neurons, by name."""

    weights: FeedForwardWeights
    sparsity: ModelSparsity
    read: ReadModel
    tiers: tuple[tuple[int, str], ...]


def ways(ground: Ground, pins: Pins) -> tuple[Way, ...]:
    """Every way that the pins leave open and that is worth a look.

    Windows, bundles, chunks and threads change nothing of each other's room, so that of all ways with one window only
    the fastest is kept, and those that differ from it in one respect.

    Raises: InvalidInputError: a window that the trace cannot fill, a chunk that is no whole number of rows.
    """
    check_pins(ground, pins)
    found: list[Way] = []
    for tier, label in _places(ground):
        for window in _windows(ground, pins):
            found += _around_the_best(list(_sparse(ground, pins, tier, label, window)))
        if pins == Pins(threads=pins.threads):
            used = ground.sparsity.sparsity.predicted
            threads = pins.threads or ground.read.queue_depth
            everything = ground.weights.total
            found.append(Way(f"all neurons resident{label}", Kind.RESIDENT, tier, everything, used, threads))
            found += _dense(ground, threads, tier, label)
    return tuple(found)


def check_pins(ground: Ground, pins: Pins) -> None:
    """Refuse a window longer than the trace and a chunk of broken rows."""
    longest = ground.sparsity.longest
    if pins.window is not None and longest is not None and pins.window > longest:
        raise InvalidInputError(
            f"a window of {pins.window} tokens over a trace of {longest + 1} tokens; need 0 to {longest}"
        )
    units = [_unit(ground.weights, bundled) for bundled in _bundled(pins)]
    if pins.chunk is not None and not any(pins.chunk % unit == 0 and pins.chunk > 0 for unit in units):
        words = " or ".join(show_kib(unit) for unit in units)
        raise InvalidInputError(
            f"reads of {show_kib(pins.chunk)} hold no whole neurons; write a multiple of {words}, such as "
            f"'{show_kib(2 * units[-1])}'"
        )


def show_kib(n_bytes: int) -> str:
    """A chunk as drives are measured.

    >>> show_kib(16384), show_kib(36352), show_kib(100)
    ('16 KiB', '35.5 KiB', '100 B')
    """
    return f"{n_bytes / 1024:g} KiB" if n_bytes % 32 == 0 and n_bytes >= 1024 else show_bytes(n_bytes)


def _places(ground: Ground) -> Iterator[tuple[int, str]]:
    """Each tier that may hold neurons, and how names of ways tell it from others."""
    for tier, name in ground.tiers:
        yield tier, f" in {name}" if len(ground.tiers) > 1 else ""


def _windows(ground: Ground, pins: Pins) -> Sequence[int]:
    if pins.window is not None:
        return (pins.window,)
    longest = ground.sparsity.longest
    return [window for window in _WINDOWS if longest is None or window <= longest]


def _bundled(pins: Pins) -> tuple[bool, ...]:
    return (False, True) if pins.bundled is None else (pins.bundled,)


def _unit(weights: FeedForwardWeights, bundled: bool) -> int:
    """The least that a read brings: a row of one matrix, or a neuron's rows of all."""
    return weights.neuron if bundled else weights.row


def _sparse(ground: Ground, pins: Pins, tier: int, label: str, window: int) -> Iterator[Way]:
    """All ways with one window."""
    weights, read = ground.weights, ground.read
    use = ground.sparsity.sparsity.aggregated
    new, held = use.new(window), _held(ground, window)
    used = use.share(max(1, window))
    threads = (
        (pins.threads,) if pins.threads else sorted({*(n for n in _THREADS if n < read.queue_depth), read.queue_depth})
    )
    for bundled, n in itertools.product(_bundled(pins), threads):
        unit = _unit(weights, bundled)
        n_chunks = weights.n_layers * weights.n_neurons * (weights.neuron // unit)
        for per_read in _per_read(pins, unit):
            cost = expected_blocks(read, n_chunks, new, unit, n, per_read)
            chunk = per_read * unit
            layout = "bundled" if bundled else "rows apart"
            count = f"{n} thread{'s' if n > 1 else ''}"
            name = f"window {window}{label}, {layout}, {show_kib(chunk)} reads, {count}"
            yield Way(
                name, Kind.SPARSE, tier, held, used, n, window, bundled, per_read, chunk,
                cost.wanted, cost.moved, cost.time_s,
            )  # fmt: skip


def _per_read(pins: Pins, unit: int) -> tuple[int, ...]:
    """How many rows or neurons one read brings."""
    if pins.chunk is None:
        return _PER_READ
    return (pins.chunk // unit,) if pins.chunk % unit == 0 else ()


def _held(ground: Ground, window: int) -> int:
    """Bytes that must be kept free for neurons: with a trace, what each layer holds at its fullest.

    Without a window, the neurons of one layer lie in memory at a time.
    """
    weights, trace = ground.weights, ground.sparsity.trace
    if trace is not None:
        most = run_window(trace, window).most_held
        return int(most.sum() if window else most.max()) * weights.neuron
    if window:
        return round(ground.sparsity.sparsity.aggregated.share(window) * weights.total)
    return round(ground.sparsity.sparsity.aggregated.share(1) * weights.total / weights.n_layers)


def _around_the_best(candidates: Sequence[Way]) -> list[Way]:
    """The fastest way, and those that differ from it in one respect alone."""
    if not candidates:
        return []
    best = min(candidates, key=lambda way: (way.io_s, way.moved, way.threads))

    def differences(way: Way) -> int:
        return (way.bundled != best.bundled) + (way.threads != best.threads) + (way.per_read != best.per_read)

    return [way for way in candidates if differences(way) <= 1]


def _dense(ground: Ground, threads: int, tier: int, label: str) -> Iterator[Way]:
    """Some layers kept whole, the others read for each token into room for two matrices."""
    weights = ground.weights
    layer = weights.total // weights.n_layers
    buffer = 2 * weights.n_neurons * weights.row
    parts = sorted({weights.n_layers * part // _DENSE_PARTS for part in range(_DENSE_PARTS)})
    for kept in parts:
        moved = weights.total - kept * layer
        n_reads = (weights.n_layers - kept) * weights.n_matrices
        io_s = read_runs_s(ground.read, n_reads, moved, threads)
        name = f"dense{label}, {kept} of {weights.n_layers} layers kept"
        chunk = moved // n_reads
        yield Way(
            name,
            Kind.DENSE,
            tier,
            kept * layer + buffer,
            1.0,
            threads,
            chunk=chunk,
            wanted=moved,
            moved=moved,
            io_s=io_s,
        )
