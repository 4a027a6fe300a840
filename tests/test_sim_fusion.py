"""Which regions may fuse, what they hold, and that the search finds the cheapest of all cuts."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from fusion_strategies import all_cuts, border_bytes, graphs, held_bytes, machine
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.einsum.lower import LoweredOp
from tierplan.einsum.parse import parse_cascade
from tierplan.einsum.traversal import walks_of
from tierplan.frontend.config import read_config
from tierplan.frontend.transformer import language_model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind
from tierplan.ir.machine import Machine
from tierplan.ir.regions import Growing, Region
from tierplan.models import load
from tierplan.sim.fusion_forms import Fusable, forms_of, fusable
from tierplan.sim.fusion_price import Prices, prices, served_by_tier
from tierplan.sim.fusion_search import Kernel, cheapest, largest, seconds_of, unfused
from tierplan.sim.fusion_tiling import Tiling

quick = settings(max_examples=100, deadline=None)
SCORES = "rank P = 3, M = 64, E = 5\ninput Q[P, E], K[M, E]\nS[p, m] = Q[p, e] * K[m, e]"
SOFTMAX = """rank P = 3, M = 64
input S[P, M]
output A
GM[p] = max[m] S[p, m]
SN[p, m] = exp(S[p, m] - GM[p])
SD[p] = SN[p, m]
A[p, m] = SN[p, m] / SD[p]"""
DOUBLED = "rank P = 3, M = 64\ninput S[P, M]\nA[p, m] = S[p, m] * 2"
MIXED = "rank P = 3, M = 64, F = 7\ninput A[P, M], V[M, F]\nO[p, f] = A[p, m] * V[m, f]"

Q, K, V, S, OUT, ROW = (4 * n for n in (3 * 5, 64 * 5, 64 * 7, 3 * 64, 3 * 7, 3))  # bytes; ROW: a number per row of S
parsed = cache(lambda text: parse_cascade(f"cascade c\n{text}", "c"))


def attention(middle: str, limit: int) -> Fusable:
    """Scores, something of them, and their product with the values, each an operation."""
    shapes = {"Q": (3, 5), "K": (64, 5), "S": (3, 64), "A": (3, 64), "V": (64, 7), "O": (3, 7)}
    kinds = {"S": TensorKind.ACTIVATION, "A": TensorKind.ACTIVATION, "O": TensorKind.OUTPUT}
    tensors = {n: Tensor(n, shape, "float32", kinds.get(n, TensorKind.WEIGHT)) for n, shape in shapes.items()}
    texts = (("Q K", "S", SCORES), ("S", "A", middle), ("A V", "O", MIXED))
    ops: list[LoweredOp] = []
    for number, (reads, writes, text) in enumerate(texts):
        accesses = (tuple(Access(n, tensors[n].size) for n in names.split()) for names in (reads, writes))
        work = {"matrix_ops": 2000} if number != 1 else {"vector_ops": 1000}
        op = Op(f"op{number}", "einsum", *accesses, **work)
        ops.append(LoweredOp(op, parsed(text), 1))
    graph = Graph("attention", tuple(tensors.values()), tuple(lowered.op for lowered in ops))
    return replace(fusable(graph, machine(), limit), walks=walks_of(ops, tensors), known={})


def along(middle: str, extent: int) -> Tiling:
    """The three operations, cut along the rank of that extent."""
    program = attention(middle, 0)
    (rank,) = (rank for rank in program.walks.shared if rank.extent == extent)
    growing = Growing(program.uses, 0)
    tiling = Tiling(program.walks, growing, rank)
    for number, work in enumerate(program.work_s):
        growing.add()
        tiling.add(number, *work)
    assert tiling.legal
    return tiling


def test_softmax_needs_another_pass_over_its_own_rank() -> None:
    """Along the keys, scores are read again once their maximum is known, exponentials once their sum is."""
    keys = along(SOFTMAX, 64)
    assert keys.n_passes == 3
    assert keys.held == Q + S + S // 64 + S + ROW + ROW + OUT


def test_what_needs_one_pass_holds_slices() -> None:
    keys = along(DOUBLED, 64)
    assert keys.n_passes == 1
    assert keys.held == Q + S // 64 + S // 64 + OUT  # every slice needs Q, and adds to the output


def test_along_the_rows_softmax_is_one_pass() -> None:
    rows = along(SOFTMAX, 3)
    assert rows.n_passes == 1
    assert rows.held == K + V + S // 3 + S // 3
    assert rows.compute_s == pytest.approx(max(4000 / 1e4, 1000 / 5e3))


@pytest.mark.parametrize(("limit", "fuses"), [(2 * S - 4, False), (2 * S, True)])
def test_a_fiber_that_is_needed_again_must_fit(limit: int, *, fuses: bool) -> None:
    """Without room for whole fibers, softmax does not fuse; what needs one pass does in a tenth of that."""
    assert bool(forms_of(attention(SOFTMAX, limit), Region(0, 3))) == fuses
    assert forms_of(attention(DOUBLED, 200), Region(0, 3))
    assert not forms_of(attention(SOFTMAX, 200), Region(0, 3))


def test_ways_to_run_trade_time_for_bytes() -> None:
    forms = forms_of(attention(SOFTMAX, 10**6), Region(0, 3))
    assert [form.slices for form in forms] == [64, 1]
    assert forms[-1].footprint == 2 * S
    assert forms[-1].compute_s == pytest.approx(4000 / 1e4 + 1000 / 5e3)
    for fast, slow in pairwise(forms):
        assert fast.compute_s < slow.compute_s
        assert fast.footprint > slow.footprint


def _gpt2(phase: str) -> Graph:
    return language_model(read_config(load("gpt2"), "gpt2"), phase=phase, batch=1, context=64, dtype="bf16")


def test_attention_over_its_own_tokens_waits_for_all_keys_and_values() -> None:
    graph = _gpt2("prefill")
    attend = next(n for n, op in enumerate(graph.ops) if op.kind == "attention")
    program = fusable(graph, machine(near=10**9), 10**8)
    tokens = next(rank for rank in program.walks.shared if rank.extent == 64 and len(rank.variables) > 20)
    assert tokens.variables[attend] == "p"
    growing = Growing(program.uses, attend - 2)
    tiling = Tiling(program.walks, growing, tokens)
    passes: list[int] = []
    for number in range(attend - 2, attend + 1):
        growing.add()
        tiling.add(number, 0.0, 0.0)
        passes.append(tiling.n_passes)
    assert passes == [1, 1, 2]


@pytest.mark.parametrize("phase", ["prefill", "decode", "train"])
def test_what_is_known_of_one_layer_holds_for_the_others(phase: str) -> None:
    """Forms are looked up by likeness; they are those that every region has by itself."""
    graph = _gpt2(phase)
    chip = machine(near=10**9)
    program = fusable(graph, chip, 2_000_000, most_ops=9)
    largest(program, prices(chip, served_by_tier(program.uses, 1)))
    for start in range(0, min(len(graph.ops) - 6, 60), 7):
        region = Region(start, start + 6)
        fresh = replace(program, known={}, likeness=tuple(range(len(graph.ops))))
        assert forms_of(program, region) == forms_of(fresh, region)


def _seconds(graph: Graph, region: Region, chip: Machine, tier: int) -> float:
    read, written = border_bytes(graph, region)
    members = graph.ops[region.start : region.stop]
    arithmetic = sum(max(op.matrix_ops / 1e4, op.vector_ops / 5e3) for op in members)
    far = chip.tiers[tier]
    return chip.launch_s + max(arithmetic, read / far.read_bandwidth + written / far.write_bandwidth)


@given(st.data(), st.integers(0, 120), st.sampled_from((0.0, 0.01, 1.0)), st.integers(0, 1), st.integers(1, 7))
@quick
def test_the_search_finds_the_cheapest_of_all_cuts(
    data: st.DataObject, limit: int, launch_s: float, tier: int, most: int
) -> None:
    graph = data.draw(graphs())
    chip = machine(launch_s=launch_s)
    program = fusable(graph, chip, limit, most_ops=most)
    price = prices(chip, served_by_tier(program.uses, tier))
    found = cheapest(program, price)

    def may(region: Region) -> bool:
        return region.n_ops == 1 or (region.n_ops <= most and held_bytes(graph, region) <= limit)

    legal = [cut for cut in all_cuts(len(graph.ops)) if all(map(may, cut))]
    costs = [sum(_seconds(graph, region, chip, tier) for region in cut) for cut in legal]
    best = min(costs)
    assert seconds_of(program, price, found) == pytest.approx(best, rel=1e-9)
    ties = [len(cut) for cut, cost in zip(legal, costs, strict=True) if cost <= best * (1 + 1e-12)]
    assert len(found) <= max(ties)
    _check_cut(program, found)
    biggest = largest(program, price)
    _check_cut(program, biggest)
    assert len(biggest) == min(map(len, legal))
    assert [k.region for k in unfused(program)] == all_cuts(len(graph.ops))[-1]


def _check_cut(program: Fusable, kernels: tuple[Kernel, ...]) -> None:
    ends = [0, *(kernel.region.stop for kernel in kernels)]
    assert [(k.region.start, k.region.stop) for k in kernels] == list(pairwise(ends))
    assert ends[-1] == len(program.graph.ops)
    assert all(kernel.form in forms_of(program, kernel.region) for kernel in kernels)


@given(st.integers(0, 4000), st.sampled_from((SOFTMAX, DOUBLED)), st.sampled_from((0.0, 0.05)))
@settings(max_examples=40, deadline=None)
def test_the_search_is_right_where_slices_decide(limit: int, middle: str, launch_s: float) -> None:
    program = attention(middle, limit)
    price = prices(machine(launch_s=launch_s), served_by_tier(program.uses, 1))

    def cost(cut: list[Region]) -> float | None:
        kernels = [min(forms, key=lambda f: f.compute_s) for r in cut if (forms := forms_of(program, r))]
        pairs = tuple(map(Kernel, cut, kernels))
        return seconds_of(program, price, pairs) if len(kernels) == len(cut) else None

    costs = [c for cut in all_cuts(3) if (c := cost(cut)) is not None]
    assert seconds_of(program, price, cheapest(program, price)) == pytest.approx(min(costs))


def test_bad_limits_are_refused() -> None:
    graph = _gpt2("decode")
    with pytest.raises(InvalidInputError, match="need 0 or more"):
        fusable(graph, machine(), -1)
    with pytest.raises(InvalidInputError, match="need 1 or more"):
        fusable(graph, machine(), 1, most_ops=0)


def test_prices_are_those_of_the_tiers() -> None:
    found: Prices = prices(machine(launch_s=2.0), [])
    assert found.read_s == pytest.approx((1e-4, 1e-2))
    assert found.launch_s == 2.0
