"""Counts of a loop nest equal those of walking it, on random mappings and on every built-in specification."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spatial_walk import Walked, group_cycles, walk, walk_registers

from tierplan.einsum.parse import parse_cascade
from tierplan.ir.errors import InvalidInputError
from tierplan.sim.spatial_bind import bind, place, rank_sizes
from tierplan.sim.spatial_cost import compute_cycles, einsum_cost
from tierplan.sim.spatial_machine import Array, Memory, SpatialMachine, load_spatial
from tierplan.sim.spatial_mapping import Bound, Choice, Group, Held, Order, Phase, Specification
from tierplan.sim.spatial_nest import Level, Traffic, register_traffic, traffic
from tierplan.sim.spatial_read import load_specification, names
from tierplan.sim.spatial_search import evaluate

NAMES = {Level.DRAM: "dram", Level.BUFFER: "buffer", Level.EDGE: "edge", Level.REGISTERS: "registers"}


def small(machine: SpatialMachine, columns: int = 4, rows: int = 2, buffer_bytes: int = 1 << 20) -> SpatialMachine:
    """The machine with small arrays."""
    arrays = {
        name: replace(array, columns=columns, rows=1 if array.rows == 1 else rows)
        for name, array in machine.arrays.items()
    }
    return replace(machine, arrays=arrays, buffer_bytes=buffer_bytes)


def as_walked(moved: list[Traffic]) -> dict[tuple[str, str, str], int]:
    """Counts in the walker's words, registers' own left out."""
    found: dict[tuple[str, str, str], int] = {}
    for each in moved:
        for what, n in (("reads", each.reads), ("fills", each.fills), ("updates", each.updates)):
            key = (each.tensor, NAMES[each.level], what)
            if n:
                found[key] = found.get(key, 0) + n
    return found


def outside_registers(walked: Walked) -> dict[tuple[str, str, str], int]:
    return {key: n for key, n in walked.moved.items() if key[1] != "registers" and n}


MATMUL = parse_cascade("cascade c\ninput A[K, M], B[K, N]\nZ[m, n] = A[k, m] * B[k, n]\n", "c")
ELEMENT = Memory(2, 1e-12, 1e-12)
UNIT = {"multiply-accumulate": ("mac", 1), "multiply": ("mac", 1)}


@st.composite
def mapped_matmuls(draw: st.DrawFn) -> tuple[Specification, SpatialMachine, dict[str, int], Choice]:
    """A product on a small array, in any loop order, tensors at any levels."""
    sizes = {rank: 2 ** draw(st.integers(0, 3)) for rank in ("K", "M", "N", "B")}
    outer = draw(st.permutations(["m", "n", "k"]).map(tuple))
    inner = draw(st.permutations(["m", "n", "k"]).map(tuple))
    outer = ("b", *outer[: draw(st.integers(0, 3))])
    columns, rows = draw(st.permutations(["m", "n", "k"]))[:2]
    order = Order(outer, inner, draw(st.sampled_from([None, columns])), draw(st.sampled_from([None, rows])))
    places = {level: tuple(Held(t) for t in "ABZ" if draw(st.booleans())) for level in ("buffer", "edge")}
    dram = tuple(Held(t) for t in "ABZ" if draw(st.booleans()))
    bound = Bound("Z", "2d", {"default": order}, dram, places["buffer"], places["edge"])
    phase = Phase((bound,), (Group(("Z",)),))
    spec = Specification("s", "", MATMUL, "none", ("B",), {}, (phase,))
    array = Array("2d", 2 ** draw(st.integers(0, 2)), 2 ** draw(st.integers(0, 2)), 4, ELEMENT, UNIT)
    machine = SpatialMachine("m", 1e9, 2, ELEMENT, ELEMENT, 1 << 30, {"2d": array}, {"mac": 1e-12})
    tiles = {v: 2 ** draw(st.integers(0, int(math.log2(sizes[v.upper()])))) for v in order.tiled}
    return spec, machine, sizes, Choice(tiles)


@given(mapped_matmuls())
@settings(max_examples=250, deadline=None)
def test_counts_equal_a_literal_walk(case: tuple[Specification, SpatialMachine, dict[str, int], Choice]) -> None:
    spec, machine, sizes, choice = case
    phase = spec.phases[0]
    (placed,) = place(spec, phase, machine, sizes)
    try:
        nest = bind(placed, None, choice.tiles, choice.on_chip)
    except InvalidInputError:
        assume(False)
        raise
    array = machine.arrays["2d"]
    walked = walk(spec, phase.bound[0], MATMUL.einsums[0], sizes, choice, array.columns, array.rows)
    assert nest.nest.n_steps == walked.steps
    assert nest.nest.n_elements == walked.elements
    counted = [each for operand in nest.operands for each in traffic(nest.nest, operand)]
    assert as_walked(counted) == outside_registers(walked)
    for operand in nest.operands:
        registers = register_traffic(nest.nest, operand)
        counts = (registers.reads, registers.fills, registers.updates)
        assert counts == walk_registers(nest.nest, operand), operand


SHAPES = [
    {"B": 1, "H": 2, "E": 4, "F": 4, "M": 8, "P": 8},
    {"B": 2, "H": 1, "E": 2, "F": 6, "M": 4, "P": 16},
    {"B": 1, "H": 1, "E": 8, "F": 2, "M": 16, "P": 4},
]


@pytest.mark.parametrize("name", [n for n in names() if n != "matmul"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("buffer_bytes", [10**6, 600])
def test_specifications_cost_what_walking_them_costs(name: str, shape: dict[str, int], buffer_bytes: int) -> None:
    """Traffic, cycles and latency of whole cascades, head widths and lengths other than the published ones."""
    spec = replace(load_specification(name), given=(), overflows=frozenset(), fits_in=None)
    machine = small(load_spatial(spec.hardware), buffer_bytes=buffer_bytes)
    mapped = evaluate(spec, machine, shape)
    ranks = rank_sizes(spec, machine, shape)
    einsums = {einsum.name: einsum for einsum in spec.cascade.einsums}
    latency_s = 0.0
    for phase, choice, cost in zip(spec.phases, mapped.choices, mapped.cost.phases, strict=True):
        cycles: dict[str, int] = {}
        steps: dict[str, int] = {}
        values = buffered = 0
        for bound in phase.bound:
            array = machine.arrays[bound.array]
            walked = walk(spec, bound, einsums[bound.einsum], ranks, choice, array.columns, array.rows)
            values += sum(n for (_, level, _), n in walked.moved.items() if level == "dram")
            buffered += sum(n for (_, level, _), n in walked.moved.items() if level == "buffer")
            per_point = next(e.bound.cycles for e in cost.einsums if e.name == bound.einsum)
            cycles[bound.einsum], steps[bound.einsum] = walked.steps * per_point, walked.steps
        assert cost.dram_bytes == values * machine.value_bytes
        arrays = {bound.einsum: bound.array for bound in phase.bound}
        drains = {e: n * machine.arrays[arrays[e]].rows for e, n in steps.items()}
        busy = group_cycles(phase, cycles, arrays, drains)
        assert compute_cycles(phase, cost.einsums) == busy
        assert cost.footprint <= buffer_bytes
        latency_s += max(
            busy / machine.clock,
            values * machine.value_bytes / machine.dram.bandwidth,
            buffered * machine.value_bytes / machine.buffer.bandwidth,
        )
    assert mapped.cost.latency_s == pytest.approx(latency_s, rel=1e-12)


def test_a_share_that_spills_crosses_dram_at_every_access() -> None:
    """A row of scores is written, read for the maximum, for exp, and so on: seven crossings of the share."""
    spec = load_specification("flat")
    machine = load_spatial("flat-cloud")
    sizes = {"B": 1, "H": 1, "E": 64, "F": 64, "M": 1024, "P": 1024}
    choice = Choice({"p": 1024}, frozenset({"QK", "A"}), {}, 0.25)
    ranks = rank_sizes(spec, machine, sizes)

    def bytes_with(share: float) -> float:
        placed = place(spec, spec.phases[0], machine, ranks)
        nests = [bind(each, None, choice.tiles, choice.on_chip) for each in placed]
        return sum(einsum_cost(machine, nest, spec.overflows, share).dram_bytes for nest in nests)

    assert bytes_with(0.25) - bytes_with(0.0) == pytest.approx(0.25 * 7 * 1024 * 1024 * 2, rel=1e-12)


def test_a_tile_occupies_the_most_that_any_einsum_needs() -> None:
    """Scores of a whole tile of queries, though softmax takes one row at a time; SN and A overwrite them."""
    sizes = {"B": 2, "H": 3, "E": 64, "F": 64, "M": 2048, "P": 1024}
    choice = Choice({"p": 512}, frozenset({"QK", "A", "K"}))
    cost = evaluate(load_specification("flat"), load_spatial("flat-cloud"), sizes, choices=(choice,)).cost
    scores, keys, maximum, total = 512 * 2048, 64 * 2048, 1, 1
    assert cost.footprint == 2 * (scores + keys + maximum + total)
