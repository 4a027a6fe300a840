"""Collectives take the time that closed forms give."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.hardware.load import load_machine
from tierplan.ir.collectives import Collective, collective_of, communicates
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Op
from tierplan.ir.machine import Network
from tierplan.sim.collectives import collective_s
from tierplan.sim.cost import compute_s

H100 = load_machine("h100")


def machine(latency_s=0.0, ring=False):
    networks = (Network("near", 8, 100e9, latency_s, ring), Network("far", 64, 10e9, 10 * latency_s))
    return dataclasses.replace(H100, networks=networks, calibration=None)


@given(st.integers(2, 8), st.integers(0, 10**9))
@settings(deadline=None)
def test_a_long_sum_takes_two_shares_less_than_the_array_twice(n, n_bytes):
    found = collective_s(Collective("all_reduce", n_bytes, n), machine())
    assert found == pytest.approx(2 * (n - 1) / n * n_bytes / 100e9)


def test_a_short_sum_is_sent_at_once():
    small, large = (collective_s(Collective("all_reduce", b, 8), machine(2e-6)) for b in (1000, 10**8))
    assert small == pytest.approx(2e-6 + 7 * 1000 / 100e9)
    assert large == pytest.approx(2 * 2e-6 + 2 * 7 / 8 * 10**8 / 100e9)


def test_in_a_ring_each_step_takes_its_latency():
    assert collective_s(Collective("all_reduce", 800, 8), machine(1e-6, ring=True)) == pytest.approx(14e-6 + 14e-9)
    assert collective_s(Collective("all_gather", 800, 8), machine(1e-6, ring=True)) == pytest.approx(7e-6 + 7e-9)
    assert collective_s(Collective("send", 800, 2), machine(1e-6, ring=True)) == pytest.approx(1e-6 + 8e-9)


def test_a_transfer_is_counted_where_it_is_sent():
    assert collective_s(Collective("send", 10**9, 2), machine(1e-6)) == pytest.approx(1e-6 + 0.01)
    assert collective_s(Collective("receive", 10**9, 2), machine(1e-6)) == 0
    assert collective_s(Collective("all_to_all", 8 * 10**9, 8), machine()) == pytest.approx(0.07)


def test_a_group_uses_the_smallest_network_that_joins_it():
    assert Collective("send", 1, 2, stride=8).reach == 9
    assert collective_s(Collective("send", 10**9, 2, stride=7), machine()) == pytest.approx(0.01)
    assert collective_s(Collective("send", 10**9, 2, stride=8), machine()) == pytest.approx(0.1)
    with pytest.raises(InvalidInputError, match="join 64 devices at most; 65 are needed"):
        collective_s(Collective("all_reduce", 1, 65), machine())
    with pytest.raises(InvalidInputError, match="machine 'laptop' has no 'interconnect' in its hardware file"):
        collective_s(Collective("all_reduce", 1, 2), load_machine("laptop"))


def test_an_operation_that_is_a_collective_takes_its_time():
    op = Op("all_reduce x", "all_reduce", (), (), vector_ops=10**15, attributes={"bytes": 8, "devices": 2, "stride": 1})
    assert collective_of(op) == Collective("all_reduce", 8, 2)
    assert compute_s(op, machine()) == pytest.approx(8 / 100e9)
    assert collective_of(Op("add", "add", (), ())) is None
    assert not communicates("launch all_reduce x")
    assert not communicates("model.layers.0.add")


@pytest.mark.parametrize(
    ("kind", "n_bytes", "devices"), [("all_sum", 1, 2), ("all_reduce", -1, 2), ("all_reduce", 1, 1)]
)
def test_impossible_collectives_are_refused(kind, n_bytes, devices):
    with pytest.raises(InvalidInputError):
        Collective(kind, n_bytes, devices)
