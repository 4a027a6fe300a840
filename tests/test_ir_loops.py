"""Loops unrolled: the same data flow as a literal interpretation, and no more bytes than that needs."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Carry, Graph, Loop, Op, Tensor, TensorKind
from tierplan.ir.loops import executions, n_executed, unrolled

ACTIVATION, INPUT, OUTPUT, STATE = TensorKind.ACTIVATION, TensorKind.INPUT, TensorKind.OUTPUT, TensorKind.STATE


def tensor(name: str, kind: TensorKind = ACTIVATION, alias: str = "") -> Tensor:
    return Tensor(name, (4,), "float32", kind, alias)


def op(name: str, reads: str, writes: str) -> Op:
    return Op(name, "k", *(tuple(Access(x, 16) for x in names.split()) for names in (reads, writes)))


Value = tuple[object, ...]


def flow(graph: Graph) -> list[tuple[list[tuple[Value, int]], int]]:
    """What each executed operation reads, each value by the execution that made it: the literal interpretation."""
    env: dict[str, Value] = {t.name: ("start", t.name) for t in graph.tensors if t.kind.exists_at_start}
    trace: list[tuple[list[tuple[Value, int]], int]] = []

    def turn(start: int, stop: int, loops: list[Loop]) -> None:
        at = start
        while at < stop:
            starting = [loop for loop in loops if loop.start == at]
            if starting:
                outer = max(starting, key=lambda loop: loop.stop)
                run(outer, [loop for loop in loops if loop is not outer])
                at = outer.stop
                continue
            one = graph.ops[at]
            trace.append(([(env[a.tensor], a.bytes) for a in one.reads], len(one.writes)))
            for place, access in enumerate(one.writes):
                env[access.tensor] = (len(trace) - 1, place, access.bytes)
            at += 1

    def run(loop: Loop, loops: list[Loop]) -> None:
        values = [env[c.initial] for c in loop.carries]
        for _ in range(loop.trips):
            env.update({c.body_in: value for c, value in zip(loop.carries, values, strict=True)})
            turn(loop.start, loop.stop, [x for x in loops if loop.start <= x.start and x.stop <= loop.stop])
            values = [env[c.body_out] for c in loop.carries]
        env.update({c.body_out: value for c, value in zip(loop.carries, values, strict=True)})

    turn(0, len(graph.ops), list(graph.loops))
    return trace


@dataclass
class Draft:
    """A graph while it is drawn."""

    draw: st.DrawFn
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)

    def new(self, kind: TensorKind = ACTIVATION) -> str:
        self.tensors.append(tensor(f"x{len(self.tensors)}", kind))
        return self.tensors[-1].name

    def op(self, known: list[str], stacks: list[str]) -> str:
        reads = self.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        writes = [self.new(), *self.draw(st.lists(st.sampled_from(stacks), max_size=1) if stacks else st.just([]))]
        self.ops.append(op(f"op{len(self.ops)}", " ".join(reads), " ".join(writes)))
        return writes[0]

    def block(self, known: list[str], depth: int, stacks: list[str]) -> list[str]:
        made: list[str] = []
        for _ in range(self.draw(st.integers(1, 3))):
            if depth and self.draw(st.booleans()):
                made += self.loop([*known, *made], depth - 1, stacks)
            else:
                made.append(self.op([*known, *made], stacks))
        return made

    def loop(self, known: list[str], depth: int, stacks: list[str]) -> list[str]:
        initial = self.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
        body_in = [self.new() for _ in initial]
        start, place = len(self.ops), len(self.loops)
        made = self.block([*known, *body_in], depth, stacks)
        could_leave = [*made, *body_in]
        body_out = self.draw(
            st.lists(st.sampled_from(could_leave), min_size=len(initial), max_size=len(initial), unique=True)
        )
        carries = tuple(Carry(*ends) for ends in zip(initial, body_in, body_out, strict=True))
        trips = self.draw(st.integers(0, 3))
        self.loops.insert(place, Loop(f"loop{body_in[0]}", start, len(self.ops), trips, carries))
        return body_out


@st.composite
def looping_graphs(draw: st.DrawFn) -> tuple[Graph, set[str]]:
    """A graph with loops up to three deep, and the names of its stacked results."""
    draft = Draft(draw)
    known = [draft.new(INPUT) for _ in range(draw(st.integers(1, 2)))]
    stacks = [draft.new() for _ in range(draw(st.integers(0, 2)))]
    for stack in stacks:
        draft.ops.append(op(f"begin {stack}", known[0], stack))
    known += draft.block(known, 3, stacks)
    draft.ops.append(op("last", " ".join(dict.fromkeys([*known, *stacks])), draft.new(OUTPUT)))
    return Graph("drawn", tuple(draft.tensors), tuple(draft.ops), tuple(draft.loops)), set(stacks)


@given(looping_graphs())
@settings(max_examples=300, deadline=None)
def test_unrolling_keeps_the_data_flow(case: tuple[Graph, set[str]]) -> None:
    graph, _ = case
    flat = unrolled(graph)
    assert flat.loops == ()
    assert len(flat.ops) == n_executed(graph)
    assert flow(flat) == flow(graph)


@given(looping_graphs())
@settings(max_examples=200, deadline=None)
def test_every_value_has_a_tensor_of_its_own_and_lives_as_long_as_it_is_read(case: tuple[Graph, set[str]]) -> None:
    graph, stacks = case
    flat = unrolled(graph)
    written: dict[str, int] = {}
    last_read: dict[str, int] = {}
    for t, one in enumerate(flat.ops):
        for access in one.writes:
            assert access.tensor not in written or access.tensor in stacks
            written[access.tensor] = t
        for access in one.reads:
            last_read[access.tensor] = t
    literal = {value[0]: t for t, (reads, _) in enumerate(flow(graph)) for value, _ in reads if value[1:2] == (0,)}
    mine = {written[name]: t for name, t in last_read.items() if name in written and name not in stacks}
    assert mine == {t: last for t, last in literal.items() if flat.ops[t].writes[0].tensor not in stacks}


def test_nested_trips_multiply() -> None:
    loops = (Loop("outer", 0, 3, 4), Loop("inner", 1, 3, 5))
    graph = Graph("g", (tensor("x", INPUT),), tuple(op(f"o{i}", "x", "") for i in range(4)), loops)
    assert executions(graph) == [4, 20, 20, 1]
    assert n_executed(graph) == 45
    names = [one.name for one in unrolled(graph).ops]
    assert len(set(names)) == 45
    assert names[:3] == ["o0#0", "o1#0#0", "o2#0#0"]
    assert names[-2:] == ["o2#3#4", "o3"]


def test_a_graph_without_loops_is_returned_as_it_is() -> None:
    graph = Graph("g", (tensor("x", INPUT),), (op("o", "x", ""),))
    assert unrolled(graph) is graph


def carried(trips: int, *, last: TensorKind = OUTPUT) -> Graph:
    """x; then trips times: x = f(x)."""
    return Graph(
        "carried",
        (tensor("x", INPUT), tensor("in"), tensor("out", last)),
        (op("f", "in", "out"),),
        (Loop("loop", 0, 1, trips, (Carry("x", "in", "out"),)),),
    )


def test_only_what_the_last_turn_leaves_is_an_output() -> None:
    flat = unrolled(carried(3))
    assert {t.name: t.kind for t in flat.tensors} == {
        "x": INPUT, "out#0": ACTIVATION, "out#1": ACTIVATION, "out#2": OUTPUT,
    }  # fmt: skip
    assert [[a.tensor for a in one.reads] for one in flat.ops] == [["x"], ["out#0"], ["out#1"]]


def test_a_loop_without_turns_leaves_its_initial_value() -> None:
    graph = Graph(
        "g",
        (tensor("x", INPUT), tensor("y"), tensor("in"), tensor("out"), tensor("z", OUTPUT)),
        (op("make", "x", "y"), op("f", "in", "out"), op("use", "out", "z")),
        (Loop("loop", 1, 2, 0, (Carry("y", "in", "out"),)),),
    )
    flat = unrolled(graph)
    assert [(one.name, one.reads[0].tensor) for one in flat.ops] == [("make", "x"), ("use", "y")]
    assert {t.name for t in flat.tensors} == {"x", "y", "z"}


def test_a_program_of_which_nothing_runs_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="has no operation"):
        unrolled(carried(0))


def test_two_carries_may_leave_the_same_value() -> None:
    graph = Graph(
        "g",
        (tensor("x", INPUT), tensor("y", INPUT), tensor("a"), tensor("b"), tensor("out", OUTPUT)),
        (op("f", "a b", "out"),),
        (Loop("loop", 0, 1, 2, (Carry("x", "a", "out"), Carry("y", "b", "out"))),),
    )
    reads = [[a.tensor for a in one.reads] for one in unrolled(graph).ops]
    assert reads == [["x", "y"], ["out#0", "out#0"]]


def test_carries_may_swap() -> None:
    graph = Graph(
        "fibonacci",
        (tensor("x", INPUT), tensor("y", INPUT), tensor("a"), tensor("b"), tensor("c", OUTPUT)),
        (op("add", "a b", "c"),),
        (Loop("loop", 0, 1, 3, (Carry("x", "a", "b"), Carry("y", "b", "c"))),),
    )
    reads = [[a.tensor for a in one.reads] for one in unrolled(graph).ops]
    assert reads == [["x", "y"], ["y", "c#0"], ["c#0", "c#1"]]


def test_a_stacked_result_stays_one_tensor() -> None:
    graph = Graph(
        "g",
        (tensor("x", INPUT), tensor("t"), tensor("all", OUTPUT)),
        (op("f", "x", "t"), op("put", "t", "all")),
        (Loop("loop", 0, 2, 3),),
    )
    flat = unrolled(graph)
    assert [one.writes[0].tensor for one in flat.ops] == ["t#0", "all", "t#1", "all", "t#2", "all"]
    assert [t.name for t in flat.tensors if t.kind is OUTPUT] == ["all"]


def test_a_state_that_is_updated_in_place_stays_in_its_place() -> None:
    graph = Graph(
        "g",
        (tensor("cache", STATE, "c"), tensor("in", ACTIVATION, "c"), tensor("out", STATE, "c")),
        (op("put", "in", "out"),),
        (Loop("loop", 0, 1, 3, (Carry("cache", "in", "out"),)),),
    )
    assert {t.alias for t in unrolled(graph).tensors} == {"c"}


def test_a_temporary_that_is_updated_in_place_is_one_for_each_turn() -> None:
    graph = Graph(
        "g",
        (tensor("x", INPUT), tensor("a", ACTIVATION, "t"), tensor("b", ACTIVATION, "t")),
        (op("make", "x", "a"), op("change", "a", "b")),
        (Loop("loop", 0, 2, 2),),
    )
    assert {t.name: t.alias for t in unrolled(graph).tensors if t.alias} == {
        "a#0": "t#0", "b#0": "t#0", "a#1": "t#1", "b#1": "t#1",
    }  # fmt: skip


def test_a_carry_in_place_of_an_inner_loop_is_one_for_each_outer_turn() -> None:
    graph = Graph(
        "g",
        (tensor("x", INPUT), tensor("i"), tensor("a", ACTIVATION, "t"), tensor("b", ACTIVATION, "t")),
        (op("make", "x", "i"), op("change", "a", "b")),
        (Loop("outer", 0, 2, 2), Loop("inner", 1, 2, 3, (Carry("i", "a", "b"),))),
    )
    assert {t.alias for t in unrolled(graph).tensors if t.name.startswith("b")} == {"t#0", "t#1"}
