"""Read a jaxpr into one flat block: calls inlined, views resolved, loops kept with their trips, branches chosen."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from jax.extend import core

from tierplan.frontend.jaxpr_attributes import attributes_of, layout_of, literal_of
from tierplan.frontend.jaxpr_block import (
    Count,
    Kernel,
    Literal,
    LoopCarry,
    Operand,
    Repeat,
    Shape,
    Source,
    Stack,
    Step,
    Value,
    cost_of,
    live,
    results_of,
    whole,
)
from tierplan.frontend.jaxpr_counts import count
from tierplan.frontend.jaxpr_region import Region, made_here, stored
from tierplan.frontend.jaxpr_trips import constant_trips
from tierplan.frontend.jaxpr_views import view
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Attribute

_NOT_CALLS = frozenset((
    "reduce", "reduce_window", "reduce_precision", "custom_linear_solve", "pallas_call", "shard_map", "run_state",
))  # fmt: skip


class Inliner:
    """One reading of one jaxpr: counts its loops, collects its constants, knows the notes that hold at present."""

    def __init__(self, trips: int, chances: Mapping[str, tuple[float, ...]] | None = None) -> None:
        self.constants: list[Value] = []
        self.joined: list[tuple[Value, Value]] = []
        self.unused = set(chances or ())
        self._chances = chances or {}
        self._trips = trips
        self._n_loops: dict[str, int] = {}
        self._notes: dict[str, Attribute] = {}

    def read(
        self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[Source | None], region: Region
    ) -> list[Source | None]:
        """Put the equations of `jaxpr` into `region`; the sources of its results, None for one without memory."""
        sources = [*(self.constant(value) for value in consts), *operands]
        return self._body(jaxpr, sources, region)

    def constant(self, value: Any) -> Source:
        """An array that the program captured: a constant, or a literal when it is a scalar."""
        layout = layout_of(value if hasattr(value, "dtype") else np.asarray(value))
        shape, dtype = layout or ((0,), "bool")
        if shape == ():
            return Literal(literal_of(value), dtype)
        self.constants.append(Value(shape, dtype))
        return whole(self.constants[-1])

    def _body(self, jaxpr: Any, sources: Sequence[Source | None], region: Region) -> list[Source | None]:
        env: dict[Any, Source | None] = dict(zip([*jaxpr.constvars, *jaxpr.invars], sources, strict=True))

        def source(atom: Any) -> Source | None:
            if isinstance(atom, core.Literal):
                return self._literal(atom)
            return env[atom]

        for equation in jaxpr.eqns:
            operands = [source(atom) for atom in equation.invars]
            with self._noted(_scope(equation, self._notes)):
                results = self._equation(equation, operands, region)
            env.update(zip(equation.outvars, results, strict=True))
        return [source(atom) for atom in jaxpr.outvars]

    def _literal(self, atom: Any) -> Source:
        layout = layout_of(atom.aval)
        if layout and layout[0]:
            return self.constant(atom.val)
        return Literal(literal_of(atom.val), layout[1] if layout else "bool")

    @contextmanager
    def _noted(self, notes: Mapping[str, Attribute]) -> Generator[None]:
        before = self._notes
        self._notes = {**before, **notes}
        try:
            yield
        finally:
            self._notes = before

    def _equation(self, equation: Any, sources: list[Source | None], region: Region) -> Sequence[Source | None]:
        primitive, params = equation.primitive.name, equation.params
        operands = [source for source in sources if source is not None]
        layouts = [layout_of(variable.aval) for variable in equation.outvars]
        seen = view(primitive, operands, layouts, attributes_of(params))
        if seen is not None:
            return seen
        if primitive == "scan":
            return self._scan(params, operands, layouts, region)
        if primitive == "while":
            return self._while(params, operands, region)
        if primitive == "cond":
            return self._cond(params, operands, region)
        found = called(equation)
        if found is not None:
            jaxpr, consts = found
            return self.read(jaxpr, consts, sources, region)
        return self._step(primitive, operands, layouts, attributes_of(params), region)

    def _step(
        self,
        primitive: str,
        operands: Sequence[Source],
        layouts: Sequence[tuple[Shape, str] | None],
        attributes: Mapping[str, Attribute],
        region: Region,
    ) -> list[Source | None]:
        results = [None if layout is None else Value(*layout) for layout in layouts]
        made = tuple(result for result in results if result is not None)
        counted = count(primitive, operands, made, attributes)
        region.put(Kernel((Step(primitive, tuple(operands), made, attributes, counted, self._notes),)))
        return [None if result is None else whole(result) for result in results]

    def _loop_name(self, kind: str) -> str:
        self._n_loops[kind] = self._n_loops.get(kind, -1) + 1
        return f"{kind}.{self._n_loops[kind]}"

    def _scan(
        self, params: Mapping[str, Any], operands: list[Source], layouts: list[Any], region: Region
    ) -> list[Source | None]:
        n_consts, n_carries, trips = params["num_consts"], params["num_carry"], int(params["length"])
        consts, initial, stacks = operands[:n_consts], operands[n_consts:][:n_carries], operands[n_consts + n_carries :]
        if trips == 0:
            empty = [self._step("empty", [], [layout], {}, region)[0] for layout in layouts[n_carries:]]
            return [*initial, *empty]
        name, reverse = self._loop_name("scan"), bool(params["reverse"])
        slices = [cast("Operand", stack).at_turn(name, reverse) for stack in stacks]
        closed, body = params["jaxpr"], Region()
        entering, carried = self._enter(closed.jaxpr, n_consts, initial, range(n_carries), 0)
        outs = self.read(closed.jaxpr, closed.consts, [*consts, *entering, *slices], body)
        carries, after = self._leave(initial, carried, outs[:n_carries], body, region)
        taken: set[Value] = {value for made in body.nodes if isinstance(made, Repeat) for value in results_of(made)}
        written: list[Stack] = []
        stacked: list[Source | None] = []
        for element, layout in zip(outs[n_carries:], layouts[n_carries:], strict=True):
            if element is None or layout is None:
                stacked.append(None)
                continue
            value = Value(*layout)
            written.append(Stack(value, made_here(element, body, taken, self._notes)))
            stacked.append(whole(value))
        region.put(
            Repeat(name, trips, reverse, tuple(body.nodes), tuple(carries), tuple(written), tuple(body.controls))
        )
        return [*after, *stacked]

    def _enter(
        self, jaxpr: Any, first: int, initial: Sequence[Source], carried: range, first_out: int
    ) -> tuple[list[Source], dict[int, Value]]:
        """What the body reads for each carry: a value of its own, or the initial one where no turn changes it."""
        entering: list[Source] = []
        values: dict[int, Value] = {}
        for index in carried:
            if jaxpr.outvars[first_out + index] is jaxpr.invars[first + index]:
                entering.append(initial[index])
                continue
            values[index] = Value(initial[index].shape, initial[index].dtype)
            entering.append(whole(values[index]))
        return entering, values

    def _leave(
        self,
        initial: Sequence[Source],
        carried: Mapping[int, Value],
        outs: Sequence[Source | None],
        body: Region,
        region: Region,
    ) -> tuple[list[LoopCarry], list[Source | None]]:
        carries: list[LoopCarry] = []
        after: list[Source | None] = list(initial)
        taken: set[Value] = set()
        for index, body_in in carried.items():
            out = outs[index]
            if out is None:
                after[index] = None
                continue
            made = made_here(out, body, taken, self._notes)
            carries.append(LoopCarry(stored(initial[index], region, self._notes), body_in, made.value))
            after[index] = made
        return carries, after

    def _while(self, params: Mapping[str, Any], operands: list[Source], region: Region) -> list[Source | None]:
        condition, closed = params["cond_jaxpr"], params["body_jaxpr"]
        n_condition, n_body = params["cond_nconsts"], params["body_nconsts"]
        outer = operands[:n_condition], operands[n_condition:][:n_body]
        initial = operands[n_condition + n_body :]
        found = constant_trips(condition.jaxpr, closed.jaxpr, outer[0], n_body, initial)
        notes: dict[str, Attribute] = {} if found is not None else {"trips_assumed": self._trips}
        trips = self._trips if found is None else found
        if trips == 0:
            return list(initial)
        name, body = self._loop_name("while"), Region()
        entering, carried = self._enter(closed.jaxpr, n_body, initial, range(len(initial)), 0)
        with self._noted(notes):
            decides = self.read(condition.jaxpr, condition.consts, [*outer[0], *entering], body)
            body.controls.extend(control for control in decides if isinstance(control, Operand))
            outs = self.read(closed.jaxpr, closed.consts, [*outer[1], *entering], body)
            carries, after = self._leave(initial, carried, outs, body, region)
        region.put(Repeat(name, trips, False, tuple(body.nodes), tuple(carries), (), tuple(body.controls)))
        return after

    def _cond(self, params: Mapping[str, Any], operands: list[Source], region: Region) -> list[Source | None]:
        index, *rest = operands
        if isinstance(index, Operand):
            region.controls.append(index)
        name = self._loop_name("cond")
        if name in self._chances:
            return self._weighed(name, params["branches"], rest, region)
        tried: list[tuple[tuple[int, int], Region, list[Source | None]]] = []
        for number, branch in enumerate(params["branches"]):
            inner = Region()
            with self._noted({"branch": number, "n_branches": len(params["branches"])}):
                outs = self.read(branch.jaxpr, branch.consts, rest, inner)
            needed = {out.value for out in (*outs, *inner.controls) if isinstance(out, Operand)}
            tried.append((cost_of(live(inner.nodes, needed)), inner, outs))
        _, chosen, outs = max(tried, key=lambda trial: trial[0])
        for node in chosen.nodes:
            region.put(node)
        region.controls.extend(chosen.controls)
        return outs

    def _weighed(
        self, name: str, branches: Sequence[Any], operands: list[Source], region: Region
    ) -> list[Source | None]:
        """All branches one after the other, each weighed by its probability; they leave their results in one place."""
        chances = self._chances[name]
        self.unused.discard(name)
        if len(chances) != len(branches):
            raise InvalidInputError(f"{name} has {len(branches)} branches; {len(chances)} probabilities are given")
        outer = float(cast("float", self._notes.get("probability", 1.0)))
        parts: list[list[Operand | None]] = []
        for number, (branch, chance) in enumerate(zip(branches, chances, strict=True)):
            if chance == 0:
                continue
            told: dict[str, Attribute] = {"branch": number, "n_branches": len(branches), "probability": outer * chance}
            with self._noted(told):
                inner = Region()
                outs = self.read(branch.jaxpr, branch.consts, operands, inner)
                taken: set[Value] = set()
                parts.append([None if out is None else made_here(out, inner, taken, self._notes) for out in outs])
            for node in inner.nodes:
                region.put(node)
            region.controls.extend(inner.controls)
        return [self._one_of(name, list(places), region) for places in zip(*parts, strict=True)]

    def _one_of(self, name: str, places: Sequence[Operand | None], region: Region) -> Source | None:
        """The result of whichever branch was taken: the bytes that all of them write."""
        values = [place.value for place in places if place is not None]
        if len(values) < 2:
            return whole(values[0]) if values else None
        made = Value(values[0].shape, values[0].dtype)
        self.joined.extend((made, value) for value in values)
        attributes: dict[str, Attribute] = {"read_bytes": (0,) * len(values), "update_bytes": 0, "of": name}
        step = Step(
            "one_of", tuple(whole(v) for v in values), (made,), attributes, Count(dtype=made.dtype), self._notes, True
        )
        region.put(Kernel((step,)))
        return whole(made)


def _scope(equation: Any, notes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    stack = str(equation.source_info.name_stack)
    if not stack:
        return {}
    outer = notes.get("scope")
    return {"scope": f"{outer}/{stack}" if outer else stack}


def called(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The program that an equation calls on its own operands, whichever way it calls: jit, remat, custom rules."""
    if equation.primitive.name in _NOT_CALLS:
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        program = equation.params.get(key)
        jaxpr = getattr(program, "jaxpr", program)
        if not hasattr(jaxpr, "eqns"):
            continue
        ins = [(layout_of(v.aval)) for v in jaxpr.invars] == [(layout_of(v.aval)) for v in equation.invars]
        outs = len(jaxpr.outvars) == len(equation.outvars)
        if ins and outs:
            return jaxpr, getattr(program, "consts", ())
    return None
