"""Seconds of attention on silicon: of many queries, in tiles under a causal mask; and of one query over a cache.

Source: FlashAttention-2 (Dao, ICLR 2024) for tiles of queries; Flash-Decoding and TensorRT-LLM's dispatch for one
query: kernels that serve the query heads of one key head together, or each alone, and that split long caches.
Constants: `ir.calibration.PrefillConstants`, `DecodeConstants`, fitted.
"""

import numpy as np

from tierplan.ir.calibration import DecodeConstants, PrefillConstants
from tierplan.ir.dtypes import BITS
from tierplan.sim.device import Device
from tierplan.sim.workloads import Attention, Floats

_QUERY_TILES = (16.0, 64.0, 128.0)
_KEY_TILE = 64.0
_ROWS = 64.0  # of the tensor core, to which fewer query rows are padded
_SPLITS = (1, 2, 4, 8, 16, 32, 64)
_BLOCK = 128.0  # keys of one block, by which kernels count whether there is enough to share out
_NO_WINDOW = 1e9


def prefill_s(work: Attention, c: PrefillConstants, device: Device) -> Floats:
    """Seconds of attention of many queries, of which each sees the keys up to its own.

    Assumes: where a context is longer than the queries, every tile of queries sees that much more.
    """
    batch, queries, heads, kv_heads = (_array(x) for x in (work.batch, work.queries, work.heads, work.kv_heads))
    width = _array(work.widths) / 2
    before = _array(work.context) - queries
    window = np.where(_array(work.window) > 0, _array(work.window), _NO_WINDOW)
    size = BITS[work.dtype] / 8
    moved = work.bytes
    kept = c.cache_share * device.cache
    hits = 1 / (1 + (moved / kept) ** 6)
    dram = moved * (1 - hits * (1 - 1 / c.cache_speed))
    ops = 4 * batch * heads * width * queries * np.minimum(queries + 2 * before, 2 * window) / 2
    rate = device.peak / device.units * c.compute_share * (1 - c.throttle / (1 + c.throttle_ops / np.maximum(ops, 1)))
    best = np.full(np.broadcast(batch, queries, heads, kv_heads, width, window).shape, np.inf)
    for tile in _QUERY_TILES:
        n_tiles = np.ceil(queries / tile)
        keys, longest = _keys(n_tiles, tile, before, window)
        pair_s = 4 * (width + c.softmax_width) / rate * max(1.0, _ROWS / tile)
        mean_s, longest_s = tile * keys / n_tiles * pair_s, tile * longest * pair_s
        full = batch * heads * n_tiles / device.units * np.where(queries == 1, c.single_query, 1)
        waves = _waves(full, c.persistence)
        arithmetic = np.maximum(mean_s * waves + c.balance * (longest_s - mean_s), longest_s) + c.tile_s * waves
        again = c.reread * batch * kv_heads * keys * 2 * width * size
        memory = (dram + again) / (device.bandwidth * c.memory_share)
        best = np.minimum(best, (arithmetic**c.overlap + memory**c.overlap) ** (1 / c.overlap))
    return c.launch_s + c.prepare * moved / device.bandwidth + best


def _keys(n_tiles: Floats, tile: float, before: Floats, window: Floats) -> tuple[Floats, Floats]:
    """Keys that all tiles of one head read, in whole tiles; and those of the longest of them."""
    growing = np.minimum(n_tiles, np.floor(np.maximum(window - before, 0) / tile) + 1)
    first = np.minimum(before, window)
    keys = growing * first + growing * (growing + 1) / 2 * tile
    keys = keys + (n_tiles - growing) * (np.where(n_tiles > growing, window, 0) + tile)
    keys = keys + n_tiles * max(_KEY_TILE - tile, 0) / 2
    longest = np.maximum(np.minimum(before + n_tiles * tile, window + tile), _KEY_TILE)
    return keys, longest


def decode_s(work: Attention, c: DecodeConstants, device: Device, *, measured: bool) -> Floats:
    """Seconds of attention of one query per sequence.

    `measured`: under the conditions of the measurement, where the cache holds some of the keys, or what others wrote.
    Assumes: several queries per sequence (speculation) cost as many sequences.
    """
    batch, queries, context = (_array(x) for x in (work.batch, work.queries, work.context))
    heads, kv_heads, width = _array(work.heads), _array(work.kv_heads), _array(work.widths) / 2
    window = _array(work.window)
    batch = batch * queries
    seen = np.where(window > 0, np.minimum(context, window + c.window_slack), context)
    row = 2 * width * BITS[work.cache_dtype or work.dtype] / 8
    cached = batch * kv_heads * seen * row
    dram = cached + 4 * batch * heads * width
    if measured:
        hits = 1 / (1 + (cached / (c.cache_share * device.cache)) ** c.cache_edge)
        dram = dram * (1 - hits * (1 - 1 / c.cache_speed)) + c.dirty * np.minimum(cached, device.cache)
    together = _together(batch, heads, kv_heads, seen, window, c, device)
    groups = np.where(together, batch * kv_heads * np.ceil(heads / kv_heads / _ROWS), batch * heads)
    start_s = np.where(together, c.group_s, c.head_s)
    fed = np.where(together, 0, batch * heads * seen * row / (device.bandwidth * c.feed))
    best = np.full(np.broadcast(dram, groups, seen).shape, np.inf)
    for split in _SPLITS:
        chain_s = c.step_s * np.ceil(seen / split / _KEY_TILE) * width / 128
        arithmetic = _waves(groups * split / device.units, c.persistence) * (chain_s + start_s)
        drawn = np.minimum(groups * split, device.units) * c.unit_memory / device.units
        memory = np.maximum(dram / device.bandwidth * (1 / c.memory_share + 1 / drawn), fed)
        seconds = (arithmetic**c.overlap + memory**c.overlap) ** (1 / c.overlap)
        if split > 1:
            partial = split * batch * heads * width * 8 / (device.bandwidth * c.memory_share)
            can = (seen >= _KEY_TILE * split) & (together | c.splits_heads)
            seconds = np.where(can, seconds + c.split_s + partial, np.inf)
        best = np.minimum(best, seconds)
    return c.launch_s + best


def _together(
    batch: Floats, heads: Floats, kv_heads: Floats, seen: Floats, window: Floats, c: DecodeConstants, device: Device
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether one tile serves all query heads of a key head."""
    group = heads / kv_heads
    blocks = batch * kv_heads * np.maximum(1, np.floor(np.minimum(seen, np.where(window > 0, window, np.inf)) / _BLOCK))
    fits = (group > 1) & (group <= c.largest_group) & (blocks * c.group_blocks > device.units)
    return fits & ((window == 0) | c.groups_windows)


def _waves(full: Floats, persistence: float) -> Floats:
    return (1 - persistence) * np.ceil(full) + persistence * np.maximum(full, 1)


def _array(value: object) -> Floats:
    return np.asarray(value, dtype=np.float64)
