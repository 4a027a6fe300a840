"""Which copies of a tensor are valid when: the part of the verifier that follows each tensor through time.

A tensor has a version that rises with every write. A tier holds the version that was produced
there or copied to it; a copy is valid while it holds the current version. Events at the
beginning of a step happen in this order: residencies end, residencies begin, copies that are
done deliver, copies are issued, the step runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import NO_HOME, Keep, Mode, Problem
from tierplan.ir.violation import Rule, Violation


@dataclass(slots=True)
class _Story:
    """All that happens to one tensor, and what is known while it is told."""

    problem: Problem
    tensor: int
    residencies: list[Residency] = field(default_factory=list[Residency])
    copies: list[Copy] = field(default_factory=list[Copy])
    accesses: list[tuple[int, Mode]] = field(default_factory=list[tuple[int, Mode]])
    version: int = 0
    lying: dict[int, Residency] = field(default_factory=dict[int, Residency])  # by tier
    held: dict[int, int] = field(default_factory=dict[int, int])  # version held, by tier

    @property
    def name(self) -> str:
        return self.problem.tensor_names[self.tensor]

    @property
    def has_home(self) -> bool:
        return int(self.problem.home[self.tensor]) != NO_HOME

    def tier_name(self, tier: int) -> str:
        return self.problem.tiers.names[tier]

    def valid_tiers(self) -> list[int]:
        return sorted(k for k in self.lying if self.held.get(k) == self.version)

    def is_direct(self, tier: int) -> bool:
        return bool(self.problem.tiers.direct[tier])


def holding_violations(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Yield what is wrong with where the tensors of `plan` lie: missing, stale, late, unjustified, lost."""
    stories = {x: _Story(problem, x) for x in range(problem.n_tensors)}
    for r in plan.residencies:
        stories[r.tensor].residencies.append(r)
    for c in plan.copies:
        stories[c.tensor].copies.append(c)
    steps = problem.access_step
    for step, tensor, mode in zip(steps, problem.access_tensor, problem.access_mode, strict=True):
        stories[int(tensor)].accesses.append((int(step), Mode(int(mode))))
    for story in stories.values():
        yield from _tell(story)


def _tell(story: _Story) -> Iterator[Violation]:
    """Follow one tensor through one run, or through two turns of a cyclic program: the second is every later one."""
    problem, n = story.problem, story.problem.n_steps
    wrapped = [c for c in story.copies if c.done > n]
    in_flight = dict.fromkeys(wrapped, 0)  # copies under way: the version that they carry
    events = _event_steps(story)
    carried: dict[tuple[int, int], int] = {}  # (tier, offset) -> version held at the end of the turn before
    found: list[Violation] = []
    for turn in range(2 if problem.cyclic else 1):
        for step in events:
            _leave(story, step)
            for r in (r for r in story.residencies if r.start == step):
                found += _arrive(story, r, turn, carried)
            _deliver(story, in_flight, step)
            found += _issue(story, in_flight, step)
            for mode in (mode for s, mode in story.accesses if s == step):
                found += _access(story, step, mode, in_flight)
        _deliver(story, in_flight, n)
        carried = {(k, r.offset): story.held[k] for k, r in story.lying.items() if r.stop == n and k in story.held}
        found += _end(story, in_flight)
        story.lying = {}
        story.held = {}
    yield from dict.fromkeys(found)  # what both turns find is told once


def _event_steps(story: _Story) -> list[int]:
    n = story.problem.n_steps
    steps = {step for step, _ in story.accesses}
    for r in story.residencies:
        steps |= {r.start, r.stop}
    for c in story.copies:
        steps |= {c.start, c.done, c.done - n}
    return sorted(s for s in steps if 0 <= s < n)


def _leave(story: _Story, step: int) -> None:
    for tier in [k for k, r in story.lying.items() if r.stop <= step]:
        del story.lying[tier]
        story.held.pop(tier, None)


def _arrive(story: _Story, r: Residency, turn: int, carried: dict[tuple[int, int], int]) -> Iterator[Violation]:
    problem = story.problem
    story.lying[r.tier] = r
    story.held.pop(r.tier, None)
    if r.start == 0 and story.has_home:
        if problem.cyclic and _continues(story, r):
            arriving = any(c.target == r.tier and c.done > problem.n_steps for c in story.copies)
            if turn > 0 and (r.tier, r.offset) in carried:
                story.held[r.tier] = carried[r.tier, r.offset]
            elif turn == 0 and not arriving:
                story.held[r.tier] = story.version
            return
        if not problem.cyclic and r.tier == problem.home[story.tensor]:
            story.held[r.tier] = story.version
            return
    copied_here = any(c.target == r.tier and c.start == r.start for c in story.copies)
    produced_here = any(s == r.start and mode is Mode.PRODUCE for s, mode in story.accesses)
    if copied_here or produced_here:
        return
    tier, size = story.tier_name(r.tier), int(problem.size[story.tensor])
    if r.start == 0 and story.has_home and problem.cyclic:
        detail = f"'{story.name}' lies at {r.offset} of {tier} at step 0 but not at the end"
        yield Violation(Rule.CYCLE, detail, (story.name,), 0, r.stop, tier, size)
    else:
        detail = f"'{story.name}' begins to lie in {tier} at step {r.start} without a reason"
        yield Violation(Rule.UNJUSTIFIED_RESIDENCY, detail, (story.name,), r.start, r.stop, tier, size)


def _from_the_beginning(story: _Story, r: Residency) -> bool:
    """Whether `r` needs no other reason than that its tensor lay there before step 0."""
    if r.start != 0 or not story.has_home:
        return False
    return _continues(story, r) if story.problem.cyclic else r.tier == story.problem.home[story.tensor]


def _continues(story: _Story, r: Residency) -> bool:
    """Whether what lies in `r` at step 0 lay there at the end of the turn before."""
    n = story.problem.n_steps
    return any(q.stop == n and (q.tier, q.offset) == (r.tier, r.offset) for q in story.residencies)


def _deliver(story: _Story, in_flight: dict[Copy, int], step: int) -> None:
    """Deliver the copies that must be done before `step`, those issued in the turn before included."""
    n = story.problem.n_steps
    for copy in [c for c in in_flight if step in (c.done, c.done - n)]:
        version = in_flight.pop(copy)
        if copy.target in story.lying:
            story.held[copy.target] = version


def _issue(story: _Story, in_flight: dict[Copy, int], step: int) -> Iterator[Violation]:
    for copy in (c for c in story.copies if c.start == step):
        source, target = story.tier_name(copy.source), story.tier_name(copy.target)
        what = f"the copy of '{story.name}' from {source} to {target} over steps [{copy.start}, {copy.done})"
        if copy.source not in story.valid_tiers():
            detail = f"{what}: {source} holds no valid copy when it is issued"
            yield Violation(Rule.MISSING_OPERAND, detail, (story.name,), copy.start, copy.done, source)
        elif not _lies_until(story, story.lying[copy.source], copy.done):
            detail = f"{what}: its source is given up before it is done"
            yield Violation(Rule.MISSING_OPERAND, detail, (story.name,), copy.start, copy.done, source)
        elif _written_during(story, copy):
            detail = f"{what}: the tensor is written before it is done"
            yield Violation(Rule.MISSING_OPERAND, detail, (story.name,), copy.start, copy.done, source)
        if copy.target not in story.lying or not _lies_until(story, story.lying[copy.target], copy.done):
            detail = f"{what}: its target bytes are not reserved until it is done"
            yield Violation(Rule.LATE_COPY, detail, (story.name,), copy.start, copy.done, target)
        torn = copy.source not in story.valid_tiers() or _written_during(story, copy)
        in_flight[copy] = -1 if torn else story.version


def _lies_until(story: _Story, r: Residency, done: int) -> bool:
    n = story.problem.n_steps
    if done <= r.stop:
        return True
    if done <= n or r.stop != n or not story.problem.cyclic:
        return False
    after = [q for q in story.residencies if q.start == 0 and (q.tier, q.offset) == (r.tier, r.offset)]
    return any(done - n <= q.stop for q in after)


def _written_during(story: _Story, copy: Copy) -> bool:
    n = story.problem.n_steps
    writes = [step for step, mode in story.accesses if mode is not Mode.READ]
    return any(copy.start <= step < copy.done or copy.start <= step + n < copy.done for step in writes)


def _access(story: _Story, step: int, mode: Mode, in_flight: dict[Copy, int]) -> Iterator[Violation]:
    arriving = {c.target for c in in_flight}
    if mode is Mode.PRODUCE:
        story.version += 1
        room = sorted(k for k in story.lying if k not in arriving)
        direct = [k for k in room if story.is_direct(k)]
        if direct:
            story.held[direct[0]] = story.version
            for tier in room:
                r = story.lying[tier]
                if tier != direct[0] and r.start == step and not _from_the_beginning(story, r):
                    name = story.tier_name(tier)
                    detail = f"'{story.name}' is produced in {story.tier_name(direct[0])} at step {step}, not in {name}"
                    yield Violation(Rule.UNJUSTIFIED_RESIDENCY, detail, (story.name,), step, step + 1, name)
            return
    else:
        valid = story.valid_tiers()
        direct = [k for k in valid if story.is_direct(k)]
        if direct:
            if mode is Mode.UPDATE:
                story.version += 1
                story.held[direct[0]] = story.version
            return
        room = valid
    yield _why_not(story, step, mode, room, arriving)
    if mode is not Mode.READ:  # go on as if it had gone well, so that one mistake is told once
        story.held.update(dict.fromkeys(story.lying, story.version))


def _why_not(story: _Story, step: int, mode: Mode, room: list[int], arriving: set[int]) -> Violation:
    op, size = story.problem.step_names[step], int(story.problem.size[story.tensor])
    verb = {Mode.READ: "reads", Mode.UPDATE: "updates", Mode.PRODUCE: "produces"}[mode]
    what = f"step {step} ({op}) {verb} '{story.name}'"
    if room:
        tiers = ", ".join(story.tier_name(k) for k in room)
        return Violation(
            Rule.NOT_DIRECT, f"{what}, which lies only in {tiers}", (story.name,), step, step + 1, tiers, size
        )
    late = sorted(k for k in arriving if k in story.lying)
    if late:
        tier = story.tier_name(late[0])
        detail = f"{what} before its copy into {tier} is done"
        return Violation(Rule.LATE_COPY, detail, (story.name,), step, step + 1, tier, size)
    detail = f"{what}, but no tier holds {'room' if mode is Mode.PRODUCE else 'a valid copy'} for it"
    return Violation(Rule.MISSING_OPERAND, detail, (story.name,), step, step + 1, None, size)


def _end(story: _Story, in_flight: dict[Copy, int]) -> Iterator[Violation]:
    """What must hold when the last step is over."""
    problem, n = story.problem, story.problem.n_steps
    keep = Keep(int(problem.keep[story.tensor]))
    size = int(problem.size[story.tensor])
    valid = [k for k in story.valid_tiers() if story.lying[k].stop == n]
    if keep is Keep.SOMEWHERE and not valid:
        yield Violation(
            Rule.LOST_OUTPUT, f"output '{story.name}' lies nowhere at the end", (story.name,), n, n, None, size
        )
    if keep is Keep.HOME and (not valid if problem.cyclic else int(problem.home[story.tensor]) not in valid):
        home = "any tier" if problem.cyclic else story.tier_name(int(problem.home[story.tensor]))
        detail = f"state '{story.name}' has no valid copy in {home} at the end"
        yield Violation(Rule.LOST_STATE, detail, (story.name,), n, n, None, size)
    if problem.cyclic and story.has_home:
        renewed = {c.target for c in in_flight} | {c.target for c in story.copies if c.start == 0}
        for r in (r for r in story.residencies if r.start == 0 and r.tier not in renewed):
            ending = story.lying.get(r.tier)
            if ending is not None and ending.offset == r.offset and r.tier not in valid:
                tier = story.tier_name(r.tier)
                detail = f"'{story.name}' lies in {tier} at step 0, but at the end what lies there is stale"
                yield Violation(Rule.CYCLE, detail, (story.name,), 0, n, tier, size)
