"""What more of each resource brings: scaled problems, prices of the relaxation, and plans for larger machines."""

import numpy as np
import pytest
import small
from report_plans import chain

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Alternative, Choice, Effect, Problem
from tierplan.ir.scaled import Quantity, Resource, resources, scaled
from tierplan.planner.flow_solve import relax
from tierplan.planner.flow_value import marginal_seconds
from tierplan.sim.timeline import simulate
from tierplan.what_if import resource_name, what_helps


def pressed(seed: int) -> Problem:
    return small.training(4, seed)


def test_scaling_changes_one_thing() -> None:
    effect = Effect(0, 2.0, (1, 0, 0), (0, 0, 0), (0, 0, 0))
    choice = Choice("c", (Alternative("a", (0, 0, 0), (effect,)),))
    problem = small.problem(["read w"], {"w": 10}, home=["w"], compute_s=[4.0], choices=[choice])
    names = [resource_name(r) for r in resources(problem)]
    assert names[:3] == ["compute rate", "sram capacity", "sram bandwidth"]
    assert names[-1] == "link load bandwidth"
    faster = scaled(problem, Resource(Quantity.COMPUTE, 0, "compute"), 2.0)
    assert faster.compute_s[0] == 2.0
    assert faster.choices[0].alternatives[0].effects[0].compute_s == 1.0
    larger = scaled(problem, Resource(Quantity.CAPACITY, 0, "sram"), 1.5)
    assert (larger.tiers.capacity[0], larger.tiers.usable[0]) == (1500, 1400)
    assert larger.tiers.capacity[0] % larger.tiers.alignment[0] == 0
    wider = scaled(problem, Resource(Quantity.BANDWIDTH, 1, "dram"), 2.0)
    assert (wider.tiers.read_bandwidth[1], wider.tiers.write_bandwidth[1]) == (20.0, 20.0)
    assert wider.links.bandwidth.tolist() == problem.links.bandwidth.tolist()
    link = scaled(problem, Resource(Quantity.LINK, 2, "load"), 3.0)
    assert link.links.bandwidth.tolist() == [10.0, 10.0, 3.0]
    assert problem.links.bandwidth.tolist() == [10.0, 10.0, 1.0]
    with pytest.raises(InvalidInputError, match="factor of 0"):
        scaled(problem, resources(problem)[0], 0)
    with pytest.raises(InvalidInputError, match="kept for tiles"):
        scaled(problem, Resource(Quantity.CAPACITY, 0, "sram"), 0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_prices_are_how_fast_the_relaxation_falls(seed: int) -> None:
    """Beside the relaxation solved again with a little more, and a little less, of the resource."""
    problem = pressed(seed)
    prices = marginal_seconds(problem, 30.0)
    assert prices
    assert max(prices.values()) > 0
    bound_s, step = relax(problem, 20.0).bound_s, 0.004
    for resource, price in prices.items():
        if resource.quantity is Quantity.CAPACITY:
            continue  # of so small a machine, capacities step by whole alignments
        more, less = (relax(scaled(problem, resource, 1 + s), 20.0).bound_s for s in (step, -step))
        slopes = sorted(((bound_s - more) / step, (less - bound_s) / step))
        slack = 0.05 * bound_s
        assert slopes[0] - slack <= price <= slopes[1] + slack, resource_name(resource)


def test_the_price_of_room_is_what_a_byte_nearer_saves() -> None:
    """30 of 60 weights fit in sram; one more byte there is read at 100 B/s in place of 10."""
    weights = {f"w{i}": 30 for i in range(60)}
    problem = small.problem([f"read {name}" for name in weights], weights, home=list(weights), cyclic=True)
    prices = marginal_seconds(problem, 30.0)
    assert prices[Resource(Quantity.CAPACITY, 0, "sram")] == pytest.approx(1000 * (1 / 10 - 1 / 100), rel=0.02)
    assert prices[Resource(Quantity.CAPACITY, 1, "dram")] == 0
    assert prices[Resource(Quantity.BANDWIDTH, 1, "dram")] == pytest.approx(900 / 10, rel=0.01)


def test_room_for_no_further_whole_tensor_has_no_price() -> None:
    """Four weights of 200 B fit in 900 B, and in a little more."""
    weights = {f"w{i}": 200 for i in range(8)}
    problem = small.problem([f"read {name}" for name in weights], weights, home=list(weights), cyclic=True)
    assert marginal_seconds(problem, 30.0)[Resource(Quantity.CAPACITY, 0, "sram")] == 0


def test_helps_are_sorted_and_agree_with_the_simulator() -> None:
    problem, plan = chain(8)
    time_s = simulate(problem, plan).time_s
    done: list[int] = []
    helps = what_helps(problem, plan, time_s, 6.0, done.append)
    assert len(done) == len(helps) == len(resources(problem))
    assert [each.most_s for each in helps] == sorted((each.most_s for each in helps), reverse=True)
    for each in helps:
        again = simulate(scaled(problem, each.resource, 2.0), plan).time_s
        assert each.same_s == pytest.approx(max(0.0, time_s - again))
        if each.replanned_s is not None:
            assert each.replanned_s >= each.same_s - 1e-9
    assert np.isfinite(helps[0].most_s)
    assert helps[0].most_s > 0


def test_no_time_leaves_out_what_takes_time() -> None:
    problem, plan = chain(8)
    helps = what_helps(problem, plan, simulate(problem, plan).time_s, 1e-9, lambda _done: None)
    assert {each.tenth_s for each in helps} == {None}
    assert {each.replanned_s for each in helps} == {None}
