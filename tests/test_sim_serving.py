"""Serving: the paged cache at any context, sums with bounded errors, held tensors, and fetch beside recompute."""

import json
from collections.abc import Callable

import mixtures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import machine, problem

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.config import read_config
from tierplan.frontend.transformer import language_model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.machine import Link, Tier
from tierplan.ir.plan import Plan, Residency
from tierplan.ir.problem import Problem
from tierplan.pipeline import plan as make_plan
from tierplan.sim.grow import grow
from tierplan.sim.held import held_s
from tierplan.sim.lowering import lower
from tierplan.sim.paged import Growth, Paged, paged
from tierplan.sim.restore import fetch_s, restoring
from tierplan.sim.timeline import simulate

PROMPT, NEW = 50, 40


GEMMA = {
    "model_type": "gemma2", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16", "hidden_activation": "gelu_pytorch_tanh",
}  # fmt: skip


def _graph(context: int, batch: int, window: int | None, *, mixed: bool) -> Graph:
    """A mixture, all of whose layers have the window; or a model in which every other one has."""
    if not mixed:
        return mixtures.graph(context=context, batch=batch, sliding_window=window)
    arch = read_config(json.dumps({**GEMMA, "sliding_window": window}), "small")
    assert isinstance(arch, Architecture)
    return language_model(arch, phase="decode", batch=batch, context=context, dtype=None)


def _paged(
    window: int | None, n_groups: int = 4, batch: int = 2, *, mixed: bool = False
) -> tuple[Paged, Callable[[int], Problem]]:
    def turn(context: int) -> Problem:
        return lower(_graph(context, batch, window, mixed=mixed), mixtures.machine())

    growth = Growth(PROMPT, NEW)
    rows = {
        t.name: t.shape[-2] for t in _graph(growth.last, batch, window, mixed=mixed).tensors if t.kind.name == "STATE"
    }
    return paged(turn(PROMPT + 1), turn(growth.last), growth, rows, n_groups), turn


def _by_step(of: Problem, amounts: np.ndarray) -> np.ndarray:
    return np.bincount(of.access_step, amounts, minlength=of.n_steps)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("window", [None, 70, 30])
def test_the_turn_at_a_context_is_the_one_that_the_graph_gives(window: int | None, mixed: bool) -> None:
    pages, turn = _paged(window, mixed=mixed)
    for context in (51, 60, 64, 65, 71, 89):
        ours, theirs = pages.turn(context), turn(context)
        assert _by_step(ours, ours.access_read) == pytest.approx(_by_step(theirs, theirs.access_read), abs=8)
        assert _by_step(ours, ours.access_write) == pytest.approx(_by_step(theirs, theirs.access_write), abs=8)
        assert ours.compute_s == pytest.approx(theirs.compute_s, rel=1e-3)


@pytest.mark.parametrize("window", [None, 70, 30])
def test_the_mean_turn_has_the_mean_of_all_loads_and_the_room_of_the_last(window: int | None) -> None:
    pages, turn = _paged(window)
    turns = [pages.turn(context) for context in range(PROMPT + 1, PROMPT + NEW)]
    for field in ("access_read", "access_write", "compute_s"):
        mean = np.mean([getattr(t, field) for t in turns], axis=0)
        assert getattr(pages.mean(), field) == pytest.approx(mean, abs=1.0, rel=1e-9)
    last = turn(PROMPT + NEW - 1)
    assert int(pages.problem.size.sum()) == int(last.size.sum())
    groups = [part for part in pages.parts.values() if part.cache == next(iter(pages.parts.values())).cache]
    assert [part.begin for part in groups[1:]] == [part.end for part in groups[:-1]]
    assert len(groups) == (4 if window != 30 else 2)
    held = sum(part.bytes_at(60) for part in pages.parts.values())
    states = turn(60)
    assert held == pytest.approx(
        sum(int(n) for n, k in zip(states.size, states.tensor_kind, strict=True) if k == "state")
    )


def test_caches_of_several_lengths_grow_each_to_its_own() -> None:
    pages, _ = _paged(70, mixed=True)
    assert pages.limits == (70,)
    ends: dict[str, int] = {}
    for part in pages.parts.values():
        ends[part.cache] = max(ends.get(part.cache, 0), part.end)
    assert sorted(ends.values()) == [70] * 4 + [89] * 4
    at_80 = {cache: sum(p.bytes_at(80) for p in pages.parts.values() if p.cache == cache) for cache in ends}
    assert {at_80[cache] / ends[cache] for cache in ends if ends[cache] == 70} == {2 * 2 * 8 * 2}
    assert {at_80[cache] / 80 for cache in ends if ends[cache] == 89} == {2 * 2 * 8 * 2}


def test_groups_that_nothing_is_appended_to_are_only_read() -> None:
    pages, _ = _paged(None)
    written = pages.problem.access_tensor[pages.problem.access_write > 0]
    for x, name in enumerate(pages.problem.tensor_names):
        if name in pages.parts:
            assert (x in written) == (pages.parts[name].end > PROMPT)


def test_a_service_of_no_decode_turn_is_refused() -> None:
    for prompt, new in ((0, 5), (5, 1), (-1, 5)):
        with pytest.raises(InvalidInputError, match="new tokens"):
            Growth(prompt, new)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.integers(2, 30), st.floats(0.001, 0.5))
@settings(deadline=None)
def test_sums_are_off_by_at_most_what_is_said(rises: list[float], most: int, error: float) -> None:
    times = np.cumsum(rises)
    grown = grow(lambda c: float(times[c - 7]), 7, 6 + len(times), error=error, most_points=most)
    assert abs(grown.total_s - times.sum()) <= grown.error_s + 1e-9 * times.sum()
    assert grown.n_points <= max(2, most)
    assert grown.error_s <= error * grown.total_s + 1e-12 or grown.n_points == most
    exact = grow(lambda c: float(times[c - 7]), 7, 6 + len(times), error=0.0, most_points=1000)
    assert exact.total_s == pytest.approx(times.sum())
    assert (exact.first_s, exact.last_s) == (times[0], times[-1])


def test_sums_need_a_range() -> None:
    with pytest.raises(InvalidInputError, match="contexts"):
        grow(float, 5, 4, error=0.1, most_points=9)


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_held_tensors_take_the_time_of_the_plan_that_holds_them(phase: str) -> None:
    on = mixtures.machine(near=60_000)
    of = lower(mixtures.graph(phase=phase, context=16), on)
    outcome = make_plan(of, on, planner="greedy")
    assert outcome.plan is not None
    assert not outcome.plan.copies
    tiers = {r.tensor: r.tier for r in outcome.plan.residencies}
    shares = np.eye(of.n_tiers)[[tiers[x] for x in range(of.n_tensors)]]
    assert len(set(tiers.values())) == 2
    assert held_s(of, shares).sum() == pytest.approx(simulate(of, outcome.plan).time_s, rel=1e-9)


def test_what_operations_cannot_use_moves_through_the_nearest_tier() -> None:
    of = problem(["read w, produce y"], {"w": 60, "y": 20}, home=["w"])
    in_flash = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    # flash -> dram at 1 B/s, dram -> sram at 10 B/s: 60 s of the flash and its link
    assert held_s(of, in_flash).tolist() == [60.0]
    half = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    assert held_s(of, half).tolist() == [pytest.approx((30 + 20) / 10)]
    in_sram = Plan((Residency(0, 0, 0, 0, 1), Residency(1, 0, 60, 0, 1)))
    assert held_s(of, np.array([[1.0, 0, 0]] * 2)).sum() == simulate(of, in_sram).time_s


def test_what_is_written_takes_the_bandwidth_of_writing_and_crosses_the_link() -> None:
    fast, slow = Tier("fast", 1000, 100.0, 50.0), Tier("slow", 1000, 10.0, 5.0, write_link="down")
    links = (Link("up", "slow", "fast", 10.0), Link("down", "fast", "slow", 2.0))
    of = problem(["read w, produce y"], {"w": 60, "y": 20}, home=["w"], on=machine((fast, slow), links, "slow"))
    assert held_s(of, np.array([[1.0, 0.0], [1.0, 0.0]])).tolist() == [pytest.approx(60 / 100 + 20 / 50)]
    assert held_s(of, np.array([[0.0, 1.0], [0.0, 1.0]])).tolist() == [pytest.approx(60 / 10 + 20 / 5)]
    assert held_s(of, np.array([[1.0, 0.0], [0.0, 1.0]])).tolist() == [pytest.approx(20 / 2)]


def test_fetching_loses_to_reading_again_where_the_lines_cross() -> None:
    of = problem(["read w"], {"w": 10}, home=["w"], on=machine())
    assert fetch_s(of, 1, 100.0) == pytest.approx(10.0)
    assert fetch_s(of, 2, 100.0) == pytest.approx(100.0)

    def again(context: int) -> float:  # 5 s, then 0.5 s a position, and faster than linear in the end
        return 5 + 0.5 * context + 0.0005 * context**2

    rows = restoring(of, 100, lambda c: 1.0 * c, again, (1, 16, 64, 256, 1024, 4096))
    assert [row.tier for row in rows] == ["dram", "flash"]
    dram, flash = rows
    assert (dram.below, dram.breaks, dram.faster) == ("fetch", (), "fetch")
    # 1 s a position beside 5 + 0.5 c + 0.0005 c^2: equal at 10.1 and at 989.9
    assert (flash.below, flash.faster) == ("fetch", "recompute")
    assert [b.from_here for b in flash.breaks] == ["recompute", "fetch"]
    assert [b.context for b in flash.breaks] == [pytest.approx(11, abs=1), pytest.approx(990, rel=0.03)]
