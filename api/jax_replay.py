"""Run a recorded JAX function step by step, with activations that leave device memory and return."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core

from tierplan.frontend.jaxpr_record import Recorded
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Op
from tierplan.jax_moves import Gap

Array = Any


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens before which step: `of_op` is the step of each operation of the graph, by name.

    `host`: whether the backend has host memory that a function can reach; without it nothing is moved.
    """

    of_op: dict[str, int]
    gaps: tuple[Gap, ...]
    host: bool


def check_pure(recorded: Recorded, name: str) -> None:
    """Refuse a function that does more than return values.

    Raises: InvalidInputError: names what it does.
    """
    for flat in recorded.flats:
        if flat.equation.effects:
            raise InvalidInputError(
                f"'{name}' has the side effect '{flat.equation.primitive.name}', whose place among moved steps is not "
                "known; take it out (jax.debug calls, callbacks)"
            )


def replay(recorded: Recorded, schedule: Schedule, arguments: Sequence[Array]) -> list[Array]:
    """The results of a recorded function on arrays or tracers."""
    return _Run(recorded, schedule, arguments).results()


class _Run:
    """One run: what lies on the device and on the host, by tensor; values that are no tensors live for one step."""

    def __init__(self, recorded: Recorded, schedule: Schedule, arguments: Sequence[Array]) -> None:
        self.recorded = recorded
        self.number = {name: number for number, name in recorded.tensor.items()}
        self.known: dict[int, Array] = dict(zip(recorded.inputs, arguments, strict=True)) | dict(recorded.captured)
        self.device: dict[str, Array] = {}
        self.host: dict[str, Array] = {}
        self.token: Array | None = None
        self.awaited: list[str] = []
        self.made: set[str] = set()
        self.again = {gap.tensor for gap in schedule.gaps if gap.again}
        self.events: dict[int, list[tuple[int, Gap]]] = defaultdict(list)
        self.born_away: set[str] = set()
        self.of_op = schedule.of_op
        if schedule.host or self.again:
            self._prepare([gap for gap in schedule.gaps if schedule.host or gap.again])

    def _prepare(self, gaps: list[Gap]) -> None:
        for gap in gaps:
            if gap.at_birth and not gap.again:
                self.born_away.add(gap.tensor)
            if not gap.again and not gap.at_birth:
                self.events[gap.out].append((0, gap))
            self.events[gap.dropped].append((1, gap))
            self.events[gap.back].append((2, gap))

    def results(self) -> list[Array]:
        """Run all operations in the order of the plan."""
        done = -1
        for op in self.recorded.graph.ops:
            step = self.of_op.get(op.name, done)
            for step_then in range(done + 1, step + 1):
                for kind, gap in sorted(self.events.get(step_then, ()), key=lambda event: event[0]):
                    (self._leave, self._drop, self._return)[kind](gap)
            done = max(done, step)
            self._operate(op)
        return [self._value(output, {}) for output in self.recorded.outputs]

    def _leave(self, gap: Gap) -> None:
        if gap.tensor in self.device and gap.tensor not in self.host:
            self.host[gap.tensor] = jax.device_put(self.device[gap.tensor], jax.memory.Space.Host)

    def _drop(self, gap: Gap) -> None:
        if gap.again or gap.tensor in self.host:
            self.device.pop(gap.tensor, None)
            if not gap.again:
                self.awaited.append(gap.tensor)

    def _return(self, gap: Gap) -> None:
        if gap.tensor in self.device:
            return
        if gap.again:
            self.device[gap.tensor] = self._made_again(gap.tensor)
        elif gap.tensor in self.host:
            self.device[gap.tensor] = self._fetched(gap.tensor)

    def _fetched(self, tensor: str) -> Array:
        """A copy from the host that cannot begin before the step before is over."""
        there = self.host[tensor]
        if self.token is not None:
            there, self.token = jax.lax.optimization_barrier((there, self.token))
        return jax.device_put(there, jax.memory.Space.Device)

    def _operate(self, op: Op) -> None:
        local: dict[int, Array] = {}
        self._wait_for_copies(op)
        for access in op.writes:
            number = self.number.get(access.tensor)
            if number is not None and number in self.recorded.maker and access.tensor not in self.made:
                self._keep(access.tensor, self._computed(number, local))

    def _keep(self, tensor: str, made: Array) -> None:
        """Put what was made where the plan has it made."""
        self.made.add(tensor)
        self.token = made
        if tensor in self.born_away:
            self.host[tensor] = jax.device_put(made, jax.memory.Space.Host)
            self.awaited.append(tensor)
        else:
            self.device[tensor] = made

    def _wait_for_copies(self, op: Op) -> None:
        """Let the first operand that lies on the device wait for the copies whose bytes are given up."""
        if not self.awaited:
            return
        first = next((access.tensor for access in op.reads if access.tensor in self.device), None)
        if first is None:
            return
        hosts = [self.host[name] for name in self.awaited]
        self.device[first], *hosts = jax.lax.optimization_barrier((self.device[first], *hosts))
        self.host.update(zip(self.awaited, hosts, strict=True))
        self.awaited.clear()

    def _value(self, number: int | core.Literal, local: dict[int, Array]) -> Array:
        if isinstance(number, core.Literal):
            return number.val
        if number in local:
            return local[number]
        name = self.recorded.tensor.get(number)
        if name is not None and name in self.device:
            return self.device[name]
        if name is not None and name in self.host:
            local[number] = self._fetched(name)
            return local[number]
        if number in self.known:
            return self.known[number]
        return self._computed(number, local)

    def _computed(self, number: int, local: dict[int, Array]) -> Array:
        """Run the equation that makes a value, and before it those that make what it reads and what no tensor holds."""
        todo = [number]
        while todo:
            flat = self.recorded.flats[self.recorded.maker[todo[-1]]]
            missing = [
                n for n in flat.operands if not isinstance(n, core.Literal) and n not in local and not self._stored(n)
            ]
            if missing:
                todo.extend(missing)
                continue
            if todo[-1] not in local:
                given = [self._value(operand, local) for operand in flat.operands]
                made = dict(zip(flat.results, _bound(flat.equation, given), strict=True))
                local |= made
                self._keep_others(made, number)
            todo.pop()
        return local[number]

    def _keep_others(self, made: dict[int, Array], wanted: int) -> None:
        """Keep the other results of an equation that has several, so that no loop runs once for each."""
        for number, value in made.items():
            name = self.recorded.tensor.get(number)
            if len(made) > 1 and number != wanted and name is not None and name not in self.made:
                self._keep(name, value)

    def _stored(self, number: int) -> bool:
        name = self.recorded.tensor.get(number)
        return number in self.known or (name is not None and (name in self.device or name in self.host))

    def _made_again(self, tensor: str) -> Array:
        """The tensor computed a second time, from operands that wait for the step before, so that none is reused."""
        number = self.number[tensor]
        op = next(op for op in self.recorded.graph.ops if any(access.tensor == tensor for access in op.writes))
        names = [access.tensor for access in op.reads if self.number.get(access.tensor) is not None]
        local: dict[int, Array] = {}
        values = [self._value(self.number[name], {}) for name in names]
        if values:
            token = values[0] if self.token is None else self.token
            *values, self.token = jax.lax.optimization_barrier((*values, token))
        local.update(zip((self.number[name] for name in names), values, strict=True))
        return self._computed(number, local)


def _bound(equation: Any, given: list[Array]) -> list[Array]:
    """The results of one equation. Versions of JAX differ in whether functions come apart from other parameters."""
    told = equation.primitive.get_bind_params(equation.params)
    functions, parameters = told if isinstance(told, tuple) else ((), told)
    with equation.ctx.manager:
        found = equation.primitive.bind(*functions, *given, **parameters)
    return list(found) if equation.primitive.multiple_results else [found]


@dataclass(frozen=True, slots=True)
class KernelRun:
    """One operation of the graph as a function of the values that it reads, which returns those that it makes."""

    name: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    run: Callable[..., tuple[Array, ...]]


def kernels(recorded: Recorded) -> list[KernelRun]:
    """The operations of a recorded function in their order; a loop is one, under the name of its first operation."""
    known = {*recorded.inputs, *recorded.captured}
    number = {name: n for n, name in recorded.tensor.items()}
    found: list[KernelRun] = []
    for op in recorded.graph.ops:
        wanted = [number[access.tensor] for access in op.writes if access.tensor in number]
        wanted = [n for n in wanted if n in recorded.maker and n not in known]
        if wanted:
            found.append(_kernel(recorded, op.name, wanted, known))
            known.update(found[-1].writes)
    return found


def _kernel(recorded: Recorded, name: str, wanted: list[int], known: set[int]) -> KernelRun:
    """The equations between what is known and what is wanted, and all tensors that they make on the way."""
    order: list[int] = []
    reads: dict[int, None] = {}
    todo = [recorded.maker[n] for n in reversed(wanted)]
    seen: set[int] = set()
    while todo:
        index = todo[-1]
        operands = [n for n in recorded.flats[index].operands if isinstance(n, int)]
        missing = [recorded.maker[n] for n in operands if n not in known and recorded.maker[n] not in seen]
        if missing and index not in seen:
            todo.extend(missing)
            continue
        todo.pop()
        if index not in seen:
            seen.add(index)
            order.append(index)
            reads.update(dict.fromkeys(n for n in operands if n in known))
    made = [n for index in order for n in recorded.flats[index].results]
    writes = tuple(n for n in made if n in wanted or (n in recorded.tensor and n not in known))

    def run(*given: Array) -> tuple[Array, ...]:
        values: dict[int, Array] = dict(zip(reads, given, strict=True))
        for index in order:
            flat = recorded.flats[index]
            operands = [n.val if isinstance(n, core.Literal) else values[n] for n in flat.operands]
            values.update(zip(flat.results, _bound(flat.equation, operands), strict=True))
        return tuple(values[n] for n in writes)

    return KernelRun(name, tuple(reads), writes, run)


def last_values(recorded: Recorded, known: dict[int, Array]) -> list[Array]:
    """The results of a function of which all operations have run."""
    found: list[Array] = []
    for output in recorded.outputs:
        if isinstance(output, core.Literal):
            found.append(output.val)
            continue
        if output not in known:
            kernel = _kernel(recorded, "result", [output], set(known))
            known |= dict(zip(kernel.writes, kernel.run(*(known[n] for n in kernel.reads)), strict=True))
        found.append(known[output])
    return found
