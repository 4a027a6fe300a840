"""What each way to run a feed-forward part from flash should take on a machine, per token and term."""

import time
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine, Tier
from tierplan.ir.problem import Floats, Ints
from tierplan.run_flash_file import NeuronFile, linear_reads
from tierplan.run_flash_ways import FlashWay
from tierplan.scratch_file import BLOCK
from tierplan.sim.flash import ReadModel, read_runs_s
from tierplan.sim.flash_cache import WindowRun
from tierplan.sim.flash_fit import read_model_of
from tierplan.sim.flash_store import ManagementCost, NeuronStore, fit_management
from tierplan.sim.flash_trace import ActivationTrace, counts

_DTYPE = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class PredictedWay:
    """Seconds of each term; shapes [tokens]."""

    way: FlashWay
    read_s: Floats
    manage_s: Floats
    compute_s: Floats


@dataclass(frozen=True, slots=True)
class FlashMachine:
    """What of a machine counts here: how its flash reads, its main memory, its rate, and what keeping a cache costs."""

    read: ReadModel
    memory: Tier
    rate: float
    management: ManagementCost
    threads: int


def flash_machine(machine: Machine, threads: int | None, management: ManagementCost) -> FlashMachine:
    """The first tier that operations cannot use, and the one above it.

    Raises: InvalidInputError: a machine without such a tier.
    """
    flash = next((k for k, tier in enumerate(machine.tiers) if not tier.direct), None)
    if not flash:
        raise InvalidInputError(
            f"'{machine.name}' has no tier like flash below one like memory; 'tierplan calibrate -o FILE' writes this "
            "machine with its disk"
        )
    if threads is not None and threads < 1:
        raise InvalidInputError(f"{threads} reading threads; need 1 or more")
    tier = machine.tiers[flash]
    read = read_model_of(tier, BLOCK)
    return FlashMachine(
        read, machine.tiers[flash - 1], machine.matrix.rate(_DTYPE), management, threads or tier.queue_depth
    )


def predict(
    way: FlashWay, machine: FlashMachine, file: NeuronFile, trace: ActivationTrace, window: WindowRun
) -> PredictedWay:
    """Seconds per token, from how many neurons the trace names and the window keeps.

    Assumes: one layer's reads end before the next one's begin. Operations stream the live rows once from memory, at
    its bandwidth or at the rate of operations, whichever takes longer.
    """
    named = counts(trace.words)
    every = np.full_like(named, file.n_neurons)
    loaded = window.loaded if way in (FlashWay.WINDOW, FlashWay.BUNDLED) else named
    live = {FlashWay.NAIVE: every, FlashWay.SPARSE: named}.get(way, window.held)
    kept = way in (FlashWay.WINDOW, FlashWay.BUNDLED)
    reads = np.array([[_layer_s(way, machine, file, int(n)) for n in of_token] for of_token in loaded])
    managed = [sum(machine.management.time_s(int(n), file.neuron) for n in of_token) for of_token in loaded]
    manage_s = np.array(managed) if kept else np.zeros(len(named))
    per_row = max(file.neuron / machine.memory.read_bandwidth, 4 * file.hidden / machine.rate)
    return PredictedWay(way, reads.sum(axis=1), manage_s, live.sum(axis=1) * per_row)


def _layer_s(way: FlashWay, machine: FlashMachine, file: NeuronFile, n_loaded: int) -> float:
    """Seconds of one layer's reads."""
    if way is FlashWay.NAIVE:
        return read_runs_s(machine.read, linear_reads(file), file.apart, machine.threads)
    n_reads, chunk = (n_loaded, file.bundle) if way is FlashWay.BUNDLED else (2 * n_loaded, file.row)
    return read_runs_s(machine.read, n_reads, n_reads * chunk, machine.threads)


def rehearsed(trace: ActivationTrace, window: WindowRun, hidden: int) -> ManagementCost:
    """What keeping the cache costs on this machine, from runs in memory with rows of an eighth and half the width.

    The first layer of the trace, without a file: where both take equally long, the time goes into finding rows.
    """
    run, active = window.loaded[:, 0], trace.active(0)
    points: list[tuple[float, int, float]] = []
    for width in (max(1, hidden // 4), max(2, hidden)):
        flash = np.ones((trace.n_neurons, width), dtype=np.float32)
        store = NeuronStore(flash, np.zeros(trace.n_neurons, np.float32), int(window.most_held[0]), window.window)  # pyright: ignore[reportArgumentType]
        store.matrix.fill(0)
        seconds = np.zeros(trace.n_tokens)
        for token in range(trace.n_tokens):
            now: Ints = np.flatnonzero(active[token])
            began = time.perf_counter()
            store.advance(now)
            seconds[token] = time.perf_counter() - began
        warm = slice(window.window, None)
        points.append((float(np.median(run[warm])), 4 * width, float(np.median(seconds[warm]))))
    (n, small, first), (_, large, second) = points
    if second <= first or n <= 0:
        return ManagementCost(min(first, second) / max(1.0, 2 * n), 1e15)
    return fit_management((n, small, first), (n, large, second))
