"""Measure this machine: memory, disk, rates of operations, and a GPU if JAX sees one."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Execution
from tierplan.machine_state import Usage, Watch
from tierplan.measure_bursts import bursts_of, threads_for
from tierplan.measure_compute import ComputeRate, jax_rates, n_jax_rates, numpy_rates, vector_rate
from tierplan.measure_disk import CHUNKS, THREADS, DiskFigures, disk_figures, disk_rates, random_pieces
from tierplan.measure_gpu import GpuFigures, first_gpu, gpu_figures, jax_devices
from tierplan.measure_memory import MemoryRate, memory_rates
from tierplan.measure_rows import product_cost, store_cost
from tierplan.measure_spread import Spread
from tierplan.scratch_file import check_space, scratch_file

_DISK_SHARE_S = 20.0  # of all random reads together
_MEMORY_BYTES = 256 * 2**20
_WRITE_PIECE = 2**20
_BUSY_SHARE = 0.1
_MEMORY_UNTIL_S, _DISK_UNTIL_S = 15.0, 40.0  # after which a busy machine gets two rounds, not all
_BURSTS_UNTIL_S = 100.0  # later, as the 10th percentile of a busy machine needs many bursts
_BURST_ROUNDS = 3  # per repetition
_PRODUCT_ROUNDS, _STORE_ROUNDS = 1, 2


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: repetitions of each figure, bytes of the file that is read, and where it lies."""

    folder: Path
    file_bytes: int = 512 * 2**20
    repeats: int = 5
    disk_s: float = _DISK_SHARE_S

    def __post_init__(self) -> None:
        if self.file_bytes < 64 * 2**20:
            raise InvalidInputError(f"a file of {self.file_bytes} B to read; need 64 MiB or more")
        if not 2 <= self.repeats <= 100:
            raise InvalidInputError(f"{self.repeats} repetitions; need 2 to 100")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else says how far the figures can be trusted: when, on what, and how busy it was."""

    when: str
    processor: str
    cores: int
    usage: Usage

    @property
    def is_busy(self) -> bool:
        """Whether others had a tenth of the cores' time; where that is not known, half of the cores beforehand."""
        usage = self.usage
        if usage.others is None or usage.stolen is None:
            return usage.load_before >= self.cores / 2
        return usage.others + usage.stolen >= _BUSY_SHARE


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """All that was measured."""

    name: str
    surroundings: Surroundings
    memory_bytes: int
    memory: tuple[MemoryRate, ...]
    disk_bytes: int
    disk: DiskFigures
    compute: tuple[ComputeRate, ...]
    execution: Execution
    gpu: GpuFigures | None


def measure(name: str, effort: Effort, started: Callable[[int], Callable[[int], None]]) -> MachineFigures:
    """Measure everything. `started(total)` gives what to call as work gets done.

    Writes `effort.file_bytes` to a file without a name in `effort.folder`, and nothing else.

    Raises: InvalidInputError: no room for the file, a folder that cannot be written, a disk that refuses reads.
    """
    check_space(effort.folder, effort.file_bytes)
    watch, when = Watch(), datetime.now().astimezone().isoformat(timespec="minutes")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices, gpu = jax_devices(), first_gpu()
    threads = sorted({1, max(1, cores // 2), cores})
    disk_steps = len(CHUNKS) * len(THREADS) * effort.repeats
    pieces = -(-effort.file_bytes // _WRITE_PIECE)
    bursts = _BURST_ROUNDS * effort.repeats
    total = 3 * len(threads) * effort.repeats + disk_steps + pieces + 3 + bursts * len(THREADS) + 2
    advance = started(total + len(devices[:1]) * n_jax_rates() + (effort.repeats if gpu else 0))

    began = time.perf_counter()
    rates = memory_rates(_memory_size(), threads, effort.repeats, advance, began + _MEMORY_UNTIL_S)
    compute = [*numpy_rates(effort.repeats, advance), vector_rate(cores, effort.repeats, advance)]
    if devices:
        compute += jax_rates(devices[0], effort.repeats, advance)
    with scratch_file(
        effort.folder, effort.file_bytes, random_pieces(effort.file_bytes), lambda n: advance(n // _WRITE_PIECE)
    ) as file:
        sample_s = effort.disk_s / disk_steps
        reads = disk_rates(file, effort.repeats, sample_s, advance, until=began + _DISK_UNTIL_S)
        of_bursts = bursts_of(file, bursts, advance, until=began + _BURSTS_UNTIL_S)
        written = Spread.of([file.n_bytes / file.written_s])
        disk = disk_figures(reads, written, file.past_cache, threads_for(of_bursts))
        store = store_cost(file, disk.queue_depth, _STORE_ROUNDS)
        execution = Execution(of_bursts, product_cost(_PRODUCT_ROUNDS), store)
        advance(2)
    gpu_found = gpu_figures(gpu, effort.repeats, advance) if gpu else None
    return MachineFigures(
        name=name,
        surroundings=Surroundings(when, _processor(), cores, watch.usage()),
        memory_bytes=_memory(),
        memory=rates,
        disk_bytes=_disk(effort.folder),
        disk=disk,
        compute=tuple(compute),
        execution=execution,
        gpu=gpu_found,
    )


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _memory_size() -> int:
    """Bytes of each of two arrays: far above any cache, and no more than an eighth of the memory."""
    return min(_MEMORY_BYTES, _memory() // 8)


def _disk(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_blocks * found.f_frsize


def _processor(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
