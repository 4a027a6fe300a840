"""The slow truth of `sim/silicon_gemm.py`: one product, one tile, one split at a time, in plain Python."""

import math

from tierplan.ir.calibration import GemmConstants
from tierplan.sim.device import Device

TILES = [
    (16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128),
    (128, 64), (128, 128), (64, 256), (128, 256), (256, 128),
]  # fmt: skip


def product_s(m: int, n: int, k: int, size: int, c: GemmConstants, device: Device, measured: bool) -> float:
    """Seconds of one product of elements of `size` bytes."""
    a, b, result = size * m * k, size * k * n, 2 * m * n
    kept = c.cache_share * device.cache

    def hits(n_bytes: float) -> float:
        return 1 / (1 + (n_bytes / kept) ** c.cache_edge)

    def moved(n_bytes: float, hit: float) -> float:
        return n_bytes * (1 - hit) + n_bytes * hit / c.cache_speed

    activations = hits(a + b + result)
    dram = moved(b, hits(c.copies * b + a + result) if measured else 0) + moved(a + result, activations)
    rate = device.peak / device.units * c.compute_share
    per_unit = device.bandwidth / device.units
    throttled = 1 - c.throttle / (1 + c.throttle_ops / (2 * m * n * k))
    times: list[float] = []
    for rows, columns in TILES:
        across, down = math.ceil(m / rows), math.ceil(n / columns)
        side_by_side = max(c.swizzle, device.units / across)
        extra_reads = max(down / side_by_side - 1, 0) * a * (1 - hits(a))
        for split in (1, 2, 3, 4, 6, 8, 16):
            if split > 1 and k < 64 * split:
                continue
            depth = math.ceil(k / split / 32) * 32
            penalty = 1 + c.small_tile * (4096 / (rows * columns)) ** c.small_tile_power
            products = 2 * rows * columns * depth / rate * penalty
            operands = (rows + columns) * depth * size / (4 * c.feed * per_unit)
            tile_s = max(products, operands) + c.prologue_s + c.epilogue * rows * columns * 2 / (4 * per_unit)
            full = across * down * split / device.units
            waves = (1 - c.persistence) * math.ceil(full) + c.persistence * max(full, 1)
            arithmetic = waves * tile_s / throttled
            drawn = min(across * down * split, device.units) * 2 * c.unit_memory / device.units
            memory = (dram + extra_reads) / device.bandwidth * (1 / c.memory_share + 1 / drawn)
            memory += 2 * split * m * n / (device.bandwidth * c.memory_share) if split > 1 else 0
            norm = (arithmetic**c.overlap + memory**c.overlap) ** (1 / c.overlap)
            times.append(norm + (c.split_s if split > 1 else 0))
    return c.launch_s + min(times)
