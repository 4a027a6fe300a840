"""When each tensor is needed: its visits in order, and the gaps between them in which it may be moved."""

from dataclasses import dataclass

from tierplan.ir.problem import NO_HOME, Keep, Mode, Problem

AT_END = -1
FROM_HOME = -1


@dataclass(frozen=True, slots=True)
class Visit:
    """A step that accesses a tensor, or the end that it must survive to.

    `before` is the place, among the visits of the tensor, of the visit from which its value comes:
    `FROM_HOME` if it lies in its home since the beginning, None if the step produces it anew.
    `since` is the step at which the visit before takes place, -1 for the beginning; in a cyclic
    program a visit in the turn before counts from its beginning, S steps earlier.
    `opens` is the first step, counted in the same way, at which a copy that is done by this visit
    may be issued: after the last write.
    """

    tensor: int
    step: int
    access: int
    mode: Mode
    before: int | None
    since: int
    opens: int

    @property
    def is_end(self) -> bool:
        """Whether this is the end of the program, not a step."""
        return self.access == AT_END

    @property
    def copies_fit(self) -> bool:
        """Whether a copy can be issued after the last write and be done by this visit."""
        return self.before is not None and self.opens < self.step


def visits_of(problem: Problem) -> list[tuple[Visit, ...]]:
    """For each tensor its visits by step; none for a tensor that no step accesses."""
    accesses: list[list[int]] = [[] for _ in range(problem.n_tensors)]
    steps: list[int] = problem.access_step.tolist()
    tensors: list[int] = problem.access_tensor.tolist()
    for access, tensor in enumerate(tensors):
        accesses[tensor].append(access)
    modes = [Mode(mode) for mode in problem.access_mode.tolist()]
    return [_visits(problem, x, [(steps[a], a, modes[a]) for a in found]) for x, found in enumerate(accesses)]


def turns(problem: Problem, first: Visit) -> bool:
    """Whether the value at the end of a turn is the one that this first visit of a tensor needs."""
    return problem.cyclic and problem.home[first.tensor] != NO_HOME and first.mode is not Mode.PRODUCE


def _visits(problem: Problem, x: int, uses: list[tuple[int, int, Mode]]) -> tuple[Visit, ...]:
    if not uses:
        return ()
    n, exists = problem.n_steps, problem.home[x] != NO_HOME
    circular = problem.cyclic and exists and uses[0][2] is not Mode.PRODUCE
    writes = [step for step, _, mode in uses if mode is not Mode.READ]
    written = writes[-1] - n if circular and writes else None  # the last write so far
    found: list[Visit] = []
    for place, (step, access, mode) in enumerate(uses):
        before: int | None = place - 1
        since = uses[place - 1][0]
        if place == 0:
            before, since = (len(uses) - 1, uses[-1][0] - n) if circular else (FROM_HOME, -1)
        if mode is Mode.PRODUCE:
            before = None
        opens = written + 1 if written is not None else (step - n if circular else 0)
        found.append(Visit(x, step, access, mode, before, since, opens))
        if mode is not Mode.READ:
            written = step
    if problem.keep[x] != Keep.NOTHING and not circular:
        opens = 0 if written is None else written + 1
        found.append(Visit(x, n, AT_END, Mode.READ, len(uses) - 1, uses[-1][0], opens))
    return tuple(found)
