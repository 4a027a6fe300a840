"""A problem as the game sees it: tables of visits, tensors, tiers and steps, fixed before play begins."""

from dataclasses import dataclass, field, fields

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan import Lifespan
from tierplan.ir.problem import NO_HOME, NO_LINK, Bools, Floats, Ints, Keep, Mode, Problem
from tierplan.planner.space import Space
from tierplan.planner.visits import Visit, turns, visits_of
from tierplan.rl.tables import NONE, PAIR, TENSOR, TIER, VISIT, Rows

FITS = ("lowest", "best")


@dataclass(frozen=True, slots=True)
class Rules:
    """What may differ between variants of the game.

    `window`: how many steps before an access a copy may be issued. `fit`: which free offset is taken, the "lowest" or
    the tightest ("best"). `slots`: how many residencies the game keeps in sight per tier; with more, a placement is
    illegal. `pending`: how many write-backs may be under way at once.
    """

    window: int = 64
    fit: str = "lowest"
    slots: int = 256
    pending: int = 8

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise InvalidInputError(f"rules: no fit is named '{self.fit}'; there are {', '.join(FITS)}")
        if min(self.window, self.slots, self.pending) < 1:
            raise InvalidInputError("rules: window, slots and pending must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The tables that play needs. V visits, N tensors, S steps, K tiers, L links.

    `visits` [V] in the order of play, `tensors` [N], `tiers` [K], `pairs` [K, K] from tier by to tier; `compute_s` [S].
    With all tensors in their base: `loads` [S, 2K + L] are the bytes that steps read per tier, write per tier and move
    per link, `used` [S, K + L] how long they use tiers and links, `own_s` [S] how long they last. `promised` [L, S + 1]
    are the bytes that a link can still carry from a step on, whatever is played; `rate_cap` [N, K] is how fast a tier
    gives a tensor away; `link_rate` [L]; `rates` [S, K * K] is how fast a copy alone runs beside a step, from tier by
    to tier.
    Units: bytes, seconds, bytes/s. `NONE` is -1.
    """

    problem: Problem
    rules: Rules
    visits: Rows
    tensors: Rows
    tiers: Rows
    pairs: Rows
    compute_s: Floats
    loads: Ints
    used: Floats
    own_s: Floats
    promised: Floats
    rate_cap: Floats
    link_rate: Floats
    rates: Floats
    taken: tuple[int, ...] = field(default=())

    @property
    def n_visits(self) -> int:
        """V: decisions of one play."""
        return len(self.visits)

    @property
    def n_actions(self) -> int:
        """2K - 1: copy to tiers 0 .. K-2, keep, leave in tiers 1 .. K-1."""
        return 2 * len(self.tiers) - 1

    @property
    def waits(self) -> bool:
        """Whether some tensor must be copied before steps can use it, so that steps may have to wait."""
        used = self.tensors[np.unique(self.visits["tensor"])]
        return bool((self.tiers["direct"][used["base"]] == 0).any())

    def arrays(self) -> dict[str, Rows]:
        """All tables by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)}


def program_of(problem: Problem, rules: Rules | None = None) -> Program:
    """The tables of a problem; of each choice the first alternative is taken.

    Raises: InvalidInputError: the program leaves no choice, or does not fit.
    """
    rules = rules or Rules()
    if problem.n_tiers < 2:
        raise InvalidInputError(f"'{problem.name}' has one tier of memory: nothing to play; take a machine with two")
    stories = visits_of(problem)
    tensors = _tensors(problem, stories)
    tiers, pairs = _tiers(problem, tensors), _pairs(problem)
    visits = _visits(problem, stories, tensors, tiers)
    if len(visits) == 0:
        raise InvalidInputError(
            f"'{problem.name}' leaves no choice: no tensor can lie in more than one of {', '.join(problem.tiers.names)}"
        )
    compute_s, effects = _effects(problem)
    loads = _loads(problem, effects, tiers["load"][tensors["base"]])
    used = _used(problem, loads)
    own_s = np.maximum(compute_s, used.max(axis=1, initial=0.0))
    return Program(
        problem, rules, visits, tensors, tiers, pairs, compute_s, loads, used, own_s,
        _promised(problem, compute_s, effects), _rate_cap(problem), problem.links.bandwidth.copy(),
        _rates(pairs, tiers, used, own_s),
    )  # fmt: skip


def _reserved(problem: Problem) -> Ints:
    reserved = np.zeros(problem.n_tiers, dtype=np.int64)
    for choice in problem.choices:
        reserved += np.array(choice.alternatives[0].reserved, dtype=np.int64)
    return reserved


def _tensors(problem: Problem, stories: list[tuple[Visit, ...]]) -> Rows:
    """Each tensor in its base: its home, or else the fastest tier but the first that has room, at last the first."""
    n = problem.n_steps
    tensors = np.zeros(problem.n_tensors, dtype=TENSOR)
    tensors["size"], tensors["first"], tensors["last"] = problem.size, NONE, NONE
    start, stop = problem.lifespans()
    for x, story in enumerate(stories):
        row, home = tensors[x], int(problem.home[x])
        row["circular"] = bool(story) and turns(problem, story[0])
        row["exists"] = row["circular"] or (home != NO_HOME and not problem.cyclic)
        row["settles"] = bool(story) and (home == NO_HOME or bool(row["circular"]))
        row["returns"] = row["circular"] or (problem.keep[x] == Keep.HOME and not problem.cyclic)
        row["start"], row["stop"] = (0 if row["exists"] else start[x]), stop[x]
        if story and home != NO_HOME and problem.cyclic and not row["circular"]:
            row["start"] = story[0].step
        if not story and problem.keep[x] != Keep.NOTHING:
            row["start"], row["stop"] = 0, n
    _settle(problem, tensors)
    return tensors


def _settle(problem: Problem, tensors: Rows) -> None:
    usable = np.maximum(0, problem.tiers.usable - _reserved(problem))
    spaces = [Space(int(u), int(a)) for u, a in zip(usable, problem.tiers.alignment, strict=True)]
    streamed = np.bincount(problem.access_tensor, problem.access_read + problem.access_write, problem.n_tensors)
    order = np.lexsort((np.arange(problem.n_tensors), -streamed / np.maximum(1, problem.size)))
    fixed = (problem.home != NO_HOME) & (not problem.cyclic)
    direct = [k for k in range(1, problem.n_tiers) if problem.tiers.direct[k]]
    roams = _roams(problem)
    far = [k for k in range(problem.n_tiers) if not problem.tiers.direct[k]]
    for x in sorted(order.tolist(), key=lambda x: not fixed[x]):
        row = tensors[x]
        if row["stop"] <= row["start"]:
            row["base"] = max(0, int(problem.home[x]))
            continue
        choices = [int(problem.home[x])] if fixed[x] else [*direct, *(far if row["circular"] and roams[x] else ()), 0]
        whole = row["stop"] - row["start"] == problem.n_steps
        for tier in choices:
            size = int(row["size"])
            if whole and tier != 0:
                offset = spaces[tier].place_throughout(size)
            else:
                offset = spaces[tier].place([Lifespan(int(row["start"]), int(row["stop"]))], size)
            if offset is not None:
                row["base"], row["offset"] = tier, offset
                break
        else:
            names = ", ".join(problem.tiers.names[k] for k in choices)
            raise InvalidInputError(
                f"'{problem.name}' does not fit: no room for '{problem.tensor_names[x]}' ({row['size']} B) in {names}; "
                "the game lets every tensor lie in a slower tier first: take a machine with more memory there"
            )


def _roams(problem: Problem) -> Bools:
    """Shape [N]: whether a tensor can be copied here before its first access, and back after its last write."""
    first = np.full(problem.n_tensors, problem.n_steps, dtype=np.int64)
    written = np.full(problem.n_tensors, NONE, dtype=np.int64)
    step, writes = problem.access_step, problem.access_mode != Mode.READ
    np.minimum.at(first, problem.access_tensor, step)
    np.maximum.at(written, problem.access_tensor[writes], step[writes])
    return (first > 0) & (written < problem.n_steps - 1)


def _tiers(problem: Problem, tensors: Rows) -> Rows:
    """Tiers with the room that is left for play: [floor, usable)."""
    tiers = problem.tiers
    rows = np.zeros(problem.n_tiers, dtype=TIER)
    rows["usable"] = np.maximum(0, tiers.usable - _reserved(problem))
    rows["alignment"], rows["direct"] = tiers.alignment, tiers.direct
    rows["read_link"], rows["write_link"] = tiers.read_link, tiers.write_link
    rows["read_rate"], rows["write_rate"] = tiers.read_bandwidth, tiers.write_bandwidth
    lies = tensors[tensors["stop"] > tensors["start"]]
    for k in range(problem.n_tiers):
        here = lies[lies["base"] == k]
        usable = int(rows["usable"][k])
        # what lies here throughout was stacked from the top, the rest from the bottom
        whole = here[(here["stop"] - here["start"] == problem.n_steps) & (k != 0)]
        rest = here[~((here["stop"] - here["start"] == problem.n_steps) & (k != 0))]
        rows["usable"][k] = min([usable, *whole["offset"].tolist()])
        peak = max((rest["offset"] + rest["size"]).tolist(), default=0)
        alignment = int(tiers.alignment[k])
        rows["floor"][k] = -(-peak // alignment) * alignment
    hops = _hops(problem)
    for k in range(problem.n_tiers):
        reach = [j for j in range(problem.n_tiers) if tiers.direct[j] and j < k and hops[k, j] != NONE]
        rows["load"][k] = k if tiers.direct[k] else max(reach, default=NONE)
    return rows


def _hops(problem: Problem) -> Ints:
    """Shape [K, K]: the tier to go to first on the shortest way to a faster tier, through tiers slower than it."""
    n = problem.n_tiers
    hop = np.full((n, n), NONE, dtype=np.int64)
    for target in range(n):
        reached, edge = {target}, [target]
        while edge:
            found: list[int] = []
            for middle in edge:
                for source in range(n):
                    if source not in reached and problem.links.between(source, middle) != NO_LINK and source > target:
                        hop[source, target] = middle
                        reached.add(source)
                        found.append(source)
            edge = found
    return hop


def _pairs(problem: Problem) -> Rows:
    n, links = problem.n_tiers, problem.links
    rows = np.zeros((n, n), dtype=PAIR)
    rows["link"], rows["hop"] = NO_LINK, _hops(problem)
    for j in range(n):
        for k in range(n):
            link = links.between(j, k) if j != k else NO_LINK
            if link != NO_LINK:
                latency = float(links.latency_s[link] + problem.tiers.latency_s[j])
                rows[j, k]["link"], rows[j, k]["rate"] = link, links.bandwidth[link]
                rows[j, k]["latency_s"] = latency
    return rows


def _visits(problem: Problem, stories: list[tuple[Visit, ...]], tensors: Rows, tiers: Rows) -> Rows:
    """The visits at which the player has a say, in order of execution."""
    has_say = (tensors["base"] > 0) & (tensors["size"] > 0) & ((tensors["settles"] > 0) | (tensors["exists"] > 0))
    real = [v for x, story in enumerate(stories) if has_say[x] for v in story if not v.is_end]
    real.sort(key=lambda v: v.access)
    place = {(v.tensor, v.step): i for i, v in enumerate(real)}
    visits = np.zeros(len(real), dtype=VISIT)
    for x, story in enumerate(stories):
        if not has_say[x] or not story:
            continue
        own = [v for v in story if not v.is_end]
        tensors[x]["first"], tensors[x]["last"] = place[x, own[0].step], place[x, own[-1].step]
        ends = len(own) < len(story) or bool(tensors[x]["returns"])
        for i, v in enumerate(own):
            row = visits[place[x, v.step]]
            after = own[i + 1] if i + 1 < len(own) else None
            needed = after is not None and after.mode is not Mode.PRODUCE
            row["step"], row["tensor"], row["access"], row["mode"] = v.step, x, v.access, v.mode
            row["read"], row["write"] = problem.access_read[v.access], problem.access_write[v.access]
            row["opens"] = own[i - 1].step + 1 if i > 0 else 0
            row["next"] = place[x, after.step] if after is not None and needed else NONE
            row["next_step"] = after.step if after is not None and needed else NONE
            if after is None and ends:
                row["next_step"] = problem.n_steps
            row["first"] = i == 0
            row["after"] = NONE if after is None else place[x, after.step]
    _check_loads(problem, visits, tensors, tiers)
    return visits


def _check_loads(problem: Problem, visits: Rows, tensors: Rows, tiers: Rows) -> None:
    """What lies in a tier that steps cannot use must be able to leave it before its first access."""
    for row in visits:
        x, base = int(row["tensor"]), int(tensors["base"][row["tensor"]])
        if tiers["direct"][base] or row["mode"] == Mode.PRODUCE:
            continue
        name, tier = problem.tensor_names[x], problem.tiers.names[base]
        if tiers["load"][base] == NONE:
            raise InvalidInputError(f"'{problem.name}' cannot be played: no link leads '{name}' out of {tier}")
        if row["first"] and row["step"] == 0:
            raise InvalidInputError(
                f"'{problem.name}' cannot be played: step 0 needs '{name}', which lies in {tier}, "
                "and there is no step before it in which it could be copied"
            )


def _effects(problem: Problem) -> tuple[Floats, Ints]:
    """Shapes [S], [S, 2K + L]: compute seconds, and what the alternatives taken read and write per tier and move."""
    k, n_links = problem.n_tiers, len(problem.links.names)
    compute_s = problem.compute_s.copy()
    loads = np.zeros((problem.n_steps, 2 * k + n_links), dtype=np.int64)
    for choice in problem.choices:
        for effect in choice.alternatives[0].effects:
            compute_s[effect.step] += effect.compute_s
            for first, added in ((0, effect.tier_read), (k, effect.tier_write), (2 * k, effect.link)):
                loads[effect.step, first : first + len(added)] += np.array(added, dtype=np.int64)
    return np.maximum(compute_s, 0.0), loads


def _loads(problem: Problem, effects: Ints, serves: Ints) -> Ints:
    """Shape [S, 2K + L]: what steps read and write per tier and move if tier `serves[x]` serves tensor x."""
    k, loads = problem.n_tiers, effects.copy()
    tier, step = serves[problem.access_tensor], problem.access_step
    np.add.at(loads, (step, tier), problem.access_read)
    np.add.at(loads, (step, k + tier), problem.access_write)
    for link, moved in (
        (problem.tiers.read_link[tier], problem.access_read),
        (problem.tiers.write_link[tier], problem.access_write),
    ):
        behind = link != NO_LINK
        np.add.at(loads, (step[behind], 2 * k + link[behind]), moved[behind])
    return loads


def _used(problem: Problem, loads: Ints) -> Floats:
    """Shape [S, K + L]: seconds for which steps use tiers and links."""
    k, moved = problem.n_tiers, np.maximum(loads, 0)
    tiers = moved[:, :k] / problem.tiers.read_bandwidth + moved[:, k : 2 * k] / problem.tiers.write_bandwidth
    return np.hstack([tiers, moved[:, 2 * k :] / problem.links.bandwidth])


def _rates(pairs: Rows, tiers: Rows, used: Floats, own_s: Floats) -> Floats:
    """Shape [S, K * K]: what link, source and target have left beside each step, for a copy between two tiers."""
    k = len(tiers)
    rates = np.zeros((len(own_s), k * k))
    for a, b in np.argwhere(pairs["link"] >= 0).tolist():
        uses = used[:, [k + int(pairs[a, b]["link"]), a, b]]
        full = np.array([pairs[a, b]["rate"], tiers[a]["read_rate"], tiers[b]["write_rate"]])
        free = 1.0 - np.divide(uses, own_s[:, None], out=np.ones_like(uses), where=own_s[:, None] > 0.0)
        rates[:, a * k + b] = np.where(free > 1e-12, free * full, 0.0).min(axis=1)
    return rates


def _promised(problem: Problem, compute_s: Floats, effects: Ints) -> Floats:
    """Shape [L, S + 1]: bytes that each link carries from a step on, at least, if copies use nothing but it.

    Assumes: a step lasts no less than its compute time, and keeps a tier busy no longer than if all it uses lay there.
    """
    links, k = problem.links, problem.n_tiers
    busiest = effects.copy()
    for moved, first in ((problem.access_read, 0), (problem.access_write, k)):
        busiest[:, first : first + k] += np.bincount(problem.access_step, moved, problem.n_steps).astype(np.int64)[
            :, None
        ]
    for tier_links, moved in (
        (problem.tiers.read_link, problem.access_read),
        (problem.tiers.write_link, problem.access_write),
    ):
        for j in set(tier_links[tier_links != NO_LINK].tolist()):
            busiest[:, 2 * k + j] += np.bincount(problem.access_step, moved, problem.n_steps).astype(np.int64)
    used = _used(problem, busiest)
    promised = np.zeros((len(links.names), problem.n_steps + 1))
    for j in range(len(links.names)):
        a, b = int(links.source[j]), int(links.target[j])
        free = np.minimum.reduce([compute_s - used[:, r] for r in (a, b, k + j)])
        rate = min(links.bandwidth[j], problem.tiers.read_bandwidth[a], problem.tiers.write_bandwidth[b])
        promised[j, :-1] = np.maximum(free, 0.0) * rate
    return np.cumsum(promised[:, ::-1], axis=1)[:, ::-1].copy()


def _rate_cap(problem: Problem) -> Floats:
    """Shape [N, K]: the rate at which each tier gives each tensor away when it alone is copied."""
    tiers = problem.tiers
    cap = np.repeat(tiers.read_bandwidth[None, :], problem.n_tensors, axis=0).astype(np.float64)
    for tier, curve in enumerate(tiers.read_curve):
        if curve:
            chunks, rates = zip(*curve, strict=True)
            cap[:, tier] = np.interp(problem.size, chunks, rates)
    return cap
