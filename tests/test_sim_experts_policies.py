"""Cache policies: equal to their definitions, Belady optimal, planned between LRU and Belady."""

from collections.abc import Iterator

import numpy as np
import pytest
from cache_oracle import least_loads, slow_loads
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.experts_tiers import ExpertTier, copy_bound_s, look_up
from tierplan.sim.experts_trace import Demand, generate_requests, generate_routing
from tierplan.sim.replacement import Accesses, Policy, next_uses, serve

N_ITEMS = 7
step_sets = st.lists(st.sets(st.integers(0, N_ITEMS - 1), max_size=4), max_size=14)
capacities = st.integers(0, N_ITEMS)


@given(step_sets, capacities, st.sampled_from((Policy.LRU, Policy.LFU, Policy.BELADY)))
@settings(max_examples=300, deadline=None)
def test_policies_are_what_their_definitions_say(steps: list[set[int]], capacity: int, policy: Policy) -> None:
    run = serve(Accesses.of(steps, N_ITEMS), capacity, policy)
    assert list(run.loads_per_step) == slow_loads(steps, capacity, policy)
    assert run.n_loads >= run.cold


@given(step_sets, capacities, st.sets(st.integers(0, N_ITEMS - 1), max_size=3))
@settings(max_examples=200, deadline=None)
def test_pins_stay_for_good(steps: list[set[int]], capacity: int, pins: set[int]) -> None:
    accesses = Accesses.of(steps, N_ITEMS)
    room = capacity - max((len(step - pins) for step in steps), default=0)
    for policy in (Policy.PINNED, Policy.PLANNED):
        if pins and len(pins) > max(0, room):
            with pytest.raises(InvalidInputError, match="pin at most"):
                serve(accesses, capacity, policy, sorted(pins))
            continue
        run = serve(accesses, capacity, policy, sorted(pins))
        twin = Policy.PINNED if policy is Policy.PINNED else Policy.LRU
        assert list(run.loads_per_step) == slow_loads(steps, capacity, twin, pins)
        loads_of_pins = np.isin(accesses.items[run.loaded], sorted(pins)).sum()
        assert loads_of_pins == len(pins & set().union(*steps))


@given(st.lists(st.sets(st.integers(0, 4), max_size=3), max_size=8), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_no_cache_loads_less_than_belady(steps: list[set[int]], capacity: int) -> None:
    assert serve(Accesses.of(steps, 5), capacity, Policy.BELADY).n_loads == least_loads(steps, capacity)


@given(step_sets, capacities)
@settings(max_examples=300, deadline=None)
def test_planned_lies_between_belady_and_every_other(steps: list[set[int]], capacity: int) -> None:
    accesses = Accesses.of(steps, N_ITEMS)
    loads = {policy: serve(accesses, capacity, policy).n_loads for policy in Policy}
    assert loads[Policy.BELADY] <= loads[Policy.PLANNED]
    assert loads[Policy.PLANNED] <= min(loads[Policy.LRU], loads[Policy.LFU], loads[Policy.PINNED])


@pytest.mark.parametrize("skew", [0.0, 0.6, 1.2])
@pytest.mark.parametrize("stay", [0.0, 0.5])
def test_order_of_policies_on_long_traces(skew: float, stay: float) -> None:
    requests = generate_requests(Demand(skew, stay), 3000, 60, seed=3).accesses()
    routing = generate_routing(Demand(skew, stay), 300, 1, 60, 6, seed=4).accesses(0, parallel=2)
    for accesses in (requests, routing):
        loads = {policy: serve(accesses, 20, policy).n_loads for policy in Policy}
        assert loads[Policy.BELADY] <= loads[Policy.PLANNED]
        assert loads[Policy.PLANNED] <= min(loads[Policy.LRU], loads[Policy.LFU], loads[Policy.PINNED])
        assert loads[Policy.BELADY] < loads[Policy.LRU]


def _hierarchies() -> Iterator[tuple[Accesses, tuple[ExpertTier, ...]]]:
    for seed in range(120):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 20))
        demand = Demand(float(rng.choice([0, 0.5, 1, 2])), float(rng.choice([0, 0.3, 0.7])))
        routing = generate_routing(demand, int(rng.integers(5, 120)), 1, n, min(3, n), seed)
        small, large = sorted(rng.integers(0, n + 1, size=2).tolist())
        slow = float(rng.choice([200.0, 90.0, 10.0, 1.0]))
        below = (ExpertTier("ddr", large * 10, bandwidth=100.0), ExpertTier("flash", n * 10, bandwidth=slow))
        yield routing.accesses(0, int(rng.integers(1, 4))), (ExpertTier("hbm", small * 10), *below)


def test_planned_lies_between_belady_and_every_other_in_seconds_over_several_tiers() -> None:
    gains = 0
    for accesses, tiers in _hierarchies():
        copy_s = {p: float(look_up(accesses, tiers, 10, p).copy_s(tiers, 10).sum()) for p in Policy}
        assert copy_bound_s(accesses, tiers, 10) <= copy_s[Policy.BELADY] + 1e-9
        assert copy_s[Policy.BELADY] <= copy_s[Policy.PLANNED] + 1e-9
        assert copy_s[Policy.PLANNED] <= min(copy_s[p] for p in (Policy.LRU, Policy.LFU, Policy.PINNED)) + 1e-9
        gains += copy_s[Policy.PLANNED] < copy_s[Policy.LRU]
    assert gains > 20


def test_with_one_cache_the_bound_on_copies_is_what_belady_takes() -> None:
    for accesses, (fast, _, home) in _hierarchies():
        tiers = (fast, home)
        belady = look_up(accesses, tiers, 10, Policy.BELADY)
        assert copy_bound_s(accesses, tiers, 10) == pytest.approx(float(belady.copy_s(tiers, 10).sum()))
        loads = {p: look_up(accesses, tiers, 10, p).runs[0].n_loads for p in Policy}
        assert loads[Policy.BELADY] <= loads[Policy.PLANNED] <= min(loads[Policy.LRU], loads[Policy.LFU])


def test_planning_takes_no_pins_where_popularity_changes() -> None:
    accesses = Accesses.of([[0], [1]] * 10 + [[2], [3]] * 9, n_items=4)
    assert serve(accesses, 3, Policy.PLANNED, pins=[0, 1]).n_loads == 20
    planned = serve(accesses, 3, Policy.PLANNED)
    assert planned.n_loads == serve(accesses, 3, Policy.LRU).n_loads == 4


def test_planning_pins_gains_where_popularity_is_steady() -> None:
    accesses = generate_requests(Demand(skew=1.0), 5000, 100, seed=5).accesses()
    planned, lru = serve(accesses, 20, Policy.PLANNED), serve(accesses, 20, Policy.LRU)
    assert planned.n_loads < 0.9 * lru.n_loads
    assert planned.pins


def test_capacity_for_all_leaves_only_cold_loads() -> None:
    accesses = generate_requests(Demand(), 500, 30).accesses()
    for policy in (Policy.LRU, Policy.LFU, Policy.BELADY, Policy.PLANNED, Policy.PINNED):
        run = serve(accesses, 31, policy)
        assert run.n_loads == run.cold == 30
        assert run.hit_rate == pytest.approx(1 - 30 / 500)


@given(step_sets)
@settings(deadline=None)
def test_next_uses_and_missed_accesses(steps: list[set[int]]) -> None:
    accesses = Accesses.of(steps, N_ITEMS)
    flat = [(t, item) for t, step in enumerate(steps) for item in sorted(step)]
    expected = [min((u for u, other in flat if u > t and other == item), default=len(steps)) for t, item in flat]
    assert list(next_uses(accesses)) == expected
    run = serve(accesses, 3, Policy.LRU)
    assert list(np.diff(run.missed.start)) == list(run.loads_per_step)


@pytest.mark.parametrize(
    ("start", "items"),
    [([0, 1], []), ([1, 1], [0]), ([0, 2, 1, 3], [0, 1, 2]), ([0, 1], [9]), ([0, 2], [1, 0]), ([0, 2], [1, 1])],
)
def test_nonsense_accesses_are_refused(start: list[int], items: list[int]) -> None:
    with pytest.raises(InvalidInputError):
        Accesses(3, np.array(start, dtype=np.int64), np.array(items, dtype=np.int64))


def test_other_nonsense_is_refused() -> None:
    accesses = Accesses.of([[0]], 3)
    with pytest.raises(InvalidInputError, match="did you mean 'belady'"):
        Policy.of("beladi")
    with pytest.raises(InvalidInputError, match="places"):
        serve(accesses, -1, Policy.LRU)
    for pins in ([0, 0], [5]):
        with pytest.raises(InvalidInputError, match="different items"):
            serve(accesses, 3, Policy.PINNED, pins)
