"""What each way to run a feed-forward part from flash should take on a machine, per token, layer and term."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Burst, RowCost
from tierplan.ir.machine import Machine, Tier
from tierplan.ir.problem import Floats, Ints
from tierplan.measure_rows import product_cost, store_cost
from tierplan.run_flash_file import LINEAR, NeuronFile, linear_reads
from tierplan.run_flash_ways import FlashWay
from tierplan.scratch_file import BLOCK, ScratchFile
from tierplan.sim.flash import ReadModel, read_runs_s
from tierplan.sim.flash_bursts import burst_s
from tierplan.sim.flash_cache import WindowRun
from tierplan.sim.flash_fit import read_model_of
from tierplan.sim.flash_trace import ActivationTrace, counts

_COLD = 32 * 2**20  # bytes of rows, where their costs are measured in passing


@dataclass(frozen=True, slots=True, eq=False)
class PredictedWay:
    """Seconds of each term; shapes [tokens, layers]."""

    way: FlashWay
    read_s: Floats
    manage_s: Floats
    compute_s: Floats


@dataclass(frozen=True, slots=True)
class FlashMachine:
    """What of a machine counts here: how its flash reads, and what one thread needs to keep rows and to multiply them.

    Reads are predicted from `bursts`, or where there are none from `read`.
    """

    read: ReadModel
    bursts: tuple[Burst, ...]
    product: RowCost
    store: RowCost
    threads: int
    measured_now: bool = False


def check_flash(machine: Machine, threads: int | None) -> Tier:
    """The first tier that operations cannot use.

    Raises: InvalidInputError: a machine without such a tier, or no thread to read it.
    """
    flash = next((k for k, tier in enumerate(machine.tiers) if not tier.direct), None)
    if not flash:
        raise InvalidInputError(
            f"'{machine.name}' has no tier like flash below one like memory; 'tierplan calibrate -o FILE' writes this "
            "machine with its disk"
        )
    if threads is not None and threads < 1:
        raise InvalidInputError(f"{threads} reading threads; need 1 or more")
    return machine.tiers[flash]


def flash_machine(machine: Machine, threads: int | None, scratch: ScratchFile) -> FlashMachine:
    """How the machine's flash reads, and its execution; what the machine lacks of that is measured now, briefly."""
    tier = check_flash(machine, threads)
    read, n = read_model_of(tier, BLOCK), threads or tier.queue_depth
    if (found := machine.execution) is not None:
        return FlashMachine(read, found.bursts, found.product, found.store, n)
    return FlashMachine(read, (), product_cost(1, _COLD), store_cost(scratch, n, 1), n, measured_now=True)


def predict(
    way: FlashWay, machine: FlashMachine, file: NeuronFile, trace: ActivationTrace, window: WindowRun
) -> PredictedWay:
    """Seconds per token and layer, from how many neurons the trace names and the window keeps.

    Assumes: one layer's reads end before the next one's begin; one thread keeps and multiplies rows, none of which
    a cache still holds from the token before.
    """
    named = counts(trace.words)
    every = np.full_like(named, file.n_neurons)
    kept = way in (FlashWay.WINDOW, FlashWay.BUNDLED)
    loaded = window.loaded if kept else named
    live = {FlashWay.NAIVE: every, FlashWay.SPARSE: named}.get(way, window.held)
    return PredictedWay(
        way,
        _each(loaded, lambda n: _layer_s(way, machine, file, n)),
        _each(loaded, lambda n: machine.store.time_s(n, file.neuron)) if kept else np.zeros(named.shape),
        _each(live, lambda n: machine.product.time_s(n, file.neuron)),
    )


def _each(of: Ints, seconds: Callable[[int], float]) -> Floats:
    return np.array([[seconds(int(n)) for n in row] for row in of], dtype=np.float64)


def _layer_s(way: FlashWay, machine: FlashMachine, file: NeuronFile, n_loaded: int) -> float:
    """Seconds of one layer's reads."""
    if way is FlashWay.NAIVE:
        n_reads, chunk, moved = linear_reads(file), min(LINEAR, file.apart), file.apart
    else:
        n_reads, chunk = (n_loaded, file.bundle) if way is FlashWay.BUNDLED else (2 * n_loaded, file.row)
        moved = n_reads * chunk
    if machine.bursts:
        return burst_s(machine.bursts, n_reads, chunk, machine.threads)
    return read_runs_s(machine.read, n_reads, moved, machine.threads)
