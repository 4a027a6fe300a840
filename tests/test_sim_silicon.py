"""Models of kernels on silicon: against a slow restatement, at their limits, and as plans use them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from silicon_oracle import product_s

from tierplan.hardware.load import load_machine
from tierplan.ir.calibration import GemmConstants
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.sim.calibration_ranges import RANGES
from tierplan.sim.cost import cost, sustained, uncalibrated
from tierplan.sim.device import Device, device_of
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.lowering import lower
from tierplan.sim.roofline import roofline_s
from tierplan.sim.silicon import is_calibrated, kernel_s, stream_s
from tierplan.sim.silicon_gemm import gemm_s
from tierplan.sim.workloads import Attention, Collective, Gemm, Moe

H100 = load_machine("h100")


def drawn(names: dict[str, tuple[float, float, float]], random: np.random.Generator) -> dict[str, float]:
    return {name: float(np.exp(random.uniform(np.log(low), np.log(high)))) for name, (low, _, high) in names.items()}


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_products_take_what_the_slow_model_says(seed: int, measured: bool) -> None:
    random = np.random.default_rng(seed)
    constants = GemmConstants(**drawn(dict(RANGES[GemmConstants]), random))
    device = Device(
        10 ** random.uniform(13, 16), 10 ** random.uniform(11, 13), int(random.integers(1, 200)), 50_000_000
    )
    m, n, k = (np.floor(2 ** random.uniform(0, 15, 4)) for _ in range(3))
    found = gemm_s(Gemm(m, n, k, "float8_e4m3fn"), constants, device, measured=measured)
    slow = [product_s(int(a), int(b), int(c), 1, constants, device, measured) for a, b, c in zip(m, n, k, strict=True)]
    np.testing.assert_allclose(found, slow, rtol=1e-9)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 70))
@settings(max_examples=200, deadline=None)
def test_positions_that_queries_see(queries: int, before: int, window: int) -> None:
    context = queries + before
    seen = sum(min(position + 1, window or context) for position in range(before, context))
    assert float(Attention(1, queries, context, 1, 1, 64, window).seen) == seen


def test_fields_broadcast_and_agree_with_one_by_one() -> None:
    tokens = np.array([1.0, 64.0, 4096.0])
    for work, one in (
        (Gemm(tokens, 4096, 1024), [Gemm(t, 4096, 1024) for t in tokens]),
        (Attention(tokens, 1, 2048, 32, 8, 128), [Attention(t, 1, 2048, 32, 8, 128) for t in tokens]),
        (Attention(1, tokens, tokens, 32, 8, 128), [Attention(1, t, t, 32, 8, 128) for t in tokens]),
        (Moe(tokens, 2048, 768, 128, 8, skew=1.2), [Moe(t, 2048, 768, 128, 8, skew=1.2) for t in tokens]),
        (Collective("all_reduce", tokens * 1e4, 8), [Collective("all_reduce", t * 1e4, 8) for t in tokens]),
    ):
        several = [kernel_s(each, H100).item() for each in one]
        np.testing.assert_allclose(kernel_s(work, H100)[1:], several[1:], rtol=1e-12)


@pytest.mark.parametrize("name", ["a100", "b200", "gb200", "h100", "h200", "l40s", "rtx-pro-6000"])
def test_large_kernels_stay_below_peak_rates_and_small_ones_cost_a_start(name: str) -> None:
    machine = load_machine(name)
    for work in (
        Gemm(8192, 8192, 8192),
        Attention(4, 4096, 4096, 32, 8, 128),
        Attention(64, 1, 8192, 32, 8, 128),
        Moe(8192, 4096, 14336, 8, 2),
    ):
        assert is_calibrated(work, machine)
        share = float(roofline_s(work, machine) / kernel_s(work, machine))
        assert 0.2 < share < 1.05, (work, share)
    assert 1e-6 < float(kernel_s(Gemm(1, 64, 64), machine)) < 2e-5


def test_one_more_tile_than_units_takes_another_wave_unless_the_kernel_is_persistent() -> None:
    device = Device(1e15, 1e15, 100, 10**9)
    start = {name: middle for name, (_, middle, _) in RANGES[GemmConstants].items()}
    start |= {"launch_s": 1e-9, "split_s": 8e-6, "overlap": 12.0, "throttle": 1e-4, "small_tile": 4.0}

    def times(persistence: float) -> float:
        constants = GemmConstants(**{**start, "persistence": persistence})
        one, two = gemm_s(Gemm([100 * 256, 101 * 256], 128, 8192), constants, device, measured=False)
        return float(two / one)

    assert times(1e-4) > times(1.0) + 0.1
    assert times(1.0) < 1.1


def test_a_cold_cache_is_no_faster_than_the_measured_one() -> None:
    machine = load_machine("l40s")
    work = Gemm(16, np.array([256, 1024, 4096, 65536]), 4096)
    cold, warm = kernel_s(work, machine), kernel_s(work, machine, measured=True)
    assert np.all(cold >= warm * 0.999)
    assert cold[1] > 1.3 * warm[1]  # 8 MB of weights, of which copies stay in 96 MB of cache
    assert cold[3] == pytest.approx(warm[3], rel=1e-3)


def test_without_constants_peak_rates_tell() -> None:
    plain = uncalibrated(H100)
    for work in (Gemm(64, 4096, 4096), Attention(8, 1, 1024, 32, 8, 128), Moe(64, 2048, 768, 128, 8)):
        assert not is_calibrated(work, plain)
        assert kernel_s(work, plain) == roofline_s(work, plain)
    assert stream_s(3.35e6, plain) == pytest.approx(1e-6)
    with pytest.raises(InvalidInputError, match="'peer'"):
        kernel_s(Collective("all_reduce", 1024, 8), plain)


def test_one_device_alone_exchanges_nothing() -> None:
    found = kernel_s(Collective("all_reduce", 1e6, np.array([1, 2, 8])), H100)
    assert found[0] == 0
    assert 0 < found[1] < found[2]


def product(m: int, n: int, k: int) -> Graph:
    tensors = (
        Tensor("x", (m, k), "bfloat16", TensorKind.INPUT),
        Tensor("w", (k, n), "bfloat16", TensorKind.WEIGHT),
        Tensor("y", (m, n), "bfloat16", TensorKind.OUTPUT),
    )
    attributes = {"batch": 1, "m": m, "n": n, "k": k, "share": 1.0}
    reads, writes = (Access("x", 2 * m * k), Access("w", 2 * k * n)), (Access("y", 2 * m * n),)
    op = Op("product", "matmul", reads, writes, 2 * m * n * k, 0, "bfloat16", attributes)
    return Graph("product", tensors, (op,))


@pytest.mark.parametrize("shape", [(8, 4096, 4096), (512, 4096, 4096), (8192, 8192, 8192)])
def test_a_plan_takes_as_long_as_the_measured_kernel(shape: tuple[int, int, int]) -> None:
    problem = lower(product(*shape), replace(H100, tiers=H100.tiers[:1], links=()))
    outcome = find_planner("greedy")(problem, Budget(1.0), cost=Simulated(problem))
    assert problem.calibrated
    assert outcome.cost_s == pytest.approx(float(kernel_s(Gemm(*shape), H100)), rel=1e-9)
    assert outcome.bound_s <= outcome.cost_s * (1 + 1e-12)


def test_a_weight_in_fewer_bits_is_not_taken_for_the_measured_product() -> None:
    (op,) = product(8, 4096, 4096).ops
    packed = replace(op, reads=(op.reads[0], Access("w", op.reads[1].bytes // 4)))
    seconds = [cost(each, H100).start_s + cost(each, H100).compute_s for each in (op, packed)]
    assert seconds[1] < seconds[0]


def test_sustained_bandwidth_is_below_the_peak_and_only_of_memory() -> None:
    slower = sustained(H100)
    assert 0.5 < slower.tiers[0].read_bandwidth / H100.tiers[0].read_bandwidth < 1
    assert slower.tiers[1:] == H100.tiers[1:]
    assert sustained(uncalibrated(H100)) == uncalibrated(H100)
    with pytest.raises(InvalidInputError, match="no 'calibration'"):
        device_of(uncalibrated(H100), "bfloat16")
