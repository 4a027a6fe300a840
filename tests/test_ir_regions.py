"""Fused graphs move what crosses the borders of their regions, and compute what the whole graph did."""

import pytest
from fusion_strategies import border_bytes, cuts, graphs, held_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Carry, Graph, Loop, Op, Tensor, TensorKind
from tierplan.ir.regions import FUSED, Region, border, fused, uses_of

quick = settings(max_examples=150, deadline=None)
ACTIVATION, WEIGHT, STATE, OUTPUT = TensorKind.ACTIVATION, TensorKind.WEIGHT, TensorKind.STATE, TensorKind.OUTPUT


@given(st.data())
@quick
def test_a_fused_graph_moves_what_crosses_borders(data: st.DataObject) -> None:
    graph = data.draw(graphs())
    regions = data.draw(cuts(len(graph.ops)))
    result = fused(graph, regions)
    assert len(result.ops) == len(regions)
    for op, region in zip(result.ops, regions, strict=True):
        read, written = border_bytes(graph, region)
        assert sum(a.bytes for a in op.reads) == read
        assert sum(a.bytes for a in op.writes) == written


@given(st.data())
@quick
def test_operation_counts_stay_what_they_were(data: st.DataObject) -> None:
    graph = data.draw(graphs())
    result = fused(graph, data.draw(cuts(len(graph.ops))))
    assert sum(op.matrix_ops for op in result.ops) == sum(op.matrix_ops for op in graph.ops)
    assert sum(op.vector_ops for op in result.ops) == sum(op.vector_ops for op in graph.ops)


@given(st.data())
@quick
def test_bytes_held_are_those_of_all_that_waits(data: st.DataObject) -> None:
    graph = data.draw(graphs())
    uses = uses_of(graph)
    for region in data.draw(cuts(len(graph.ops))):
        assert border(uses, region).footprint == held_bytes(graph, region)


@given(st.data())
@quick
def test_intermediates_vanish_and_nothing_else_does(data: st.DataObject) -> None:
    graph = data.draw(graphs())
    regions = data.draw(cuts(len(graph.ops)))
    left = {t.name for t in fused(graph, regions).tensors}
    for tensor in graph.tensors:
        touching = {
            n for n, op in enumerate(graph.ops) if any(a.tensor == tensor.name for a in (*op.reads, *op.writes))
        }
        inside = any(r.n_ops > 1 and touching and touching <= set(range(r.start, r.stop)) for r in regions)
        assert (tensor.name not in left) == (inside and tensor.kind is ACTIVATION)


def _op(name: str, reads: dict[str, int], writes: dict[str, int]) -> Op:
    return Op(name, "k", *(tuple(Access(x, n) for x, n in each.items()) for each in (reads, writes)))


def _cache(*, kept: bool) -> Graph:
    tensors = (
        Tensor("x", (4,), "uint8", ACTIVATION),
        Tensor("cache", (100,), "uint8", STATE),
        Tensor("y", (4,), "uint8", OUTPUT if kept else ACTIVATION),
    )
    ops = (
        _op("make", {}, {"x": 4}),
        _op("append", {"x": 4}, {"cache": 4}),
        _op("attend", {"cache": 100}, {"y": 4}),
    )
    return Graph("decode", tensors, ops, cyclic=True)


def test_a_state_that_is_changed_in_part_is_read_and_written_at_the_border() -> None:
    op = fused(_cache(kept=True), [Region(0, 3)]).ops[0]
    assert op.kind == FUSED
    assert {a.tensor: a.bytes for a in op.reads} == {"cache": 100}
    assert {a.tensor: a.bytes for a in op.writes} == {"cache": 4, "y": 4}


def test_what_nobody_reads_is_not_written_by_a_region() -> None:
    graph = _cache(kept=False)
    assert {a.tensor for a in fused(graph, [Region(0, 3)]).ops[0].writes} == {"cache"}
    assert fused(graph, [Region(2, 3)]) == graph


def test_names_of_one_alias_group_are_written_once() -> None:
    tensors = (
        Tensor("a", (10,), "uint8", WEIGHT, alias="g"),
        Tensor("b", (10,), "uint8", ACTIVATION, alias="g"),
        Tensor("c", (10,), "uint8", OUTPUT, alias="g"),
    )
    ops = (_op("first", {"a": 10}, {"b": 10}), _op("second", {"b": 10}, {"c": 10}))
    op = fused(Graph("in place", tensors, ops), [Region(0, 2)]).ops[0]
    assert {a.tensor: a.bytes for a in op.reads} == {"a": 10}
    assert {a.tensor: a.bytes for a in op.writes} == {"b": 0, "c": 10}


def _loop() -> Graph:
    tensors = (
        Tensor("start", (8,), "uint8", WEIGHT), Tensor("at", (8,), "uint8", ACTIVATION),
        Tensor("half", (8,), "uint8", ACTIVATION), Tensor("next", (8,), "uint8", ACTIVATION),
        Tensor("end", (8,), "uint8", OUTPUT),
    )  # fmt: skip
    ops = (
        _op("one", {"at": 8}, {"half": 8}), _op("two", {"half": 8}, {"next": 8}), _op("last", {"next": 8}, {"end": 8}),
    )  # fmt: skip
    return Graph("loop", tensors, ops, loops=(Loop("scan", 0, 2, 3, (Carry("start", "at", "next"),)),))


def test_the_body_of_a_loop_fuses_and_stays_a_loop() -> None:
    result = fused(_loop(), [Region(0, 2)])
    assert [(loop.start, loop.stop, loop.trips) for loop in result.loops] == [(0, 1, 3)]
    assert {a.tensor for a in result.ops[0].writes} == {"next"}
    assert "half" not in {t.name for t in result.tensors}


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([Region(1, 3)], "crosses the border of a loop"),
        ([Region(0, 2), Region(1, 3)], "overlap"),
        ([Region(2, 9)], "beyond the last operation"),
    ],
)
def test_regions_that_are_none_are_refused(regions: list[Region], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        fused(_loop(), regions)
    with pytest.raises(InvalidInputError, match="need 0 <= start < stop"):
        Region(2, 2)
