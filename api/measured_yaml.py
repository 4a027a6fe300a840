"""What was measured as a hardware file that people can read and `--hardware` takes."""

from collections.abc import Iterator, Sequence

from tierplan.hardware.build import read_hardware
from tierplan.ir.dtypes import BITS
from tierplan.ir.execution import Execution
from tierplan.ir.units import show_bandwidth, show_rate, show_seconds
from tierplan.measure_compute import ComputeRate
from tierplan.measure_machine import MachineFigures
from tierplan.measure_memory import READ, WRITE
from tierplan.measure_spread import Spread, best
from tierplan.scratch_file import BLOCK

_CACHE_LINE = 64
_GPU_ALIGNMENT = 256


def hardware_yaml(found: MachineFigures) -> str:
    """The text of a hardware file, checked by reading it.

    Each figure is a median; the comment beside it has the quartiles and how it was measured.

    Assumes: operations on a machine with a GPU run on the GPU, and reach main memory over its link.
    """
    text = "\n".join(_lines(found)) + "\n"
    read_hardware(text, f"{found.name}.yaml")
    return text


def _lines(found: MachineFigures) -> Iterator[str]:
    at, gpu = found.surroundings, found.gpu
    yield f"# Measured by 'tierplan calibrate' on {at.when}: medians, with quartiles beside them."
    yield f"# {_plain(at.processor)}, {at.cores} cores; {at.usage}."
    if at.is_busy:
        yield "# The machine was busy: these are the figures of a busy machine."
    yield "schema: 1"
    yield f"name: {found.name}"
    device = f" with {gpu.name}" if gpu else ""
    yield f"description: Measured on {at.when[:10]}, {_plain(at.processor)}, {at.cores} cores{_plain(device)}"
    yield f"home: {'vram' if gpu else 'dram'}"
    yield ""
    yield "compute:"
    matrix = [rate for rate in found.compute if rate.unit == "matrix" and (not gpu or "gpu" in rate.by)]
    yield from _unit("matrix", matrix)
    yield from _unit("vector", [r for r in found.compute if r.unit == "vector"] if not gpu else _widest(matrix))
    yield ""
    yield "tiers:"
    if gpu:
        yield "  - name: vram"
        yield f"    capacity: {gpu.capacity} B"
        yield f"    bandwidth: {_rate(gpu.memory)}; a copy within it, bytes read plus bytes written"
        yield f"    alignment: {_GPU_ALIGNMENT} B"
    yield from _dram(found)
    yield from _disk(found)
    yield ""
    yield "links:"
    if gpu:
        for ends, spread in (("from: dram, to: vram", gpu.to_gpu), ("from: vram, to: dram", gpu.to_host)):
            rate, beside = _rate(spread).split(" # ")
            yield f"  - {{ {ends}, bandwidth: {rate} }} # {beside}"
    read, write = found.disk.curve[-1][1], found.disk.write.median
    yield "  # The disk's own rates: no other path was measured."
    yield f"  - {{ from: disk, to: dram, bandwidth: {_plain_rate(read)} }}"
    yield f"  - {{ from: dram, to: disk, bandwidth: {_plain_rate(write)} }}"
    yield ""
    yield from _execution(found.execution)


def _unit(name: str, rates: Sequence[ComputeRate]) -> Iterator[str]:
    """The best rate of each element type."""
    yield f"  {name}:"
    for dtype in sorted({rate.dtype for rate in rates}, key=lambda dtype: (BITS[dtype], dtype)):
        of_type = [rate for rate in rates if rate.dtype == dtype]
        top = best(rate.rate for rate in of_type)
        by = next(rate.by for rate in of_type if rate.rate is top)
        shown = f"{show_rate(top.low)} to {show_rate(top.high)} in {top.n}"
        yield f"    {dtype}: {_flops(top.median)} # {by}: {shown}"


def _widest(rates: Sequence[ComputeRate]) -> list[ComputeRate]:
    """A GPU's vector rate was not measured; the float32 product stands in for it."""
    return [ComputeRate("vector", r.dtype, f"{r.by}, products", r.rate) for r in rates if r.dtype == "float32"]


def _dram(found: MachineFigures) -> Iterator[str]:
    yield "  - name: dram"
    yield f"    capacity: {found.memory_bytes} B # all of the machine's memory; lower it by what others use"
    for key, way in (("read_bandwidth", READ), ("write_bandwidth", WRITE)):
        rates = [rate for rate in found.memory if rate.way == way]
        top = max(rates, key=lambda rate: rate.rate.median)
        alone = next(rate.rate.median for rate in rates if rate.threads == 1)
        beside = "" if top.threads == 1 else f"; one alone {show_bandwidth(alone)}"
        yield f"    {key}: {_rate(top.rate)} by {top.threads} threads{beside}"
    yield f"    alignment: {_CACHE_LINE} B"
    if found.gpu:
        yield "    direct: true"
        yield "    read_link: dram->vram"
        yield "    write_link: vram->dram"


def _disk(found: MachineFigures) -> Iterator[str]:
    disk = found.disk
    model, off = disk.fit.model, disk.fit.worst
    yield "  - name: disk"
    yield f"    capacity: {found.disk_bytes} B"
    yield f"    read_bandwidth: {_plain_rate(disk.curve[-1][1])} # the best of the curve below"
    yield f"    write_bandwidth: {_plain_rate(disk.write.median)} # one linear write, until the disk has it"
    yield f"    latency: {max(disk.latency_s, 1e-9) * 1e6:.6g} us # of one read alone, fitted"
    yield f"    alignment: {BLOCK} B"
    yield "    direct: false"
    yield f"    queue_depth: {disk.queue_depth}"
    yield f"    # Random reads past the page cache ({disk.past_cache}) by {disk.queue_depth} threads."
    yield "    # Medians that noise made fall with larger chunks or more threads are levelled; beside them the"
    yield "    # measured median and quartiles."
    each, way = show_seconds(model.latency_s / disk.queue_depth), show_bandwidth(model.bandwidth)
    yield f"    # Fitted: {each} a read and {way}, at most {show_bandwidth(model.cap)}; farthest from a point"
    yield f"    # {off:.0%}."
    yield "    read_curve:"
    measured = {rate.chunk: rate.rate for rate in disk.rates if rate.threads == disk.queue_depth}
    for chunk, rate in disk.curve:
        of = measured[chunk]
        beside = f"{show_bandwidth(of.median)}, {show_bandwidth(of.low)} to {show_bandwidth(of.high)} in {of.n}"
        yield f"      - {{ chunk: {chunk} B, bandwidth: {_plain_rate(rate)} }} # {chunk // 1024} KiB: {beside}"


def _execution(found: Execution) -> Iterator[str]:
    yield "# What 'tierplan run-flash' predicts from: the 10th percentile of bursts (what else runs makes them slower,"
    yield "# never faster), and processor time of one thread for rows of float32 in dram."
    yield "execution:"
    for key, cost in (("product", found.product), ("store", found.store)):
        call, row = (f"{seconds * 1e6:.4g} us" for seconds in (cost.call_s, cost.row_s))
        yield f"  {key}: {{ call: {call}, row: {row}, bandwidth: {_plain_rate(cost.bandwidth)} }}"
    yield "  bursts: # of random reads on the disk: how long until the last has come, by their number"
    for burst in found.bursts:
        times = ", ".join(f"{reads}: {seconds * 1e6:.4g} us" for reads, seconds in burst.times)
        yield f"    - {{ chunk: {burst.chunk} B, threads: {burst.threads}, times: {{ {times} }} }}"


def _rate(spread: Spread) -> str:
    beside = f"{show_bandwidth(spread.low)} to {show_bandwidth(spread.high)} in {spread.n}"
    return f"{_plain_rate(spread.median)} # {beside}"


def _plain_rate(rate: float) -> str:
    return f"{rate / 1e6:.6g} MB/s" if rate < 1e12 else f"{rate / 1e9:.6g} GB/s"


def _flops(rate: float) -> str:
    return f"{rate / 1e9:.6g} Gflop/s"


def _plain(text: str) -> str:
    """Words that YAML takes without quotes."""
    return "".join(letter if letter.isalnum() or letter in " .,()-+/" else " " for letter in text).rstrip()
