"""Where each tensor lies at its visits: the columns and rows of the relaxation that follow one tensor."""

from dataclasses import dataclass, field

from tierplan.ir.problem import NO_HOME, NO_LINK, Keep, Mode, Problem
from tierplan.planner.flow_rows import NOTHING, Rows, Sum
from tierplan.planner.visits import FROM_HOME, Visit, visits_of


@dataclass(slots=True)
class Place:
    """The fractions of one tensor around one visit, as columns by tier.

    `keep[k]`: valid in tier k from the visit before until this one. `fresh[k]`: valid in tier k now, by a copy
    since. `load[j, k]`: copied from tier j to tier k since. `lies[k]`: valid when the visit takes place.
    `serve[k]`: the step streams it from tier k. `within[m]`: valid in one of the m fastest tiers, which
    need not stay the same, from the visit before until this one; only where their room together can be short.
    """

    visit: Visit
    keep: dict[int, int] = field(default_factory=dict[int, int])
    fresh: dict[int, int] = field(default_factory=dict[int, int])
    load: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    lies: dict[int, Sum] = field(default_factory=dict[int, Sum])
    serve: dict[int, Sum] = field(default_factory=dict[int, Sum])
    within: dict[int, int] = field(default_factory=dict[int, int])


@dataclass(slots=True)
class Places:
    """All places, by tensor and visit, and what they need of the linear program."""

    problem: Problem
    pressed: tuple[bool, ...]
    short: tuple[int, ...]
    rows: Rows = field(default_factory=Rows)
    n_columns: int = 0
    of_tensor: list[list[Place]] = field(default_factory=list[list[Place]])
    direct: list[int] = field(default_factory=list[int])
    pairs: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def column(self) -> int:
        """A new column between 0 and 1."""
        self.n_columns += 1
        return self.n_columns - 1

    def fraction(self) -> Sum:
        """A new column as an expression."""
        return Sum(0.0, ((self.column(), 1.0),))


def places_of(problem: Problem, pressed: tuple[bool, ...], short: tuple[int, ...]) -> Places:
    """The places of all tensors.

    `pressed[k]`: whether the room in tier k can be short. `short`: each m of two or more for which the room
    of the m fastest tiers together can be.

    Source: docs/bounds.md, "Where a tensor lies".
    """
    places = Places(problem, pressed, short)
    places.direct = [k for k in range(problem.n_tiers) if problem.tiers.direct[k]]
    tiers = range(problem.n_tiers)
    places.pairs = [(j, k) for j in tiers for k in tiers if j != k and problem.links.between(j, k) != NO_LINK]
    for visits in visits_of(problem):
        found = [Place(visit) for visit in visits]
        if found:
            _Tensor(places, found).add()
        places.of_tensor.append(found)
    return places


class _Tensor:
    """Adds the columns and rows of one tensor."""

    def __init__(self, places: Places, found: list[Place]) -> None:
        self.places, self.found, self.rows = places, found, places.rows
        problem, first = places.problem, found[0].visit
        self.x = first.tensor
        self.home = int(problem.home[self.x])
        size = int(problem.size[self.x])
        self.tiers = [k for k in range(problem.n_tiers) if size <= int(problem.tiers.usable[k])]
        self.direct = [k for k in places.direct if k in self.tiers]
        written = any(p.visit.mode is not Mode.READ for p in found)
        roomy = [k for k in self.tiers if not places.pressed[k]]
        if written or self.home == NO_HOME:
            roomy = []
        elif not problem.cyclic:
            roomy = [k for k in roomy if k == self.home]
        self.always = set(roomy)  # lies there throughout, at no cost
        self.pairs = [(j, k) for j, k in places.pairs if j in self.tiers and k in self.tiers and k not in self.always]

    def add(self) -> None:
        for place in self.found:
            self._columns(place)
        for place in self.found:
            if place.visit.before is not None:
                self._gap(place)
            self._visit(place)
            if place.visit.before is not None:
                self._groups(place)

    def _watched(self, visit: Visit) -> list[int]:
        """The tiers in which it matters whether the tensor lies at a visit."""
        if visit.is_end and self.places.problem.keep[self.x] == Keep.HOME and not self.places.problem.cyclic:
            return [k for k in self.tiers if k == self.home]
        return self.tiers if visit.mode is Mode.READ else self.direct

    def _before(self, place: Place) -> dict[int, Sum]:
        """Where the tensor lies just after the visit before."""
        if place.visit.before == FROM_HOME:
            return {} if self.home == NO_HOME else {self.home: Sum(1.0)}
        return {} if place.visit.before is None else self.found[place.visit.before].lies

    def _columns(self, place: Place) -> None:
        visit, new = place.visit, self.places.column
        watched = self._watched(visit)
        if visit.before is None:
            place.lies = {k: self.places.fraction() if len(watched) > 1 else Sum(1.0) for k in watched}
            return
        from_home = visit.before == FROM_HOME
        if visit.copies_fit:
            place.load = {pair: new() for pair in self.pairs}
        targets = {k for _, k in place.load}
        for k in watched:
            if k in self.always:
                place.lies[k] = Sum(1.0)
                continue
            if not from_home or k == self.home:
                place.keep[k] = new()
            if k in targets:
                place.fresh[k] = new()
            columns = [by_tier[k] for by_tier in (place.keep, place.fresh) if k in by_tier]
            place.lies[k] = Sum(0.0, tuple((column, 1.0) for column in columns))

    def _gap(self, place: Place) -> None:
        """What lies somewhere at a visit was kept there since the visit before, or copied from where it lay."""
        rows, before = self.rows, self._before(place)
        inflow = {k: [(c, 1.0) for (_, to), c in place.load.items() if to == k] for k in self.tiers}
        for k, keep in place.keep.items():
            source = before.get(k, NOTHING)
            if source.terms or source.constant < 1.0:
                rows.at_least(0.0, source + Sum(0.0, ((keep, -1.0),)))
            if k in place.fresh:
                rows.at_least(-1.0, place.lies[k].times(-1.0))
        for k, fresh in place.fresh.items():
            rows.extend(0.0, [(fresh, -1.0), *inflow[k]])
        for (j, _), load in place.load.items():
            source = before.get(j, NOTHING)
            if j not in self.always and (source.terms or source.constant < 1.0):
                rows.at_least(0.0, source + Sum(0.0, ((load, -1.0), *inflow[j])))

    def _groups(self, place: Place) -> None:
        """What lies within a group of tiers lay in the group since the visit before, or entered it from outside."""
        rows, before = self.rows, self._before(place)
        for m in self.places.short:
            group = {k for k in self.tiers if k < m}
            if group and not self.always & group:
                place.within[m] = self.places.column()
                total = NOTHING
                for k in group:
                    total = total + before.get(k, NOTHING)
                rows.at_least(0.0, total + Sum(0.0, ((place.within[m], -1.0),)))
                self._cut(place, Sum(0.0, ((place.within[m], 1.0),)), group)

    def _cut(self, place: Place, total: Sum, group: set[int]) -> None:
        """What lies or serves within a group is at most `total`, of what lay there, and what entered."""
        if total.constant >= 1.0:
            return
        entering = tuple((c, 1.0) for (j, k), c in place.load.items() if j not in group and k in group)
        for k in group & place.lies.keys():
            self.rows.at_least(0.0, total + Sum(0.0, entering) + place.lies[k].times(-1.0))
        served = NOTHING
        for k in group & place.serve.keys():
            served = served + place.serve[k]
        if not served.is_zero:
            self.rows.at_least(0.0, total + Sum(0.0, entering) + served.times(-1.0))

    def _visit(self, place: Place) -> None:
        """What the visit needs, and which tier serves it."""
        visit, rows, lies = place.visit, self.rows, place.lies
        everywhere = NOTHING
        for k in lies:
            everywhere = everywhere + lies[k]
        if visit.is_end:
            rows.at_least(1.0, everywhere)
        elif visit.mode is not Mode.READ:
            rows.at_least(1.0, everywhere, equal=True)
            place.serve = dict(lies)
        else:
            self._read(place)

    def _read(self, place: Place) -> None:
        """A read is served by the fastest direct tier with a valid copy."""
        rows, lies, total = self.rows, place.lies, NOTHING
        for k in self.direct:
            mine = lies.get(k, NOTHING)
            if k == self.direct[-1]:
                place.serve[k] = Sum(1.0) + total.times(-1.0)
            elif k == self.direct[0] and k not in self.always:
                place.serve[k] = mine
            else:
                place.serve[k] = self.places.fraction()
            total = total + place.serve[k]
            if place.serve[k] is mine or k in self.always:
                continue
            rows.at_least(0.0, mine + place.serve[k].times(-1.0))
            if k != self.direct[-1]:
                rows.at_least(0.0, total + mine.times(-1.0))
        if len(self.direct) > 2:
            rows.at_least(0.0, place.serve[self.direct[-1]])
        if not self.direct:
            rows.extend(1.0, ())
