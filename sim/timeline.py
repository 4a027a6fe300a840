"""Run a plan: the reference semantics of docs/semantics.md, fast."""

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.ir.timeline import Timeline


def simulate(problem: Problem, plan: Plan) -> Timeline:
    """Predict when each step and copy of a legal plan runs.

    Units: seconds and bytes. Assumes: `plan` is legal; verify it first.
    Source: docs/semantics.md.
    """
    from tierplan.sim import _kernels

    tiers, links = problem.tiers, problem.links
    serves = access_tiers(problem, plan)
    compute_s, tier_read, tier_write, link = base_loads(problem, plan, serves)
    own, limit, tier_s, link_s = _kernels.step_times(
        compute_s, tier_read, tier_write, link, tiers.read_bandwidth, tiers.write_bandwidth, links.bandwidth
    )
    order = np.argsort(plan.tables()[1][3], kind="stable")
    copies = _copy_arrays(problem, plan.tables()[1][:, order])
    cap, latency = _copy_rates(problem, copies)
    wait_at, wait_for = _waits(problem.n_steps, copies["done"])
    duration, begin, wait, waited, copy_begin, copy_end = _kernels.run(
        own, tier_s, link_s, wait_at, wait_for,
        copies["start"], copies["done"] > problem.n_steps, copies["link"], copies["source"], copies["target"],
        copies["size"], cap, latency,
        links.channels, links.bandwidth, tiers.read_bandwidth, tiers.write_bandwidth,
    )  # fmt: skip
    waited_link = np.append(copies["link"], -1)[waited]
    waited_copy = np.append(order, -1)[waited]
    place = np.argsort(order)
    streamed = tier_read.sum(axis=0), tier_write.sum(axis=0)
    link_bytes = link.sum(axis=0)
    np.add.at(link_bytes, copies["link"], copies["size"])
    energy_j, without = _energy(problem, streamed, link_bytes, copies)
    return Timeline(
        time_s=float(duration),
        tail_wait_s=float(wait[-1]),
        tail_link=int(waited_link[-1]),
        begin_s=begin,
        end_s=begin + own,
        wait_s=wait[:-1],
        waited_link=waited_link[:-1],
        waited_copy=waited_copy[:-1],
        limit=limit,
        copy_begin_s=copy_begin[place],
        copy_end_s=copy_end[place],
        read_tier=serves,
        tier_read=streamed[0],
        tier_write=streamed[1],
        link_bytes=link_bytes,
        energy_j=energy_j,
        energy_without=without,
    )


def cost_s(problem: Problem, plan: Plan) -> float:
    """Seconds of one run, or of one turn of a cyclic program, under a legal plan."""
    return simulate(problem, plan).time_s


def access_tiers(problem: Problem, plan: Plan) -> Ints:
    """Shape [A]: the tier that serves each access, -1 if none does."""
    from tierplan.sim import _kernels

    residencies, copies = plan.tables()
    residencies = residencies[:, np.lexsort((residencies[1], residencies[3], residencies[0]))]
    copies = copies[:, np.argsort(copies[0], kind="stable")]
    lies_of, lies_tier, lies_offset, lies_start, lies_stop = residencies
    copy_of, copy_source, copy_target, copy_start, copy_done = copies
    tensors = np.arange(problem.n_tensors + 1)
    by_tensor, access_at = problem.by_tensor()
    return _kernels.access_tiers(
        problem.n_steps, problem.n_tiers, problem.cyclic, problem.home, problem.tiers.direct,
        by_tensor, access_at, problem.access_step,
        problem.access_mode,
        np.searchsorted(lies_of, tensors), lies_tier, lies_offset, lies_start, lies_stop,
        np.searchsorted(copy_of, tensors), copy_source, copy_target, copy_start, copy_done,
    )  # fmt: skip


def base_loads(problem: Problem, plan: Plan, serves: Ints) -> tuple[Floats, Ints, Ints, Ints]:
    """Shapes [S], [S, K], [S, K], [S, L]: what steps compute (s), read and write per tier, and move per link (bytes).

    `serves` [A] is the tier that serves each access; the alternatives that the plan takes are counted in.
    """
    from tierplan.sim import _kernels

    tiers = problem.tiers
    tier_read, tier_write, link = _kernels.step_loads(
        problem.n_tiers, len(problem.links.names), problem.access_start, serves,
        problem.access_read, problem.access_write, tiers.read_link, tiers.write_link,
    )  # fmt: skip
    compute_s = problem.compute_s.copy()
    _add_effects(problem, plan, compute_s, tier_read, tier_write, link)
    return compute_s, tier_read, tier_write, link


def _add_effects(
    problem: Problem, plan: Plan, compute_s: Floats, tier_read: Ints, tier_write: Ints, link: Ints
) -> None:
    for taken in plan.taken:
        for effect in problem.choices[taken.choice].alternatives[taken.alternative].effects:
            compute_s[effect.step] += effect.compute_s
            for into, added in ((tier_read, effect.tier_read), (tier_write, effect.tier_write), (link, effect.link)):
                if added:
                    into[effect.step] += np.array(added)
    for loads in (compute_s, tier_read, tier_write, link):
        np.maximum(loads, 0, out=loads)


def _copy_arrays(problem: Problem, copies: Ints) -> dict[str, Ints]:
    tensor, source, target, start, done = (np.ascontiguousarray(column) for column in copies)
    tiers = range(problem.n_tiers)
    link = np.array([[problem.links.between(j, k) for k in tiers] for j in tiers], dtype=np.int64)
    return {
        "start": start, "done": done, "source": source, "target": target,
        "link": link[source, target], "size": problem.size[tensor],
    }  # fmt: skip


def _copy_rates(problem: Problem, copies: dict[str, Ints]) -> tuple[Floats, Floats]:
    """Shapes [C], [C]: the rate that the source's read curve allows each copy, and its latency."""
    tiers = problem.tiers
    cap = tiers.read_bandwidth[copies["source"]].copy()
    for tier, curve in enumerate(tiers.read_curve):
        of_tier = copies["source"] == tier
        if curve and of_tier.any():
            chunks, rates = zip(*curve, strict=True)
            cap[of_tier] = np.interp(copies["size"][of_tier], chunks, rates)
    return cap, problem.links.latency_s[copies["link"]] + tiers.latency_s[copies["source"]]


def _waits(n_steps: int, done: Ints) -> tuple[Ints, Ints]:
    """For each step and the end: which copies it needs, as index ranges into a list of copies."""
    needed_at = np.where(done > n_steps, done - n_steps, done)
    order = np.argsort(needed_at, kind="stable")
    return np.searchsorted(needed_at[order], np.arange(n_steps + 2)), order


def _energy(
    problem: Problem, streamed: tuple[Ints, Ints], link_bytes: Ints, copies: dict[str, Ints]
) -> tuple[float | None, tuple[str, ...]]:
    """Joules of compute, streams and copies as far as the machine tells, and what it does not tell.

    None joules if it tells nothing that counts.
    """
    tiers, links = problem.tiers, problem.links
    read = streamed[0] + np.bincount(copies["source"], copies["size"], minlength=problem.n_tiers)
    write = streamed[1] + np.bincount(copies["target"], copies["size"], minlength=problem.n_tiers)
    terms: list[tuple[str, float, float]] = [
        *((f"reads of {name}", float(tiers.read_j[k]), float(read[k])) for k, name in enumerate(tiers.names)),
        *((f"writes of {name}", float(tiers.write_j[k]), float(write[k])) for k, name in enumerate(tiers.names)),
        *((f"link {name}", float(links.energy_j[j]), float(link_bytes[j])) for j, name in enumerate(links.names)),
    ]
    known_compute = problem.compute_j[~np.isnan(problem.compute_j)]
    total = float(known_compute.sum()) + sum(joules * n for _, joules, n in terms if n > 0 and not np.isnan(joules))
    without = [what for what, joules, n in terms if n > 0 and np.isnan(joules)]
    if len(known_compute) < problem.n_steps:
        without.insert(0, f"compute of {problem.n_steps - len(known_compute)} steps")
    return (total if total > 0 or not without else None), tuple(without)
