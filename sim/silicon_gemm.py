"""Seconds of a matrix product on silicon: the best of several tiles and splits of k, as a library would choose.

Source: tiles in waves over units and split-K, NVIDIA, "Matrix multiplication background"; stream-K, Osama et al.,
PPoPP 2023. Constants: `ir.calibration.GemmConstants`, fitted.
Assumes: one tile at a time on a unit; operands start in memory, but for the part that the cache still holds.
"""

import numpy as np

from tierplan.ir.calibration import GemmConstants
from tierplan.ir.dtypes import BITS
from tierplan.sim.device import Device
from tierplan.sim.workloads import Floats, Gemm

TILES = (
    (16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128), (128, 64), (128, 128), (64, 256), (128, 256),
    (256, 128),
)  # fmt: skip
SPLITS = (1, 2, 3, 4, 6, 8, 16)
_K_STEP = 32
_LEAST_K = 64  # of each part, where k is split
_PARTIAL_BYTES = 8  # a float32 partial sum, written and read


def gemm_s(work: Gemm, c: GemmConstants, device: Device, *, measured: bool) -> Floats:
    """Seconds of each product; `measured`: as measured, with weights that may stay in the cache."""
    m, n, k, count = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (work.m, work.n, work.k, work.count)))
    dram, miss = _traffic(work, c, device, measured)
    slow = 1 - c.throttle / (1 + c.throttle_ops / np.maximum(work.ops, 1))
    best = np.full(m.shape, np.inf)
    for rows, columns in TILES:
        tiles_m, tiles_n = np.ceil(m / rows), np.ceil(n / columns)
        again = np.maximum(tiles_n / np.maximum(c.swizzle, device.units / np.maximum(tiles_m, 1)), 1) - 1
        moved = dram + again * miss
        for split in SPLITS:
            tiles = count * tiles_m * tiles_n * split
            waves = _waves(tiles / device.units, c.persistence)
            arithmetic = (
                waves * _tile_s(rows, columns, np.ceil(k / split / _K_STEP) * _K_STEP, work.dtype, c, device) / slow
            )
            drawn = np.minimum(tiles, device.units) * c.unit_memory * 2 / device.units
            memory = moved / device.bandwidth * (1 / c.memory_share + 1 / np.maximum(drawn, 1e-9))
            if split > 1:
                memory = memory + _PARTIAL_BYTES * count * m * n * split / (4 * device.bandwidth * c.memory_share)
            seconds = (arithmetic**c.overlap + memory**c.overlap) ** (1 / c.overlap)
            if split > 1:
                seconds = np.where(k >= _LEAST_K * split, seconds + c.split_s, np.inf)
            best = np.minimum(best, seconds)
    return c.launch_s + best


def _waves(full: Floats, persistence: float) -> Floats:
    """Waves of tiles, of which the last takes as long as a full one where it is not hidden."""
    return (1 - persistence) * np.ceil(full) + persistence * np.maximum(full, 1)


def _tile_s(rows: int, columns: int, k: Floats, dtype: str, c: GemmConstants, device: Device) -> Floats:
    """Seconds of one tile: its products, or its operands from the cache; and its beginning and end."""
    area, size = rows * columns, BITS[dtype] / 8
    per_unit = device.bandwidth / device.units
    products = 2 * area * k / (device.peak / device.units * c.compute_share)
    products = products * (1 + c.small_tile * (64 * 64 / area) ** c.small_tile_power)
    operands = (rows + columns) * k * size / (c.feed * 4 * per_unit)
    return np.maximum(products, operands) + c.prologue_s + c.epilogue * area * 2 / (4 * per_unit)


def _traffic(work: Gemm, c: GemmConstants, device: Device, measured: bool) -> tuple[Floats, Floats]:
    """Bytes from and to memory (hits at their share), and the bytes of A that every further read of it brings."""
    size = BITS[work.dtype] / 8
    m, n, k, count = (np.asarray(x, np.float64) for x in (work.m, work.n, work.k, work.count))
    a, weights, result = count * size * m * k, count * size * n * k, count * 2 * m * n
    saved = 1 - 1 / c.cache_speed
    kept = c.cache_share * device.cache
    of_activations = _hits(weights + a + result, kept, c.cache_edge)
    of_weights = _hits(c.copies * weights + a + result, kept, c.cache_edge) if measured else 0.0
    dram = weights * (1 - saved * of_weights) + (a + result) * (1 - saved * of_activations)
    return dram, a * (1 - _hits(a, kept, c.cache_edge))


def _hits(n_bytes: Floats, kept: float, edge: float) -> Floats:
    """Share of accesses that hit a cache of `kept` bytes when `n_bytes` are used in turn."""
    return 1 / (1 + (n_bytes / kept) ** edge)
