"""Graphs lowered to problems, against computations by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import small
from hypothesis import given, settings
from test_ir_loops import looping_graphs

from tierplan.ir.graph import Access, Carry, Graph, Loop, Op, Tensor, TensorKind
from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.problem import NO_HOME, Keep, Mode, Problem
from tierplan.sim.lowering import lower

ACTIVATION, CONSTANT, INPUT = TensorKind.ACTIVATION, TensorKind.CONSTANT, TensorKind.INPUT
OUTPUT, STATE, WEIGHT = TensorKind.OUTPUT, TensorKind.STATE, TensorKind.WEIGHT

FAST = Tier("fast", 10**6, 1e9, 1e9)
SLOW = Tier("slow", 10**9, 1e8, 1e8)
UP = Link("up", "slow", "fast", 1e8)
MACHINE = Machine(
    "two",
    Unit("matrix", {"bfloat16": 1e12, "float32": 2e11}, energy_j=1e-12),
    Unit("vector", {"float32": 1e10}, energy_j=3e-12),
    (FAST, SLOW),
    (UP,),
    home="slow",
)


def tensor(name: str, kind: TensorKind, n: int = 100, alias: str = "") -> Tensor:
    return Tensor(name, (n,), "uint8", kind, alias)


def op(name: str, reads: dict[str, int], writes: dict[str, int], matrix: int = 0, vector: int = 0) -> Op:
    accesses = [tuple(Access(x, b) for x, b in part.items()) for part in (reads, writes)]
    return Op(name, "k", accesses[0], accesses[1], matrix, vector)


def uses(problem: Problem) -> list[list[tuple[str, Mode, int, int]]]:
    """Per step: tensor, mode, bytes read, bytes written."""
    rows = [
        (problem.tensor_names[x], Mode(m), r, w)
        for x, m, r, w in zip(
            problem.access_tensor.tolist(), problem.access_mode.tolist(),
            problem.access_read.tolist(), problem.access_write.tolist(), strict=True,
        )
    ]  # fmt: skip
    return [rows[a:b] for a, b in itertools.pairwise(problem.access_start.tolist())]


def test_a_chain_by_hand() -> None:
    graph = Graph(
        "chain",
        (tensor("w", WEIGHT, 1000), tensor("x", INPUT), tensor("h", ACTIVATION, 50), tensor("y", OUTPUT, 10),
         tensor("unused", WEIGHT)),
        (op("first", {"w": 1000, "x": 100}, {"h": 50}, matrix=2 * 10**8, vector=10**7),
         op("second", {"h": 50}, {"y": 10}, vector=10**8)),
        tokens=3,
    )  # fmt: skip
    p = lower(graph, MACHINE)
    assert p.tensor_names == ("w", "x", "h", "y")
    assert p.tensor_kind == ("weight", "input", "activation", "output")
    assert p.size.tolist() == [1000, 100, 50, 10]
    assert p.home.tolist() == [1, 1, NO_HOME, NO_HOME]
    assert p.keep.tolist() == [Keep.NOTHING, Keep.NOTHING, Keep.NOTHING, Keep.SOMEWHERE]
    assert p.step_names == ("first", "second")
    assert (p.tokens, p.cyclic, p.notes) == (3, False, ())
    # float32: the matrix unit needs 2e8 / 2e11 = 1 ms, the vector unit 1e7 / 1e10 = 1 ms; they work side by side.
    assert p.compute_s == pytest.approx([1e-3, 1e-2])
    assert p.compute_j == pytest.approx([2e8 * 1e-12 + 1e7 * 3e-12, 1e8 * 3e-12])
    assert uses(p) == [
        [("w", Mode.READ, 1000, 0), ("x", Mode.READ, 100, 0), ("h", Mode.PRODUCE, 0, 50)],
        [("h", Mode.READ, 50, 0), ("y", Mode.PRODUCE, 0, 10)],
    ]
    assert [a.tolist() for a in p.lifespans()] == [[0, 0, 0, 1], [1, 1, 2, 2]]


@pytest.mark.parametrize(
    ("dtype", "seconds"),
    [("bfloat16", 1e-3), ("float32", 5e-3), ("int8", 1e-3), ("float16", 1e-3), ("float64", 1e-2)],
)
def test_a_dtype_without_a_peak_runs_as_the_narrowest_that_holds_it(dtype: str, seconds: float) -> None:
    one = replace(op("f", {"x": 100}, {}, matrix=10**9), dtype=dtype)
    assert lower(Graph("g", (tensor("x", INPUT),), (one,)), MACHINE).compute_s == pytest.approx([seconds])


def test_energy_is_not_known_where_the_machine_does_not_tell() -> None:
    silent = replace(MACHINE, matrix=replace(MACHINE.matrix, energy_j=None))
    graph = Graph("g", (tensor("x", INPUT),), (op("f", {"x": 1}, {}, matrix=1), op("g", {"x": 1}, {}, vector=1)))
    assert np.isnan(lower(graph, silent).compute_j).tolist() == [True, False]


def test_a_donated_argument_and_the_result_that_replaces_it_are_one_state() -> None:
    graph = Graph(
        "step",
        (tensor("w", WEIGHT, 100, "w"), tensor("g", INPUT), tensor("w_new", OUTPUT, 100, "w")),
        (op("sgd", {"w": 100, "g": 100}, {"w_new": 100}),),
    )
    p = lower(graph, MACHINE)
    assert p.tensor_names == ("w", "g")
    assert p.tensor_kind == ("state", "input")
    assert p.keep.tolist() == [Keep.HOME, Keep.NOTHING]
    assert uses(p) == [[("w", Mode.UPDATE, 100, 100), ("g", Mode.READ, 100, 0)]]


def test_modes() -> None:
    graph = Graph(
        "modes",
        (tensor("s", STATE), tensor("t", STATE), tensor("u", STATE), tensor("a", ACTIVATION), tensor("x", INPUT)),
        (
            op("part", {"x": 1}, {"s": 10}),  # a part of what exists: an update
            op("whole", {"x": 1}, {"t": 100}),  # all of it, unread: produced anew
            op("in place", {"u": 100}, {"u": 100}),
            op("make", {"x": 1}, {"a": 10}),  # the first write of what did not exist, whole or not
            op("more", {"x": 1}, {"a": 10}),
            op("again", {"x": 1}, {"a": 100}),
            op("read", {"a": 100}, {}),
        ),
    )
    p = lower(graph, MACHINE)
    last = [step[-1] for step in uses(p)]
    assert last == [
        ("s", Mode.UPDATE, 0, 10), ("t", Mode.PRODUCE, 0, 100), ("u", Mode.UPDATE, 100, 100),
        ("a", Mode.PRODUCE, 0, 10), ("a", Mode.UPDATE, 0, 10), ("a", Mode.PRODUCE, 0, 100), ("a", Mode.READ, 100, 0),
    ]  # fmt: skip
    keep = dict(zip(p.tensor_names, p.keep.tolist(), strict=True))
    assert keep == {"s": Keep.HOME, "t": Keep.HOME, "u": Keep.HOME, "a": Keep.NOTHING, "x": Keep.NOTHING}


def test_what_is_read_twice_by_one_step_is_one_access() -> None:
    graph = Graph("g", (tensor("x", INPUT),), (op("f", {"x": 60}, {}),))
    twice = replace(graph.ops[0], reads=(Access("x", 60), Access("x", 40)))
    assert uses(lower(replace(graph, ops=(twice,)), MACHINE)) == [[("x", Mode.READ, 100, 0)]]


def test_a_state_that_is_only_read_need_not_reach_its_home() -> None:
    p = lower(Graph("g", (tensor("s", STATE),), (op("f", {"s": 1}, {}),)), MACHINE)
    assert p.keep.tolist() == [Keep.NOTHING]


@pytest.mark.parametrize(("kind", "other"), [(WEIGHT, INPUT), (INPUT, CONSTANT), (WEIGHT, CONSTANT)])
def test_the_kind_of_a_group_does_not_depend_on_the_order_of_its_members(kind: TensorKind, other: TensorKind) -> None:
    members = (tensor("a", kind, 100, "g"), tensor("b", other, 100, "g"))
    f = op("f", {"a": 1, "b": 1}, {})
    kinds = {lower(Graph("g", order, (f,)), MACHINE).tensor_kind for order in (members, members[::-1])}
    assert kinds == {(kind.value,)}


@pytest.mark.parametrize(
    ("capacities", "scratch", "home", "n_bytes", "expected"),
    [
        ((100, 200, 400), 0, "t0", 100, 0),
        ((100, 200, 400), 0, "t0", 101, 1),
        ((100, 200, 400), 0, "t1", 50, 1),
        ((100, 200, 400), 50, "t1", 151, 2),
        ((100, 200, 400), 0, "t1", 401, 2),
        ((100, 400, 200), 0, "t0", 300, 1),
    ],
)
def test_the_home_is_that_of_the_machine_or_the_next_slower_that_holds_all(
    capacities: tuple[int, ...], scratch: int, home: str, n_bytes: int, expected: int
) -> None:
    tiers = tuple(Tier(f"t{i}", size, 1e9, 1e9, scratch=scratch) for i, size in enumerate(capacities))
    machine = replace(MACHINE, tiers=tiers, links=(), home=home)
    p = lower(Graph("g", (tensor("x", INPUT, n_bytes),), (op("f", {"x": 1}, {}),)), machine)
    assert p.home.tolist() == [expected]


def test_margins_let_copies_run_before_the_first_and_after_the_last_operation() -> None:
    graph = Graph("g", (tensor("x", INPUT),), (op("f", {"x": 1}, {}),))
    assert lower(graph, small.machine()).step_names == ("begin", "f", "end")
    assert lower(replace(graph, cyclic=True), small.machine()).step_names[0] == "f"
    assert lower(graph, MACHINE).step_names == ("f",)


def test_operations_named_like_the_margins_are_no_trouble() -> None:
    graph = Graph("g", (tensor("x", INPUT),), (op("begin", {"x": 1}, {}), op("end", {"x": 1}, {})))
    assert lower(graph, small.machine()).n_steps == 4


def looping(trips: int) -> Graph:
    """h = x; then trips times: h = f(w, h), stack += h; then y = g(stack)."""
    return Graph(
        "looping",
        (tensor("w", WEIGHT), tensor("x", INPUT), tensor("in", ACTIVATION), tensor("out", ACTIVATION),
         tensor("stack", ACTIVATION, 100 * trips), tensor("y", OUTPUT)),
        (op("f", {"w": 100, "in": 100}, {"out": 100}, matrix=10**8),
         op("put", {"out": 100}, {"stack": 100}, vector=10**6),
         op("g", {"stack": 100 * trips}, {"y": 100}, vector=10**7)),
        (Loop("loop", 0, 2, trips, (Carry("x", "in", "out"),)),),
    )  # fmt: skip


def test_a_loop_that_is_not_unrolled_keeps_its_carry_in_one_place() -> None:
    p = lower(looping(7), MACHINE, max_unrolled=5)
    assert p.notes == ("1 loops are not unrolled: all turns of an operation are one step",)
    assert p.n_steps == 3
    assert p.tensor_names == ("w", "x", "stack", "y")
    assert uses(p)[0] == [("w", Mode.READ, 700, 0), ("x", Mode.UPDATE, 700, 700)]
    assert uses(p)[1] == [("x", Mode.READ, 700, 0), ("stack", Mode.PRODUCE, 0, 700)]
    assert p.compute_s == pytest.approx([7 * 5e-4, 7 * 1e-4, 1e-3])


def test_carries_that_swap_keep_a_place_each() -> None:
    graph = Graph(
        "fibonacci",
        (tensor("x", INPUT), tensor("y", INPUT), tensor("a", ACTIVATION), tensor("b", ACTIVATION), tensor("c", OUTPUT)),
        (op("add", {"a": 100, "b": 100}, {"c": 100}),),
        (Loop("loop", 0, 1, 9, (Carry("x", "a", "b"), Carry("y", "b", "c"))),),
    )
    p = lower(graph, MACHINE, max_unrolled=3)
    assert uses(p) == [[("x", Mode.READ, 900, 0), ("y", Mode.UPDATE, 900, 900)]]


def totals(p: Problem) -> tuple[float, float, int, int]:
    return float(p.compute_s.sum()), float(p.compute_j.sum()), int(p.access_read.sum()), int(p.access_write.sum())


@pytest.mark.parametrize("trips", [1, 2, 9])
def test_unrolled_or_multiplied_the_totals_are_the_same(trips: int) -> None:
    flat, thick = lower(looping(trips), MACHINE), lower(looping(trips), MACHINE, max_unrolled=0)
    assert (flat.n_steps, thick.n_steps) == (2 * trips + 1, 3)
    assert totals(flat) == pytest.approx(totals(thick))


@given(looping_graphs())
@settings(max_examples=100, deadline=None)
def test_drawn_loops_give_the_same_totals(case: tuple[Graph, set[str]]) -> None:
    graph = case[0]
    costly = replace(graph, ops=tuple(replace(one, matrix_ops=10**6 * i) for i, one in enumerate(graph.ops)))
    assert totals(lower(costly, MACHINE)) == pytest.approx(totals(lower(costly, MACHINE, max_unrolled=0)))


def test_streamed_operations_are_noted() -> None:
    graph = Graph("g", (tensor("x", INPUT),), (replace(op("f", {"x": 1}, {}), kind="sort", streamed=True),))
    assert lower(graph, MACHINE).notes == ("costed by their bytes alone: sort",)
