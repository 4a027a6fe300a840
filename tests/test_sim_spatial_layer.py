"""Attention and matrix products of given shapes, for whoever lowers a model onto a spatial machine."""

from __future__ import annotations

import pytest

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.fusemax_study import layer
from tierplan.sim.spatial_layer import LayerShape, attention, attention_specification, matmul, products
from tierplan.sim.spatial_machine import load_spatial

FUSEMAX, FLAT = load_spatial("fusemax-cloud"), load_spatial("flat-cloud")


def test_a_product_that_fits_moves_each_value_once_at_full_rate() -> None:
    made = matmul(FUSEMAX, 65536, 768, 3072)
    assert made.dram_bytes == 2 * (65536 * 768 + 768 * 3072 + 65536 * 3072)
    assert made.latency_s == pytest.approx(65536 * 768 * 3072 / 65536 / 940e6, rel=1e-12)


def test_a_product_that_does_not_fit_reads_something_again() -> None:
    made = matmul(FUSEMAX, 16384, 8192, 8192)
    assert made.dram_bytes > 2 * (16384 * 8192 * 2 + 8192 * 8192)


def test_odd_shapes_are_padded_to_the_array() -> None:
    assert matmul(FUSEMAX, 1000, 77, 300) == matmul(FUSEMAX, 1024, 77, 512)
    assert attention(FUSEMAX, 2, 3, 1000, 1000, 80) == attention(FUSEMAX, 2, 3, 1024, 1024, 80)


def test_one_query_is_not_padded() -> None:
    """Decoding: a query per head uses one column, so time follows the keys and is long for what it does."""
    one, many = attention(FUSEMAX, 1, 8, 1, 4096, 128), attention(FUSEMAX, 1, 8, 256, 4096, 128)
    assert one.dram_bytes == 2 * 8 * 128 * (2 * 4096 + 2)
    assert one.latency_s <= many.latency_s


@pytest.mark.parametrize("head", [16, 40, 64, 128, 256])
def test_attention_follows_the_width_of_a_head(head: int) -> None:
    """Per tile of 256 x 256: scores E cycles, maximum 1, exp and sum 8, weighted values F; the maximum's rescaling."""
    made = attention(FUSEMAX, 1, 1, 16384, 16384, head)
    tiles = 64 * 64
    cycles = tiles * (max(head + 1, 1 + head + head / 64) + 8 + 1 + head)
    assert made.latency_s == pytest.approx(cycles / 940e6, rel=1e-12)
    assert made.dram_bytes >= 2 * 4 * 16384 * head


def test_values_may_be_wider_than_keys() -> None:
    assert attention(FUSEMAX, 1, 1, 1024, 1024, 192, 128).dram_bytes == 2 * 1024 * (2 * 192 + 2 * 128)


def test_the_mapping_follows_what_the_arrays_can_do() -> None:
    assert attention_specification(FUSEMAX).name == "fusemax"
    assert attention_specification(FLAT).name == "flat"
    assert attention(FLAT, 1, 1, 2048, 2048, 64).latency_s > attention(FUSEMAX, 1, 1, 2048, 2048, 64).latency_s


def test_batch_and_heads_only_repeat() -> None:
    one, many = attention(FUSEMAX, 1, 1, 2048, 2048, 64), attention(FUSEMAX, 3, 5, 2048, 2048, 64)
    assert many.latency_s == pytest.approx(15 * one.latency_s, rel=1e-12)
    assert many.energy_j == pytest.approx(15 * one.energy_j, rel=1e-12)


def test_a_layer_is_its_products() -> None:
    shape = layer("BERT", 1024)
    feed_forward = matmul(FUSEMAX, 65536, 768, 3072) + matmul(FUSEMAX, 65536, 3072, 768)
    by_hand = matmul(FUSEMAX, 65536, 768, 768) * 4 + feed_forward
    made = products(FUSEMAX, shape)
    assert made.latency_s == pytest.approx(by_hand.latency_s)
    assert made.energy_j == pytest.approx(by_hand.energy_j)


def test_sizes_are_positive() -> None:
    with pytest.raises(InvalidInputError, match="layer x: every size must be at least 1"):
        LayerShape("x", 1, 0, 1, 1, 1, 1)


def test_hardware_without_arrays_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="h100: has no 'spatial' section"):
        load_spatial("h100")
