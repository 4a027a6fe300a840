"""Measuring the machine: figures, the file that is read, and the hardware file that comes out, whatever the clock."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_cli_commands import Run, run

from tierplan import machine_state, measure_machine, scratch_file
from tierplan.hardware.build import read_hardware
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Burst, Execution, RowCost
from tierplan.machine_state import Usage, Watch
from tierplan.measure_bursts import bursts_of, threads_for, undisturbed
from tierplan.measure_compute import ComputeRate
from tierplan.measure_disk import DiskRate, disk_figures, disk_rates, levelled, random_pieces
from tierplan.measure_gpu import GpuFigures
from tierplan.measure_machine import MachineFigures, Surroundings
from tierplan.measure_memory import MemoryRate, memory_rates
from tierplan.measure_rows import product_cost
from tierplan.measure_spread import Spread
from tierplan.measured_yaml import hardware_yaml
from tierplan.parallel_reader import ParallelReader, aligned_bytes
from tierplan.scratch_file import BLOCK, ScratchFile
from tierplan.sim.flash import ReadModel, read_bandwidth
from tierplan.sim.flash_fit import read_model_of

__all__ = ["run"]

DRIVE = ReadModel(latency_s=320e-6, bandwidth=1.1e9, cap=1e9, queue_depth=16)


def no_one(_amount: int) -> None:
    """Nobody looks at the progress."""


def spread(value: float) -> Spread:
    return Spread.of([0.9 * value, value, 1.2 * value])


def disk(noise: float = 0.0) -> list[DiskRate]:
    """A drive that follows the read model, with noise that alternates."""
    points = [(c, n) for n in (1, 4, 16, 32) for c in (4096, 8192, 16384, 65536, 262144, 1048576)]
    rates = [read_bandwidth(DRIVE, c, n) * (1 + noise * (-1) ** i) for i, (c, n) in enumerate(points)]
    return [DiskRate(c, n, Spread.of([rate])) for (c, n), rate in zip(points, rates, strict=True)]


EXECUTION = Execution(
    tuple(Burst(c, n, ((1, 1e-4), (64, c * 2e-6 / n))) for n in (1, 16) for c in (2**14, 2**20)),
    RowCost(1e-5, 2e-8, 2e10), RowCost(4e-5, 1e-6, 5e9),
)  # fmt: skip


def figures(gpu: bool = False) -> MachineFigures:
    """A machine as it might have been measured."""
    at = Surroundings("2026-01-02T03:04+00:00", "Chip: 9 (tm) #1", 2, Usage(0.1, 0.2, 0.02, 0.01))
    memory = [MemoryRate(way, n, spread(1e10 * n)) for n in (1, 2) for way in ("read", "write", "copy")]
    compute = [ComputeRate("matrix", t, "numpy", spread(1e11)) for t in ("float32", "float64")]
    compute.append(ComputeRate("vector", "float32", "2 threads", spread(5e10)))
    if gpu:
        compute.append(ComputeRate("matrix", "float32", "JAX on gpu", spread(5e13)))
    card = GpuFigures("Card 4", 8 * 10**9, spread(4e11), spread(2e10), spread(1e10)) if gpu else None
    drive = disk_figures(disk(), spread(4e8), "O_DIRECT")
    return MachineFigures("mine", at, 2**34, tuple(memory), 10**12, drive, tuple(compute), EXECUTION, card)


def test_spreads_refuse_what_is_no_measurement() -> None:
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0, 1)
    assert Spread.of([1.0, 2.0, 3.0]).width == 0.5
    for values in ([], [0.0], [1.0, float("nan")], [-1.0]):
        with pytest.raises(InvalidInputError, match="need positive numbers"):
            Spread.of(values)


def test_levelled_rates_rise_and_stay_near() -> None:
    exact = {(rate.chunk, rate.threads): rate.rate.median for rate in disk()}
    assert levelled(disk()) == pytest.approx(exact)
    level = levelled(disk(noise=0.2))
    for (chunk, threads), rate in level.items():
        assert all(rate <= more for (c, n), more in level.items() if c >= chunk and n >= threads)
        assert rate == pytest.approx(exact[chunk, threads], rel=0.25)


def test_figures_of_a_drive_are_its_read_model() -> None:
    found = disk_figures(disk(), spread(4e8), "O_DIRECT")
    assert found.queue_depth == 16
    assert found.fit.worst < 0.02
    assert found.fit.model.latency_s == pytest.approx(DRIVE.latency_s, rel=0.05)
    assert found.latency_s == pytest.approx(DRIVE.latency_s, rel=0.05)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_hardware_file_is_read_and_says_what_was_measured(gpu: bool) -> None:
    found = figures(gpu)
    text = hardware_yaml(found)
    machine = read_hardware(text, "mine.yaml").machine
    assert [tier.name for tier in machine.tiers] == (["vram"] if gpu else []) + ["dram", "disk"]
    dram, flash = machine.tiers[-2:]
    assert (dram.capacity, dram.read_bandwidth) == (2**34, 2e10)
    assert flash.read_curve == tuple((c, pytest.approx(r, rel=1e-5)) for c, r in found.disk.curve)
    assert not flash.direct
    assert read_model_of(flash).latency_s == pytest.approx(found.disk.fit.model.latency_s, rel=0.01)
    assert machine.matrix.peak["float32"] == (5e13 if gpu else 1e11)
    assert machine.home == ("vram" if gpu else "dram")
    assert "load 0.1 to 0.2; other programs took 2% of the processors, other machines 1%." in text
    assert machine.execution is not None
    for told, was in zip(machine.execution.bursts, EXECUTION.bursts, strict=True):
        assert (told.chunk, told.threads) == (was.chunk, was.threads)
        assert dict(told.times) == pytest.approx(dict(was.times), rel=1e-3)
    for cost, was in ((machine.execution.product, EXECUTION.product), (machine.execution.store, EXECUTION.store)):
        assert cost.time_s(100, 1000) == pytest.approx(was.time_s(100, 1000), rel=1e-3)
    if gpu:
        assert dram.read_link == "dram->vram"
        assert machine.vector.peak["float32"] == 5e13


def test_a_busy_machine_is_called_busy() -> None:
    quiet = figures()
    assert "busy" not in hardware_yaml(quiet)
    for usage in (Usage(0.0, 0.0, 0.08, 0.02), Usage(1.0, 0.0, None, None)):
        busy = replace(quiet, surroundings=replace(quiet.surroundings, usage=usage))
        assert "the figures of a busy machine" in hardware_yaml(busy)


def test_what_others_took_is_what_was_spent_less_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = iter((7.0, 107.0, 107.0))
    monkeypatch.setattr(machine_state, "process_time", lambda: next(own))
    stat, tick = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu  100 0 50 1000 20 0 0 5 0 0\ncpu0 1 2 3\n")
    watch = Watch(stat)
    idle, busy, stolen = 600 * tick, 300 * tick, 100 * tick
    stat.write_text(f"cpu  {100 + busy} 0 50 {1000 + idle} 20 0 0 {5 + stolen} 0 0\n")
    usage = watch.usage()
    assert usage.others == pytest.approx(0.2)  # of 1000 seconds 300 were spent, 100 of them here
    assert usage.stolen == pytest.approx(0.1)
    assert "other programs took 20% of the processors, other machines 10%" in str(usage)
    unknown = Watch(tmp_path / "none").usage()
    assert (unknown.others, unknown.stolen) == (None, None)
    assert str(unknown).startswith("load ")


def test_bursts_are_measured_for_all_sizes_threads_and_counts(tmp_path: Path) -> None:
    n_bytes, done = 64 * BLOCK, list[int]()
    with scratch_file.scratch_file(tmp_path, n_bytes, random_pieces(n_bytes), no_one) as file:
        found = bursts_of(file, 2, done.append, chunks=(BLOCK, 4 * BLOCK), threads=(1, 2))
    assert sum(done) == 4
    assert [(burst.chunk, burst.threads) for burst in found] == [(c * BLOCK, n) for n in (1, 2) for c in (1, 4)]
    assert [tuple(reads for reads, _ in burst.times) for burst in found] == 2 * [(1, 4, 16, 64), (1, 4, 16)]


def test_undisturbed_bursts_are_a_tenth_percentile_that_rises() -> None:
    found = {
        (4096, 2, 1): [1e-4 * k for k in range(1, 12)],
        (4096, 2, 16): [9e-3],  # disturbed: sixteen times as many bytes took less
        (65536, 2, 1): [3e-4],
        (65536, 2, 16): [4e-3],
        (4096, 8, 16): [1e-3],  # by other threads, which say nothing of two
    }
    assert [(b.chunk, b.threads, b.times) for b in undisturbed(found)] == [
        (4096, 2, ((1, pytest.approx(2e-4)), (16, 4e-3))),
        (65536, 2, ((1, 3e-4), (16, 4e-3))),
        (4096, 8, ((16, 1e-3),)),
    ]


def test_the_threads_of_a_disk_are_the_fewest_that_read_large_bursts_fast() -> None:
    seconds = {1: 1.0, 4: 0.5, 8: 0.31, 16: 0.3, 32: 0.3}
    bursts = [Burst(4096, n, ((1, 1e-4 / n), (256, s))) for n, s in seconds.items()]
    assert threads_for(bursts) == 8


def test_a_product_costs_what_rows_cost() -> None:
    cost = product_cost(1, cold=2**25)
    assert cost.time_s(500, 8192) > cost.time_s(10, 2048) > 0


def test_a_clock_that_is_late_leaves_two_rounds(tmp_path: Path) -> None:
    rates = memory_rates(2**16, (1,), 5, no_one, until=0.0)
    assert {rate.rate.n for rate in rates} == {2}
    with scratch_file.scratch_file(tmp_path, 64 * BLOCK, random_pieces(64 * BLOCK), no_one) as file:
        reads = disk_rates(file, 5, 0.0, no_one, chunks=(BLOCK,), threads=(1,), until=0.0)
    assert [rate.rate.n for rate in reads] == [2]


def test_a_scratch_file_has_no_name_and_the_bytes_that_were_asked_for(tmp_path: Path) -> None:
    rows = np.arange(16 * BLOCK, dtype=np.uint8)
    written: list[int] = []
    with scratch_file.scratch_file(tmp_path, len(rows), [rows.data], written.append) as file:
        assert list(tmp_path.iterdir()) == []
        assert sum(written) == len(rows)
        into = aligned_bytes(4 * BLOCK)
        with ParallelReader(file, 3) as reader:
            reader.read(np.array([9, 2, 5, 0]) * BLOCK, BLOCK, into)
        assert into.reshape(4, BLOCK).tolist() == rows.reshape(16, BLOCK)[[9, 2, 5, 0]].tolist()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)


def test_where_o_direct_is_refused_reads_go_by_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.open

    def refusing(path: str, flags: int, *more: int, **named: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return plain(path, flags, *more, **named)

    monkeypatch.setattr(scratch_file.os, "open", refusing)
    forgotten: list[int] = []
    monkeypatch.setattr(scratch_file.os, "posix_fadvise", lambda d, *_rest: forgotten.append(d))
    data = np.arange(2 * BLOCK, dtype=np.uint8)
    with scratch_file.scratch_file(tmp_path, len(data), [data.data], no_one) as file:
        assert file.past_cache == "posix_fadvise(DONTNEED)"
        assert not file.is_direct
        forgotten.clear()
        into = aligned_bytes(BLOCK)
        with ParallelReader(file, 1) as reader:
            reader.read(np.array([BLOCK]), BLOCK, into)
        assert set(forgotten) == {file.descriptor}
        assert into.tolist() == data[BLOCK:].tolist()
    assert list(tmp_path.iterdir()) == []


def test_folders_that_will_not_do_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, message in (
        (tmp_path / "gone", "no folder"),
        (tmp_path / "file", "no folder"),
        (Path("/proc/self"), "cannot write|/proc/self"),
    ):
        with (
            pytest.raises(InvalidInputError, match=message),
            scratch_file.scratch_file(folder, BLOCK, [b"x" * BLOCK], no_one),
        ):
            pass
    with pytest.raises(InvalidInputError, match="free, less than a file of 1e\\+06 PB"):
        scratch_file.check_space(tmp_path, 10**21)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nnone {tmp_path} tmpfs rw 0 0\n")
    assert scratch_file.file_system(tmp_path, mounts) == "tmpfs"
    assert scratch_file.file_system(Path("/"), mounts) == "ext4"
    assert scratch_file.file_system(Path("/"), tmp_path / "none") == ""


def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch_file.os, "posix_fallocate", full)
    with (
        pytest.raises(InvalidInputError, match=r"a file of 4.096 kB in .*: No space left on device"),
        scratch_file.scratch_file(tmp_path, BLOCK, [b"x" * BLOCK], no_one),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_reads_that_the_system_refuses_are_told(tmp_path: Path) -> None:
    with scratch_file.scratch_file(tmp_path, 2 * BLOCK, [b"x" * 2 * BLOCK], no_one) as file:
        with ParallelReader(file, 2) as reader, pytest.raises(InvalidInputError, match="fewer bytes came"):
            reader.read(np.array([0, 2 * BLOCK]), BLOCK, aligned_bytes(2 * BLOCK))
        with ParallelReader(file, 1) as reader, pytest.raises(InvalidInputError, match="do not fit"):
            reader.read(np.array([0, BLOCK]), BLOCK, aligned_bytes(BLOCK))
        with pytest.raises(InvalidInputError, match="0 reading threads"):
            ParallelReader(file, 0)


def test_rates_are_measured_for_every_way(tmp_path: Path) -> None:
    done: list[int] = []
    rates = memory_rates(2**16, (1, 2), 2, done.append)
    assert [(rate.way, rate.threads, rate.rate.n) for rate in rates] == [
        (way, n, 2) for n in (1, 2) for way in ("read", "write", "copy")
    ]
    n_bytes = 64 * BLOCK
    with scratch_file.scratch_file(tmp_path, n_bytes, random_pieces(n_bytes), no_one) as file:
        reads = disk_rates(file, 2, 0.0, done.append, chunks=(BLOCK, 4 * BLOCK), threads=(1, 2))
    assert sum(done) == 2 * 6 + 2 * 4
    assert {(rate.chunk, rate.threads) for rate in reads} == {(c * BLOCK, n) for c in (1, 4) for n in (1, 2)}


def test_the_command_writes_what_plan_takes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, but short: a small file, small arrays, and made-up reads in place of the noise of this machine."""
    monkeypatch.setattr(measure_machine, "_memory_size", lambda: 2**20)
    monkeypatch.setattr(measure_machine, "jax_devices", list[object])
    monkeypatch.setattr(measure_machine, "first_gpu", lambda: None)
    monkeypatch.setattr(
        measure_machine, "numpy_rates", lambda *_: [ComputeRate("matrix", "float32", "numpy", spread(1e11))]
    )
    sizes: list[int] = []

    def reads(file: ScratchFile, *_rest: object, **_named: object) -> tuple[DiskRate, ...]:
        sizes.append(file.n_bytes)
        return tuple(disk())

    monkeypatch.setattr(measure_machine, "disk_rates", reads)
    monkeypatch.setattr(measure_machine, "bursts_of", lambda *_a, **_b: EXECUTION.bursts)
    for name, cost in (("product_cost", EXECUTION.product), ("store_cost", EXECUTION.store)):
        monkeypatch.setattr(measure_machine, name, lambda *_, cost=cost: cost)
    ran = run("calibrate", "-o", "mine.yaml", "--file-size", "64MiB", "--repeats", "2")
    assert ran.code == 0
    assert ran.err.startswith("tierplan writes 67.11 MB to a nameless file in ")
    assert "machine written to mine.yaml" in ran.out
    assert sizes == [2**26]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml", "buffers.csv", "bench.yaml", "layers.py"}
    assert run("plan", "buffers.csv", "--hardware", "mine.yaml", "--planner", "greedy").code == 0
    for arguments, message in (
        (("--file-size", "1MiB"), "need 64 MiB or more"),
        (("--repeats", "1"), "1 repetitions; need 2 to 100"),
        (("--folder", "nowhere"), "no folder 'nowhere'"),
        (("-o", "nowhere/x.yaml"), "there is no folder"),
        (("--file-size", "900PB"), "free, less than a file"),
    ):
        refused = run("calibrate", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert message in refused.err


# A shell starts what runs in the background with interrupts ignored, and so are they in what that starts.
_HEEDED = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tierplan.cli import main; main()"
)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["calibrate", "-o", "mine.yaml", "--file-size", "64MiB"], marks=pytest.mark.slow),
        ["run-flash", "synthetic:2x4096x1024", "--dram", "1GB", "--hardware", "m1-max", "--tokens", "5000"],
    ],
    ids=["calibrate", "run-flash"],
)
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, command: list[str]) -> None:
    """Interrupted while the scratch file is open: its space is given back, and nothing is half-written."""
    running = subprocess.Popen(
        [sys.executable, "-c", _HEEDED, *command],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 100
        while time.monotonic() < until and running.poll() is None and not _open_without_name(running.pid, tmp_path):
            time.sleep(0.02)
        assert running.poll() is None, running.communicate()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 130
    assert err.splitlines()[-1] == "tierplan: interrupted"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def _open_without_name(process: int, folder: Path) -> bool:
    try:
        links = [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()]
    except OSError:
        return False
    return any(link.startswith(str(folder)) and link.endswith("(deleted)") for link in links)
