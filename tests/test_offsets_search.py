"""The exact search: right on small problems, whatever rules prune it, and each rule prunes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offset_oracle import buffers_of, full_rectangle, is_legal, least_height, problems

from tierplan.planner import _kernels as kernels
from tierplan.planner.offset_bounds import lower_bound
from tierplan.planner.offset_cpsat import Verdict, ask
from tierplan.planner.offset_orders import order_by, rank_of
from tierplan.planner.offset_problem import blocks_of, by_time, sections_of
from tierplan.planner.offset_search import ALL_RULES, End, Rules, Searcher, part_of

# Without these two the search builds permutations of one allocation, or tries beyond the capacity: slow, not wrong.
ALWAYS = Rules.CANONICAL


def run(buffers, capacity, rules=ALL_RULES, n_nodes=2_000_000, shuffle=None):
    b, _ = by_time(blocks_of(buffers))
    part = part_of(b)
    searcher = Searcher(part)
    rank = rank_of(order_by(part.keys.total, part.keys.width, part.keys.area))
    searcher.restart(rank if shuffle is None else np.random.default_rng(shuffle).permutation(len(rank)))
    end = End.EXHAUSTED if capacity // b.unit < b.height.max() else searcher.run(capacity // b.unit, n_nodes, rules)
    offset = searcher.offset[b.of] * b.unit if end is End.SOLVED else None
    return end, offset, searcher.n_nodes


@settings(max_examples=150, deadline=None)
@given(problems(alignments=(1, 1, 2, 3)))
def test_the_least_height_is_found_and_one_less_is_exhausted(buffers):
    least = least_height(buffers)
    end, offset, _ = run(buffers, least)
    assert end is End.SOLVED
    assert is_legal(buffers, offset, least)
    assert run(buffers, least - 1)[0] is End.EXHAUSTED


@settings(max_examples=150, deadline=None)
@given(problems(most=8, steps=8), st.integers(0, 3), st.integers(0, int(ALL_RULES)))
def test_no_set_of_rules_changes_the_answer(buffers, extra, bits):
    b, _ = by_time(blocks_of(buffers))
    capacity = lower_bound(b, sections_of(b)) * b.unit + extra
    expected, _, _ = run(buffers, capacity)
    end, offset, _ = run(buffers, capacity, ALWAYS | Rules(bits))
    assert end is expected
    assert end is not End.SOLVED or is_legal(buffers, offset, capacity)


@pytest.mark.parametrize("high", range(1 << 5))
def test_the_whole_lattice_of_rules_agrees(high):
    for bits in range(high << 5, (high + 1) << 5):
        for seed, n, less in ((3, 9, 0), (3, 9, 1)):
            buffers = full_rectangle(seed, n, steps=8, height=16)
            end, offset, _ = run(buffers, 16 - less, Rules(bits) | ALWAYS)
            assert end is (End.EXHAUSTED if less else End.SOLVED)
            assert less or is_legal(buffers, offset, 16)


def hopeless_part():
    """An easy part and one whose alignment makes it impossible, joined by a long buffer at the bottom."""
    easy = [(0, 4, 2), (2, 8, 3), (5, 10, 2), (9, 12, 4), (3, 11, 1), (8, 18, 2), (13, 18, 3)]
    hopeless = [(20, 30, 3), (20, 30, 3), (22, 31, 3)]
    rows = [(0, 40, 2), *easy, *hopeless]
    return buffers_of(rows, alignment=[2] + [1] * len(easy) + [2] * len(hopeless)), 12


def passed_over(seed):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 12, 20)
    buffers = buffers_of(np.stack((start, start + rng.integers(1, 6, 20), rng.integers(1, 9, 20)), 1))
    b, _ = by_time(blocks_of(buffers))
    return buffers, lower_bound(b, sections_of(b))


BARE = Rules.CANONICAL | Rules.INFERENCE | Rules.FLOOR
PROBLEMS = [
    hopeless_part(),
    *(passed_over(seed) for seed in range(12)),
    *((full_rectangle(seed, 30, steps=20, height=24), 24) for seed in range(12)),
]


@pytest.mark.parametrize("rule", list(Rules))
def test_each_rule_shrinks_the_search(rule):
    # Beside all others these see little that the others do not see: they stand alone.
    alone = rule in (Rules.DOMINANCE, Rules.DECOMPOSITION, Rules.HATLESS, Rules.REACHABLE)
    others = BARE if alone else ALL_RULES & ~rule
    with_rule, without = 0, 0
    for seed, (buffers, capacity) in enumerate(PROBLEMS):
        end, _, nodes = run(buffers, capacity, others | rule, 5_000, shuffle=seed)
        other, _, more = run(buffers, capacity, others, 5_000, shuffle=seed)
        assert End.PAUSED in (end, other) or end is other
        with_rule, without = with_rule + nodes, without + more
    assert with_rule < without


@settings(max_examples=40, deadline=None)
@given(problems(most=9, steps=7, alignments=(1, 2)), st.integers(0, 4))
def test_cp_sat_agrees(buffers, extra):
    b, _ = by_time(blocks_of(buffers))
    capacity = lower_bound(b, sections_of(b)) + extra
    answer = ask(b, capacity, hint=None, seed=0, limit_s=20.0, wall_s=60.0)
    end, _, _ = run(buffers, capacity * b.unit)
    assert (answer.verdict is Verdict.FITS) == (end is End.SOLVED)
    if answer.verdict is Verdict.FITS:
        assert is_legal(buffers, answer.offset[b.of] * b.unit, capacity * b.unit)


@settings(max_examples=60, deadline=None)
@given(problems(most=7, steps=7), st.data())
def test_gaps_aliases_and_fixed_offsets_agree_with_cp_sat(plain, data):
    n = len(plain)
    fixed = data.draw(st.lists(st.sampled_from([-1, -1, -1, 0, 2, 5]), min_size=n, max_size=n))
    alias = data.draw(st.lists(st.sampled_from([-1, -1, 0, 1]), min_size=n, max_size=n))
    fixed = [f if a < 0 else -1 for f, a in zip(fixed, alias, strict=True)]
    gaps = [
        (i, int(plain.start[i]) + 1, int(plain.stop[i]) - 1, 0, 0)
        for i in range(n)
        if plain.stop[i] - plain.start[i] > 2 and data.draw(st.booleans())
    ]
    rows = np.stack((plain.start, plain.stop, plain.size), 1)
    buffers = buffers_of(rows, fixed=fixed, alias=alias, gaps=gaps)
    b, _ = by_time(blocks_of(buffers))
    capacity = lower_bound(b, sections_of(b)) + data.draw(st.integers(0, 2))
    answer = ask(b, capacity, hint=None, seed=0, limit_s=20.0, wall_s=60.0)
    end, offset, _ = run(buffers, capacity * b.unit)
    assert (answer.verdict is Verdict.FITS) == (end is End.SOLVED)
    assert end is not End.SOLVED or is_legal(buffers, offset, capacity * b.unit)


def test_a_paused_search_goes_on_where_it_stopped():
    buffers = full_rectangle(5, 24)
    _, whole, nodes = run(buffers, 64)
    b, _ = by_time(blocks_of(buffers))
    part = part_of(b)
    searcher = Searcher(part)
    searcher.restart(rank_of(order_by(part.keys.total, part.keys.width, part.keys.area)))
    while searcher.run(64 // b.unit, 7) is End.PAUSED:
        pass
    assert searcher.n_nodes == nodes
    assert (searcher.offset[b.of] * b.unit == whole).all()


# Each rule alone beside the ones that it builds on, without one, and all.
SETS = [*(BARE | rule for rule in Rules), *(ALL_RULES & ~rule for rule in Rules if rule not in ALWAYS), ALL_RULES]


def few_solutions(seed):
    """A problem that leaves no byte to spare: (buffers, the least height)."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 13))
    if seed % 3 == 0:
        height = int(rng.integers(4, 15)) if seed % 2 else int(rng.choice((64, 128, 192)))
        return full_rectangle(seed, n, steps=int(rng.integers(4, 10)), height=height), height
    start = rng.integers(0, 8, n)
    rows = np.stack((start, start + rng.integers(1, 7, n), rng.integers(1, 8, n)), 1)
    align = [int(a) for a in rng.choice((1, 1, 1, 2, 3), n)] if seed % 3 == 1 else 1
    buffers = buffers_of(rows, alignment=align)
    b, _ = by_time(blocks_of(buffers))
    least = lower_bound(b, sections_of(b)) * b.unit
    while run(buffers, least, BARE)[0] is not End.SOLVED:
        least += b.unit
    return buffers, least


@pytest.mark.parametrize("batch", range(8))
def test_no_rule_cuts_off_the_last_allocation(batch):
    # At the least height few allocations are left, so that a rule that sees one byte too much loses them; one
    # searcher goes through many orders, so that what it remembers of one must hold in the next.
    for seed in range(500 * batch, 500 * (batch + 1)):
        buffers, least = few_solutions(seed)
        b, _ = by_time(blocks_of(buffers))
        searcher, rng = Searcher(part_of(b)), np.random.default_rng(seed)
        for tried in range(8):
            rules = (ALL_RULES, SETS[(seed + tried) % len(SETS)], BARE | Rules.NOGOODS)[tried % 3]
            less = int(tried == 4)
            searcher.restart(rng.permutation(len(b.height)))
            end = searcher.run(least // b.unit - less, 300_000, rules)
            assert end is (End.EXHAUSTED if less else End.SOLVED), (seed, rules)
            assert less or is_legal(buffers, searcher.offset[b.of] * b.unit, least)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.booleans(), st.data())
def test_the_sums_of_blocks_are_all_sums(heights, whole_words, data):
    if whole_words:
        heights = [*heights, -sum(heights) % 64 + 64]
    b = blocks_of(buffers_of([(0, 1, h) for h in heights]))
    searcher = Searcher(part_of(b))
    searcher.restart(np.arange(len(heights)))
    placed = set(data.draw(st.lists(st.integers(0, len(heights) - 1))))
    unplaced = [int(h) for i, h in enumerate(b.height) if i not in placed]
    state = searcher._state
    state.placed[list(placed)] = 1
    measure = int(np.gcd.reduce(unplaced)) if unplaced else 1
    n_words = sum(unplaced) // measure // 64 + 1
    kernels._subset_sums(searcher._shape, state, 0, measure, n_words)
    bits = {64 * w + k for w in range(n_words) for k in range(64) if int(state.sums[w]) >> k & 1}
    sums = {0}
    for h in unplaced:
        sums |= {x + h // measure for x in sums}
    assert bits == sums
