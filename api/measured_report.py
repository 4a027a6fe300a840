"""What was measured, as tables for people and as JSON."""

from typing import Any

from rich.table import Table

from tierplan.ir.execution import RowCost
from tierplan.ir.units import show_bandwidth, show_rate, show_seconds
from tierplan.measure_disk import DiskFigures
from tierplan.measure_machine import MachineFigures
from tierplan.measure_spread import Spread
from tierplan.sim.flash_ways import show_kib
from tierplan.terminal import console


def print_figures(found: MachineFigures) -> None:
    """Tables of memory, operations, disk and GPU, with quartiles."""
    at, out = found.surroundings, console()
    out.print(f"[bold]{at.processor}[/], {at.cores} cores; {at.usage}")
    if at.is_busy:
        out.print("[red]busy[/]: others used the machine meanwhile; measure again when it is idle")
    table = Table(title="main memory", title_justify="left")
    for column in ("way", "threads", "median", "quartiles"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for rate in found.memory:
        table.add_row(rate.way, str(rate.threads), show_bandwidth(rate.rate.median), _quartiles(rate.rate))
    out.print(table)
    table = Table(title="operations", title_justify="left")
    for column in ("unit", "type", "by", "median", "quartiles"):
        table.add_column(column, justify="right" if column in ("median", "quartiles") else "left")
    for rate in found.compute:
        spread = rate.rate
        quartiles = f"{show_rate(spread.low)} to {show_rate(spread.high)}"
        table.add_row(rate.unit, rate.dtype, rate.by, show_rate(spread.median), quartiles)
    out.print(table)
    _print_disk(found.disk)
    for what, cost in (("products", found.execution.product), ("keeping", found.execution.store)):
        out.print(
            f"{what:<11} of rows: {show_seconds(cost.call_s)} a call, {show_seconds(cost.row_s)} a row and "
            f"{show_bandwidth(cost.bandwidth)}, processor time of one thread"
        )
    if found.gpu is not None:
        gpu = found.gpu
        for what, spread in (("memory", gpu.memory), ("to the GPU", gpu.to_gpu), ("from it", gpu.to_host)):
            out.print(f"{gpu.name}: {what} {show_bandwidth(spread.median)}, {_quartiles(spread)}")


def _print_disk(disk: DiskFigures) -> None:
    out, threads = console(), sorted({rate.threads for rate in disk.rates})
    title = f"random reads past the page cache ({disk.past_cache}), by chunk and threads: median and quartiles in MB/s"
    table = Table(title=title, title_justify="left")
    table.add_column("chunk", justify="right")
    for n in threads:
        table.add_column(str(n), justify="right")
    of = {(rate.chunk, rate.threads): rate.rate for rate in disk.rates}
    for chunk in sorted({rate.chunk for rate in disk.rates}):
        cells = [of[chunk, n] for n in threads]
        shown = [f"{s.median / 1e6:.0f} ({s.low / 1e6:.0f}-{s.high / 1e6:.0f})" for s in cells]
        table.add_row(show_kib(chunk), *shown)
    out.print(table)
    model = disk.fit.model
    out.print(
        f"fitted      {disk.queue_depth} threads: {show_seconds(model.latency_s / disk.queue_depth)} a read and "
        f"{show_bandwidth(model.bandwidth)}, at most {show_bandwidth(model.cap)}; farthest from a point "
        f"{disk.fit.worst:.0%}"
    )
    out.print(f"            one read alone waits {show_seconds(disk.latency_s)}; more threads bring little or nothing")
    out.print(f"writing     {show_bandwidth(disk.write.median)}, once")


def _quartiles(spread: Spread) -> str:
    return f"{show_bandwidth(spread.low)} to {show_bandwidth(spread.high)}"


def _cost(cost: RowCost) -> dict[str, float]:
    return {"call_s": cost.call_s, "row_s": cost.row_s, "bytes_per_s": cost.bandwidth}


def figures_row(found: MachineFigures) -> dict[str, Any]:
    """As `tierplan calibrate --json` gives them: bytes, bytes per second, operations per second, seconds."""
    at, model = found.surroundings, found.disk.fit.model
    gpu = found.gpu
    return {
        "name": found.name,
        "when": at.when,
        "processor": at.processor,
        "cores": at.cores,
        "load": [at.usage.load_before, at.usage.load_after],
        "others_share": at.usage.others,
        "stolen_share": at.usage.stolen,
        "memory_bytes": found.memory_bytes,
        "memory": [{"way": r.way, "threads": r.threads, "bytes_per_s": r.rate.row()} for r in found.memory],
        "compute": [{"unit": r.unit, "dtype": r.dtype, "by": r.by, "ops_per_s": r.rate.row()} for r in found.compute],
        "disk": {
            "past_cache": found.disk.past_cache,
            "queue_depth": found.disk.queue_depth,
            "latency_s": found.disk.latency_s,
            "read_s": model.latency_s / found.disk.queue_depth,
            "bandwidth": model.bandwidth,
            "cap": model.cap,
            "worst_residual": found.disk.fit.worst,
            "write_bytes_per_s": found.disk.write.row(),
            "reads": [
                {"chunk_bytes": r.chunk, "threads": r.threads, "bytes_per_s": r.rate.row()} for r in found.disk.rates
            ],
        },
        "execution": {
            "product": _cost(found.execution.product),
            "store": _cost(found.execution.store),
            "bursts": [
                {"chunk_bytes": b.chunk, "threads": b.threads, "reads_s": [list(pair) for pair in b.times]}
                for b in found.execution.bursts
            ],
        },
        "gpu": None
        if gpu is None
        else {
            "name": gpu.name,
            "memory_bytes": gpu.capacity,
            "memory_bytes_per_s": gpu.memory.row(),
            "to_gpu_bytes_per_s": gpu.to_gpu.row(),
            "to_host_bytes_per_s": gpu.to_host.row(),
        },
    }
