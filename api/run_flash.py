"""Execute the sparse feed-forward part of a decode from flash, and set what it took beside what was predicted."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.frontend.config import read_config
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Burst
from tierplan.ir.machine import Machine
from tierplan.ir.problem import Floats
from tierplan.ir.units import show_bytes
from tierplan.machine_state import Usage, Watch
from tierplan.measure_bursts import UNDISTURBED, bursts_of
from tierplan.model_bytes import bytes_of
from tierplan.models import load, names
from tierplan.run_flash_file import LINEAR, NeuronFile, staging
from tierplan.run_flash_predict import PredictedWay, check_flash, flash_machine, predict
from tierplan.run_flash_ways import FlashWay, MeasuredWay, run_way
from tierplan.scratch_file import ScratchFile, check_space, scratch_file
from tierplan.sim.flash_cache import WindowRun, run_window
from tierplan.sim.flash_trace import ActivationTrace
from tierplan.sim.flash_weights import FeedForwardWeights

_SYNTHETIC = re.compile(r"synthetic(?::(\d+)x(\d+)x(\d+))?")
_DEFAULT = (4, 8192, 2048)
_LONGEST = 8
_ROUNDS = 10  # of the bursts that are measured again before each way
_WARM = 1  # tokens at the beginning that count for nothing, beside those that fill the window


def neuron_file(model: str, layers: int | None) -> NeuronFile:
    """The feed-forward part of a language model, or `synthetic:LAYERSxNEURONSxHIDDEN`, of so many layers.

    Raises: InvalidInputError: no such model, one with a gate or with experts, or fewer layers than are asked for.
    """
    if match := _SYNTHETIC.fullmatch(model):
        shape = tuple(int(n) for n in match.groups()) if match.group(1) else _DEFAULT
        weights = FeedForwardWeights(*shape)
    else:
        weights = bytes_of(read_config(_config(model), model)).feed_forward
    if weights.n_matrices != 2:
        raise InvalidInputError(
            f"'{model}' has a gate beside its two feed-forward matrices, so that no neuron is idle; name a model with "
            "ReLU, like opt-6.7b, or synthetic:LAYERSxNEURONSxHIDDEN"
        )
    if layers is not None and not 1 <= layers <= weights.n_layers:
        raise InvalidInputError(f"--layers {layers}: '{model}' has {weights.n_layers}")
    return NeuronFile(layers or weights.n_layers, weights.n_neurons, weights.hidden)


def _config(model: str) -> str:
    if model in names():
        return load(model)
    if Path(model).suffix == ".json" and os.path.isfile(model):
        return Path(model).read_text(encoding="utf-8")
    raise InvalidInputError(
        f"no model '{model}': name a built-in one (see 'tierplan models'), a config.json, or "
        "synthetic:LAYERSxNEURONSxHIDDEN, like synthetic:4x8192x2048"
    )


def longest_window(trace: ActivationTrace, file: NeuronFile, dram: int, pinned: int | None) -> WindowRun:
    """The longest window whose neurons fit in `dram` bytes, or the one that is asked for.

    Raises: InvalidInputError: not even one token's neurons fit, or not those of the window that is asked for.
    """
    longest = min(_LONGEST, trace.n_tokens - _WARM - 1)
    if pinned is not None and not 1 <= pinned <= longest:
        raise InvalidInputError(f"--window {pinned}: with {trace.n_tokens} tokens, need 1 to {longest}")
    needed = 0
    for window in range(longest, 0, -1) if pinned is None else [pinned]:
        run = run_window(trace, window)
        needed = int(run.most_held.sum()) * file.neuron + len(staging(file, 1))
        if needed <= dram:
            return run
    raise InvalidInputError(
        f"--dram {show_bytes(dram)} is too little: neurons of a window of {pinned or 1} take {show_bytes(needed)}"
    )


@dataclass(frozen=True, slots=True, eq=False)
class FlashRun:
    """What was run, and for each way what was predicted and what was measured."""

    file: NeuronFile
    window: WindowRun
    threads: int
    past_cache: str
    usage: Usage
    measured_now: bool
    ways: tuple[tuple[PredictedWay, MeasuredWay], ...]

    @property
    def counted(self) -> slice:
        """The tokens that count: those with a full window."""
        return slice(self.window.window + _WARM, None)


def run_flash(
    file: NeuronFile, trace: ActivationTrace, window: WindowRun, machine: Machine, threads: int | None, folder: Path,
    seed: int, started: Callable[[str, int], Callable[[int], None]], remeasured: bool = False,
) -> FlashRun:  # fmt: skip
    """Write the file, run all ways over the trace, and take the file away again.

    `remeasured`: predict from reads of this very file, measured just before, in place of the machine's flash tier.
    `started(what, total)` gives what to call as work gets done.
    """
    check_space(folder, file.n_bytes)
    check_flash(machine, threads)
    random = np.random.default_rng(seed)
    inputs: Floats = random.standard_normal((trace.n_tokens, file.hidden)).astype(np.float32)  # pyright: ignore[reportAssignmentType]
    ways: list[tuple[PredictedWay, MeasuredWay]] = []
    with scratch_file(folder, file.n_bytes, file.pieces(seed), started("writing weights", file.n_bytes)) as scratch:
        about = flash_machine(machine, threads, scratch)
        watch, advance = Watch(), started("decoding", len(FlashWay) * trace.n_tokens)
        for way in FlashWay:
            if remeasured:
                about = replace(about, bursts=_measured_now(scratch, file, about.threads))
            expected = predict(way, about, file, trace, window)
            ways.append((expected, run_way(way, scratch, file, trace, window, about.threads, inputs, advance)))
        past_cache = scratch.past_cache
    return FlashRun(file, window, about.threads, past_cache, watch.usage(), about.measured_now, tuple(ways))


def _measured_now(scratch: ScratchFile, file: NeuronFile, threads: int) -> tuple[Burst, ...]:
    """Bursts of the disk at this moment, of the sizes that the run reads."""
    chunks = sorted({file.row, file.bundle, min(LINEAR, file.apart)})
    return bursts_of(scratch, _ROUNDS, lambda _done: None, chunks=chunks, threads=(threads,))


@dataclass(frozen=True, slots=True)
class Term:
    """One term of one way over the tokens that count, in seconds per token.

    `undisturbed_s` is what it took where others did not interfere: of I/O, as the 10th percentile of measured over
    predicted seconds of single layers has it; of the rest, the median time that the thread ran. `measured_s`, `low_s`,
    `high_s`: median and quartiles by the clock.
    """

    name: str
    predicted_s: float
    undisturbed_s: float
    measured_s: float
    low_s: float
    high_s: float

    @property
    def undisturbed_error(self) -> float | None:
        """Predicted over undisturbed, minus one; None for what takes no time."""
        return self._error(self.undisturbed_s)

    @property
    def error(self) -> float | None:
        """Predicted over measured by the clock, minus one; None for what takes no time."""
        return self._error(self.measured_s)

    def _error(self, took_s: float) -> float | None:
        return self.predicted_s / took_s - 1 if took_s > 0 and self.predicted_s > 0 else None


def terms(run: FlashRun, predicted: PredictedWay, measured: MeasuredWay) -> tuple[Term, ...]:
    """I/O, memory management and compute of one way, and their sum."""
    counted = run.counted
    found: list[Term] = []
    for name, expected, spent in (
        ("I/O", predicted.read_s, measured.read),
        ("memory management", predicted.manage_s, measured.manage),
        ("compute", predicted.compute_s, measured.compute),
    ):
        ours, wall, cpu = expected[counted], spent.wall_s[counted], spent.cpu_s[counted]
        predicted_s = float(np.median(ours.sum(axis=1)))
        if name == "I/O":
            some = ours > 0
            ratio = float(np.quantile(wall[some] / ours[some], UNDISTURBED)) if some.any() else 1.0
            undisturbed_s = predicted_s * ratio
        else:
            undisturbed_s = float(np.median(cpu.sum(axis=1)))
        found.append(Term(name, predicted_s, undisturbed_s, *_quartiles(wall.sum(axis=1))))
    every = measured.read.wall_s + measured.manage.wall_s + measured.compute.wall_s
    sums = (sum(term.predicted_s for term in found), sum(term.undisturbed_s for term in found))
    return *found, Term("total", *sums, *_quartiles(every[counted].sum(axis=1)))


def _quartiles(of_tokens: Floats) -> tuple[float, float, float]:
    """The median, and the quartiles below and above it."""
    low, middle, high = (float(q) for q in np.quantile(of_tokens, (0.25, 0.5, 0.75)))
    return middle, low, high


def run_row(run: FlashRun) -> dict[str, Any]:
    """As `tierplan run-flash --json` gives it: seconds per token, bytes."""
    return {
        "layers": run.file.n_layers,
        "neurons": run.file.n_neurons,
        "hidden": run.file.hidden,
        "file_bytes": run.file.n_bytes,
        "window": run.window.window,
        "threads": run.threads,
        "past_cache": run.past_cache,
        "load": [run.usage.load_before, run.usage.load_after],
        "others_share": run.usage.others,
        "stolen_share": run.usage.stolen,
        "rows_measured_now": run.measured_now,
        "ways": [
            {
                "way": measured.way.value,
                "reads": float(np.median(measured.reads[run.counted])),
                "terms": [
                    {
                        "term": term.name,
                        "predicted_s": term.predicted_s,
                        "undisturbed_s": term.undisturbed_s,
                        "undisturbed_error": term.undisturbed_error,
                        "measured_s": term.measured_s,
                        "quartiles_s": [term.low_s, term.high_s],
                        "error": term.error,
                    }
                    for term in terms(run, predicted, measured)
                ],
            }
            for predicted, measured in run.ways
        ],
    }
