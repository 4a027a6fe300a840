"""The slow truth: docs/semantics.md restated in literal Python, for small problems."""

from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Copy, Plan
from tierplan.ir.problem import Mode, Problem


@dataclass
class _Flight:
    """A copy under way."""

    copy: Copy
    latency_left: float
    bytes_left: float


def serving_tiers(problem: Problem, plan: Plan) -> list[dict[int, int]]:
    """Per step: the tier that serves each tensor accessed, in the last turn that matters."""
    n = problem.n_steps
    version = [0] * problem.n_tensors
    held: dict[tuple[int, int], int] = {}  # (tensor, tier) -> version
    flying: dict[Copy, int] = {copy: 0 for copy in plan.copies if copy.done > n}
    served: list[dict[int, int]] = []
    for turn in range(3 if problem.cyclic else 1):
        served = []
        at_end = dict(held)
        held = {}
        for t in range(n):
            for r in plan.residencies:
                if r.stop == t:
                    held.pop((r.tensor, r.tier), None)
            for r in plan.residencies:
                if r.start == t:
                    held.pop((r.tensor, r.tier), None)
                    if t == 0 and problem.home[r.tensor] >= 0:
                        _begin(problem, plan, held, at_end, turn, version, r)
            for copy in list(flying):
                if copy.done == t or copy.done - n == t:
                    taken_up = flying.pop(copy)
                    if _lies(plan, copy, t):
                        held[copy.tensor, copy.target] = taken_up
            for copy in plan.copies:
                if copy.start == t:
                    flying[copy] = version[copy.tensor]
            served.append(_serve(problem, plan, held, version, t))
        for copy in list(flying):
            if copy.done == n:
                taken_up = flying.pop(copy)
                if _lies(plan, copy, n - 1):
                    held[copy.tensor, copy.target] = taken_up
    return served


def _lies(plan: Plan, copy: Copy, t: int) -> bool:
    return any((r.tensor, r.tier) == (copy.tensor, copy.target) and r.start <= t < r.stop for r in plan.residencies)


def _begin(problem, plan, held, at_end, turn, version, r) -> None:
    n = problem.n_steps
    if not problem.cyclic:
        if r.tier == problem.home[r.tensor]:
            held[r.tensor, r.tier] = 0
        return
    ends = [q for q in plan.residencies if q.stop == n and (q.tensor, q.tier, q.offset) == (r.tensor, r.tier, r.offset)]
    if not ends:
        return
    wraps = any(c.tensor == r.tensor and c.target == r.tier and c.done > n for c in plan.copies)
    if turn == 0 and not wraps:
        held[r.tensor, r.tier] = version[r.tensor]
    elif turn > 0 and (r.tensor, r.tier) in at_end:
        held[r.tensor, r.tier] = at_end[r.tensor, r.tier]


def _serve(problem: Problem, plan: Plan, held, version, t: int) -> dict[int, int]:
    served = {}
    n = problem.n_steps
    for a in range(problem.access_start[t], problem.access_start[t + 1]):
        x, mode = int(problem.access_tensor[a]), Mode(int(problem.access_mode[a]))
        direct = [k for k in range(problem.n_tiers) if problem.tiers.direct[k]]
        if mode is Mode.PRODUCE:
            lying = {r.tier for r in plan.residencies if r.tensor == x and r.start <= t < r.stop}
            arriving = {
                c.target for c in plan.copies if c.tensor == x and (c.start <= t < c.done or c.start <= t + n < c.done)
            }
            tiers = [k for k in direct if k in lying and k not in arriving]
        else:
            tiers = [k for k in direct if held.get((x, k)) == version[x]]
        served[x] = min(tiers)
        if mode is not Mode.READ:
            version[x] += 1
            held[x, min(tiers)] = version[x]
    return served


def turn_s(problem: Problem, plan: Plan) -> float:
    """Seconds of one run, or of one turn in the steady state."""
    own, used = _step_loads(problem, plan)
    flights: list[_Flight] = []
    seconds = 0.0
    for _turn in range(64):
        before = [(f.copy, f.latency_left, f.bytes_left) for f in flights]
        seconds = _one_turn(problem, plan, own, used, flights)
        after = [(f.copy, f.latency_left, f.bytes_left) for f in flights]
        if len(before) == len(after) and all(
            a[0] == b[0] and abs(a[1] - b[1]) <= 1e-15 and abs(a[2] - b[2]) <= 1e-9 * problem.size[a[0].tensor]
            for a, b in zip(before, after, strict=True)
        ):
            break
    return seconds


def _step_loads(problem: Problem, plan: Plan):
    """Own time of each step, and the seconds that it uses of each ('tier', k) and ('link', j)."""
    served = serving_tiers(problem, plan)
    tiers, links = problem.tiers, problem.links
    own, used = [], []
    for t in range(problem.n_steps):
        compute = float(problem.compute_s[t])
        read, write = [0] * problem.n_tiers, [0] * problem.n_tiers
        cross = [0] * len(links.names)
        for a in range(problem.access_start[t], problem.access_start[t + 1]):
            k = served[t][int(problem.access_tensor[a])]
            read[k] += int(problem.access_read[a])
            write[k] += int(problem.access_write[a])
            if tiers.read_link[k] >= 0:
                cross[tiers.read_link[k]] += int(problem.access_read[a])
            if tiers.write_link[k] >= 0:
                cross[tiers.write_link[k]] += int(problem.access_write[a])
        for taken in plan.taken:
            for effect in problem.choices[taken.choice].alternatives[taken.alternative].effects:
                if effect.step == t:
                    compute += effect.compute_s
                    parts = ((read, effect.tier_read), (write, effect.tier_write), (cross, effect.link))
                    for total, added in parts:
                        for place, n_bytes in enumerate(added):  # none at all mean none anywhere
                            total[place] += n_bytes
        compute = max(compute, 0.0)
        read, write, cross = ([max(n_bytes, 0) for n_bytes in total] for total in (read, write, cross))
        busy = {
            ("tier", k): read[k] / tiers.read_bandwidth[k] + write[k] / tiers.write_bandwidth[k]
            for k in range(problem.n_tiers)
        }
        busy |= {("link", j): cross[j] / links.bandwidth[j] for j in range(len(cross))}
        own.append(max([compute, *busy.values()]))
        used.append(busy)
    return own, used


def _one_turn(problem: Problem, plan: Plan, own, used, flights: list[_Flight]) -> float:
    n = problem.n_steps
    clock = 0.0
    for t in range(n + 1):
        needed = {c for c in plan.copies if t in (c.done, c.done - n if c.done > n else -1)}
        while any(f.copy in needed for f in flights):
            clock += _let_run(problem, flights, None, 0.0, np.inf)
        if t == n:
            break
        for copy in plan.copies:
            if copy.start == t:
                link = problem.links.between(copy.source, copy.target)
                latency = float(problem.links.latency_s[link] + problem.tiers.latency_s[copy.source])
                flights.append(_Flight(copy, latency, float(problem.size[copy.tensor])))
        left = own[t]
        while left > 0:
            if not flights:
                clock += left
                break
            span = _let_run(problem, flights, used[t], own[t], left)
            clock += span
            left = left - span if left - span > 1e-18 else 0.0
    return clock


def _let_run(problem: Problem, flights: list[_Flight], used, own: float, most: float) -> float:
    """Let the copies run until one changes its state, but for at most `most` seconds; how long that was."""
    tiers, links = problem.tiers, problem.links
    free = {("tier", k): 1.0 for k in range(problem.n_tiers)} | {("link", j): 1.0 for j in range(len(links.names))}
    if used is not None:
        free = {what: max(0.0, 1.0 - used[what] / own) for what in free}
        free = {what: share if share > 1e-12 else 0.0 for what, share in free.items()}
    running = dict.fromkeys(range(len(links.names)), 0)
    rates: dict[int, float] = {}
    spans = [most]
    for i, flight in enumerate(flights):
        c = flight.copy
        j = links.between(c.source, c.target)
        if running[j] >= links.channels[j]:
            continue
        running[j] += 1
        if flight.latency_left > 0:
            rates[i] = 0.0
            spans.append(flight.latency_left)
            continue
        cap = float(tiers.read_bandwidth[c.source])
        if tiers.read_curve[c.source]:
            chunks, speeds = zip(*tiers.read_curve[c.source], strict=True)
            cap = float(np.interp(problem.size[c.tensor], chunks, speeds))
        rate = min(
            cap,
            free["link", j] * links.bandwidth[j],
            free["tier", c.source] * tiers.read_bandwidth[c.source],
            free["tier", c.target] * tiers.write_bandwidth[c.target],
        )
        rates[i] = rate
        if rate > 0:
            free["link", j] = max(0.0, free["link", j] - rate / links.bandwidth[j])
            free["tier", c.source] = max(0.0, free["tier", c.source] - rate / tiers.read_bandwidth[c.source])
            free["tier", c.target] = max(0.0, free["tier", c.target] - rate / tiers.write_bandwidth[c.target])
            spans.append(flight.bytes_left / rate)
    span = min(spans)
    for i in rates:
        flight = flights[i]
        if flight.latency_left > 0:
            flight.latency_left = 0.0 if flight.latency_left <= span else flight.latency_left - span
        elif rates[i] > 0:
            done = flight.bytes_left / rates[i] <= span
            flight.bytes_left = 0.0 if done else flight.bytes_left - rates[i] * span
    flights[:] = [f for f in flights if f.latency_left > 0 or f.bytes_left > 0]
    return span
