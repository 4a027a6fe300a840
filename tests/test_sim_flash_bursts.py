"""Bursts between those that were measured, and the section of the hardware file that has them."""

import pytest

from tierplan.hardware.build import read_hardware
from tierplan.hardware.load import read_source
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Burst, Execution, RowCost
from tierplan.sim.flash_bursts import burst_s

BURSTS = tuple(
    Burst(chunk, threads, ((1, 1e-4), (16, 4e-4 * chunk / 4096), (64, 1e-3 * chunk / 4096 * 16 / threads)))
    for chunk in (4096, 16384)
    for threads in (4, 16)
)


@pytest.mark.parametrize(
    ("n_reads", "chunk", "threads", "expected"),
    [
        (0, 4096, 16, 0.0),
        (1, 4096, 16, 1e-4),
        (16, 4096, 16, 4e-4),
        (40, 4096, 16, 7e-4),  # half-way between 16 and 64
        (112, 4096, 16, 1.6e-3),  # 48 reads beyond 64, at the slope before it
        (64, 8192, 16, 2e-3),  # half-way in logarithms
        (64, 2048, 16, 1e-3),  # as the smallest
        (64, 65536, 16, 1.6e-2),  # the bytes at the rate of the largest
        (64, 4096, 8, 2e-3),
        (64, 4096, 2, 4e-3),
        (64, 4096, 64, 1e-3),
    ],
)
def test_between_and_beyond_what_was_measured(n_reads: int, chunk: int, threads: int, expected: float) -> None:
    assert burst_s(BURSTS, n_reads, chunk, threads) == pytest.approx(expected)


def test_more_reads_take_no_less_time() -> None:
    times = [burst_s(BURSTS, n, 5000, 7) for n in range(200)]
    assert times == sorted(times)


def test_a_single_time_is_a_rate() -> None:
    alone = [Burst(4096, 8, ((10, 1e-3),))]
    assert [burst_s(alone, n, 4096, 8) for n in (1, 10, 20)] == pytest.approx([1e-3, 1e-3, 2e-3])
    with pytest.raises(InvalidInputError, match="-1 reads"):
        burst_s(alone, -1, 4096, 8)


def test_what_makes_no_sense_is_refused() -> None:
    cost = RowCost(0.0, 0.0, 1.0)
    for make, message in (
        (lambda: Burst(0, 1, ((1, 1.0),)), "need 1 B and 1 thread"),
        (lambda: Burst(1, 1, ()), "a time or more"),
        (lambda: Burst(1, 1, ((1, 0.0),)), "a positive time"),
        (lambda: Burst(1, 1, ((1, 2.0), (2, 1.0))), "times must not fall"),
        (lambda: Burst(1, 1, ((2, 1.0), (2, 1.0))), "reads must rise"),
        (lambda: RowCost(-1.0, 0.0, 1.0), "time of a call"),
        (lambda: RowCost(0.0, float("nan"), 1.0), "time of a row"),
        (lambda: RowCost(0.0, 0.0, 0.0), "bandwidth of rows"),
        (lambda: Execution((), cost, cost), "needs a burst"),
        (lambda: Execution((BURSTS[0], BURSTS[0]), cost, cost), "two bursts of 4096 B by 4 threads"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            make()


SECTION = """
execution:
  product: { call: 6 us, row: 60 ns, bandwidth: 21 GB/s }
  store: { call: 50 us, row: 2 us, bandwidth: 5 GB/s }
  bursts:
    - { chunk: 4 KiB, threads: 16, times: { 64: 1.2 ms, 1: 90 us } }
"""


def test_the_section_is_read() -> None:
    machine = read_hardware(read_source("laptop")[1] + SECTION, "mine.yaml").machine
    assert machine.execution is not None
    product = machine.execution.product
    assert (product.call_s, product.row_s, product.bandwidth) == pytest.approx((6e-6, 6e-8, 21e9))
    (burst,) = machine.execution.bursts
    assert (burst.chunk, burst.threads, [n for n, _ in burst.times]) == (4096, 16, [1, 64])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("call: 6 us", "cal: 6 us", "unknown key 'cal'; did you mean 'call'?"),
        ("product:", "products:", "unknown key 'products'; did you mean 'product'?"),
        ("threads: 16", "thread: 16", "did you mean 'threads'?"),
        ("call: 6 us", "call: 6", "need a duration with its unit, like '2 us'"),
        ("bandwidth: 5 GB/s", "bandwidth: 5 GB", "execution.store.bandwidth"),
        ("64: 1.2 ms", "64: 1.2", "need a duration with its unit"),
        ("64: 1.2 ms", "x: 1.2 ms", "execution.bursts[0].times"),
        ("64: 1.2 ms", "64: 12 us", "times must not fall"),
        ("threads: 16", "threads: 0", "execution.bursts[0].threads"),
        (
            "  bursts:\n    - { chunk: 4 KiB, threads: 16, times: { 64: 1.2 ms, 1: 90 us } }\n",
            "",
            "missing key 'bursts'",
        ),
    ],
)
def test_mistakes_in_the_section_are_told_with_their_place(old: str, new: str, told: str) -> None:
    assert old in SECTION
    with pytest.raises(InvalidInputError) as caught:
        read_hardware(read_source("laptop")[1] + SECTION.replace(old, new), "mine.yaml")
    assert told in str(caught.value)
    assert str(caught.value).startswith("mine.yaml:")
