"""Seconds of the experts of one mixture layer on silicon: two grouped matrix products, and moving rows.

Constants: `ir.calibration.MoeConstants`, fitted.
Assumes: tokens are shared out by a power law whose quantiles stand for all experts; of several devices the one with
most rows is told, two standard deviations of log many above the mean.
"""

import numpy as np

from tierplan.ir.calibration import MoeConstants
from tierplan.ir.dtypes import BITS
from tierplan.sim.device import Device
from tierplan.sim.workloads import Floats, Moe

_TILES = ((16, 128), (32, 128), (64, 128), (128, 128), (128, 256))
_LEAST_ROWS = 32  # of a tile on the tensor core
_QUANTILES = 8
_K_STEP = 64


def moe_s(work: Moe, c: MoeConstants, device: Device) -> Floats:
    """Seconds of all experts of this device, from rows in to rows out."""
    per_expert, n_experts = _loads(work)
    active = np.minimum(per_expert, 1) * n_experts
    rows = (per_expert * n_experts).sum(-1)
    hidden = np.asarray(work.hidden, np.float64)
    inner = np.asarray(work.inner, np.float64) / np.asarray(work.tensor_ranks, np.float64)
    all_rows = np.asarray(work.tokens, np.float64) * np.asarray(work.top_k, np.float64)
    moved = c.move_routed * rows * hidden * 2 + c.move_all * all_rows * hidden * 2 + c.activate * all_rows * inner * 6
    seconds = c.launch_s + c.expert_s * work.local_experts + moved / device.bandwidth
    for k, n in ((hidden, np.where(work.gated, 2, 1) * inner), (inner, hidden)):
        weights = active.sum(-1) * k * n * BITS[work.dtype] / 8
        memory = (weights + rows * (k + n) * 2) / (device.bandwidth * c.memory_share)
        best = np.full(np.broadcast(rows, k, n).shape, np.inf)
        for tile_rows, columns in _TILES:
            filled = np.ceil(np.maximum(per_expert, 1e-9) / tile_rows) * np.minimum(per_expert, 1) * n_experts
            full = filled.sum(-1) * np.ceil(n / columns) / device.units
            waves = (1 - c.persistence) * np.ceil(full) + c.persistence * np.maximum(full, 1)
            arithmetic = waves * _tile_s(tile_rows, columns, np.ceil(k / _K_STEP) * _K_STEP, work.dtype, c, device)
            best = np.minimum(best, (arithmetic**c.overlap + memory**c.overlap) ** (1 / c.overlap))
        seconds = seconds + best
    return seconds


def _tile_s(rows: int, columns: int, k: Floats, dtype: str, c: MoeConstants, device: Device) -> Floats:
    products = 2 * max(rows, _LEAST_ROWS) * columns * k / (device.peak / device.units * c.compute_share)
    operands = (rows + columns) * k * BITS[dtype] / 8 / (c.feed * 4 * device.bandwidth / device.units)
    return np.maximum(products, operands) + c.tile_s


def _loads(work: Moe) -> tuple[Floats, Floats]:
    """Rows of an expert at each quantile, and how many experts of this device each quantile stands for [..., Q]."""
    tokens, top_k, n_experts, ranks, skew = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (work.tokens, work.top_k, work.n_experts, work.expert_ranks, work.skew))
    )
    uniform = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    exponent = 1 - np.where(skew > 0, skew, 2.0)[..., None]
    most = np.where(tokens * top_k > n_experts, 0.8 * tokens, 2 * tokens)[..., None]
    drawn = ((np.maximum(most, 1.0001) ** exponent - 1) * uniform + 1) ** (1 / exponent)
    drawn = np.where(skew[..., None] > 0, drawn, 1.0)
    mean = drawn.mean(-1)
    spread = drawn.std(-1) / mean
    local = np.maximum(n_experts / ranks, 1)
    fullest = np.minimum(ranks, 1 + spread * np.sqrt(2 * np.log(np.maximum(ranks, 1)) / local))
    per_expert = drawn / mean[..., None] * (tokens * top_k / n_experts * fullest)[..., None]
    return np.minimum(per_expert, tokens[..., None]), (local / _QUANTILES)[..., None]
