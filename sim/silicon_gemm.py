"""Seconds of a matrix product on silicon: the best of several tiles and splits of k, as a library would choose.

Source: tiles in waves over units and split-K, NVIDIA, "Matrix multiplication background"; stream-K, Osama et al.,
PPoPP 2023. Constants: `ir.calibration.GemmConstants`, fitted.
Assumes: one tile at a time on a unit; operands start in memory, but for the part that the cache still holds. A tile
takes as long as its products or its operands from the cache, whichever is longer, and its beginning and end.
"""

import numpy as np

from tierplan.ir.calibration import GemmConstants
from tierplan.ir.dtypes import BITS
from tierplan.sim._kernels import best_tiling_s
from tierplan.sim.device import Device
from tierplan.sim.workloads import Floats, Gemm

TILES = (
    (16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128), (128, 64), (128, 128), (64, 256), (128, 256),
    (256, 128),
)  # fmt: skip
SPLITS = (1, 2, 3, 4, 6, 8, 16)
K_STEP = 32
LEAST_K = 64  # of each part, where k is split
PARTIAL_BYTES = 8  # a float32 partial sum, written and read, at four times the bandwidth of memory


def gemm_s(work: Gemm, c: GemmConstants, device: Device, *, measured: bool) -> Floats:
    """Seconds of each product; `measured`: as measured, with weights that may stay in the cache."""
    shapes = (np.asarray(x, np.float64) for x in (work.m, work.n, work.k, work.count))
    broadcast = np.broadcast_arrays(*shapes)
    m, n, k, count = (np.ascontiguousarray(x).ravel() for x in broadcast)
    dram, again = _traffic(m, n, k, count, work.dtype, c, device, measured)
    slow = 1 - c.throttle / (1 + c.throttle_ops / (2 * count * m * n * k))
    rows, columns = np.array(TILES, np.float64).T.copy()
    per_k_s, edge_s = _tile_s(rows, columns, work.dtype, c, device)
    byte_s = 1 / (device.bandwidth * c.memory_share)
    best = best_tiling_s(
        m, n, k, count, dram, again, slow, rows, columns, per_k_s, edge_s, np.array(SPLITS, np.float64),
        K_STEP, LEAST_K, device.units, c.swizzle, c.persistence, c.overlap,
        byte_s, 2 * c.unit_memory / (c.memory_share * device.units), PARTIAL_BYTES * byte_s / 4, c.split_s,
    )  # fmt: skip
    return c.launch_s + best.reshape(broadcast[0].shape)


def _tile_s(rows: Floats, columns: Floats, dtype: str, c: GemmConstants, device: Device) -> tuple[Floats, Floats]:
    """Seconds of each tile by each step along k, and of its beginning and end."""
    area, per_unit = rows * columns, device.bandwidth / device.units
    products = 2 * area / (device.peak / device.units * c.compute_share)
    products = products * (1 + c.small_tile * (64 * 64 / area) ** c.small_tile_power)
    operands = (rows + columns) * BITS[dtype] / 8 / (c.feed * 4 * per_unit)
    return np.maximum(products, operands), c.prologue_s + c.epilogue * area * 2 / (4 * per_unit)


def _traffic(
    m: Floats, n: Floats, k: Floats, count: Floats, dtype: str, c: GemmConstants, device: Device, measured: bool
) -> tuple[Floats, Floats]:
    """Bytes from and to memory (hits at their share), and the bytes of A that every further read of it brings."""
    size = BITS[dtype] / 8
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
