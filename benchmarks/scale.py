"""How planners and the simulator scale: CPU seconds on random programs of growing size.

    python benchmarks/scale.py [--tensors 100000] [--ops 20000] [--seconds 60]

Prints one line per measurement, all in one run on one machine: `greedy` on many tensors, `auto` on a long program with
four tiers, accesses simulated per second, and an edit of one tensor beside a whole simulation.
"""

import argparse
import resource
import time

import numpy as np

from tierplan.ir.problem import Links, Problem, Tiers
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.sim.incremental.session import Session, Simulated

MIB = 2**20


def machine(n_tiers: int) -> tuple[Tiers, Links]:
    """Two to four tiers, each ten times slower and many times larger than the one before; neighbours are linked."""
    k = np.arange(n_tiers)
    rate = np.array([1e12, 1e11, 1e10, 1e9][:n_tiers], dtype=np.float64)
    tiers = Tiers(
        names=tuple(("sram", "hbm", "ddr", "flash")[:n_tiers]), capacity=(64 * MIB * 4000**k).astype(np.int64),
        usable=(64 * MIB * 4000**k).astype(np.int64), alignment=np.full(n_tiers, 256, dtype=np.int64),
        read_bandwidth=rate, write_bandwidth=rate.copy(), latency_s=np.zeros(n_tiers),
        direct=k < 3, read_link=np.full(n_tiers, -1), write_link=np.full(n_tiers, -1),
        read_curve=((),) * n_tiers, read_j=np.full(n_tiers, np.nan), write_j=np.full(n_tiers, np.nan),
    )  # fmt: skip
    pairs = [(i, j) for i in range(n_tiers) for j in (i - 1, i + 1) if 0 <= j < n_tiers]
    links = Links(
        names=tuple(f"{tiers.names[i]}->{tiers.names[j]}" for i, j in pairs),
        source=np.array([i for i, _ in pairs]), target=np.array([j for _, j in pairs]),
        bandwidth=np.array([rate[max(pair)] for pair in pairs]), latency_s=np.full(len(pairs), 1e-6),
        channels=np.ones(len(pairs), dtype=np.int64), energy_j=np.full(len(pairs), np.nan),
    )  # fmt: skip
    return tiers, links


def program(n_ops: int, n_tiers: int, seed: int) -> Problem:
    """A layered program: each op reads a weight of its own, the output before it and sometimes an old one."""
    rng = np.random.default_rng(seed)
    tiers, links = machine(n_tiers)
    home = n_tiers - 2 if n_tiers > 2 else 1
    weight = rng.lognormal(np.log(MIB), 1.0, n_ops).astype(np.int64)
    output = rng.lognormal(np.log(MIB / 2), 1.0, n_ops).astype(np.int64)
    start, tensor, read, write, mode = [0], list[int](), list[int](), list[int](), list[int]()
    for t in range(n_ops):
        used = [t, *({n_ops + t - 1} if t else ()), *({n_ops + int(rng.integers(max(0, t - 40), t))} if t > 1 else ())]
        used = list(dict.fromkeys(used))
        tensor += [*used, n_ops + t]
        sizes = [int(weight[x] if x < n_ops else output[x - n_ops]) for x in used]
        read += [*sizes, 0]
        write += [*(0 for _ in used), int(output[t])]
        mode += [*(0 for _ in used), 2]
        start.append(len(tensor))
    return Problem(
        name=f"random-{n_ops}", tiers=tiers, links=links, step_names=tuple(f"op{t}" for t in range(n_ops)),
        compute_s=rng.lognormal(np.log(3e-6), 1.0, n_ops), compute_j=np.full(n_ops, np.nan),
        access_start=np.array(start), access_tensor=np.array(tensor), access_read=np.array(read),
        access_write=np.array(write), access_mode=np.array(mode),
        tensor_names=tuple([f"w{t}" for t in range(n_ops)] + [f"y{t}" for t in range(n_ops)]),
        tensor_kind=("weight",) * n_ops + ("activation",) * n_ops, size=np.concatenate([weight, output]),
        home=np.array([home] * n_ops + [-1] * n_ops), keep=np.zeros(2 * n_ops, dtype=np.int64),
        cyclic=True,
    )  # fmt: skip


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tensors", type=int, default=100_000)
    parser.add_argument("--ops", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    small = program(50, 2, 0)
    Simulated(small).warm()
    find_planner("auto")(small, Budget(1.0), cost=Simulated(small))  # compiles
    _greedy(given.tensors)
    _simulation()
    _auto(given.ops, given.seconds)


def _greedy(n_tensors: int) -> None:
    problem = program(n_tensors // 2, 2, 1)
    began, wall = time.process_time(), time.perf_counter()
    outcome = find_planner("greedy")(problem, Budget(60.0), cost=Simulated(problem))
    print(
        f"greedy, {problem.n_tensors} tensors: {time.process_time() - began:.2f} CPU s, "
        f"{time.perf_counter() - wall:.2f} s, gap {outcome.gap}",
        flush=True,
    )


def _simulation() -> None:
    problem = program(10_000, 2, 2)
    cost = Simulated(problem)
    outcome = find_planner("greedy")(problem, Budget(60.0), cost=cost)
    assert outcome.plan is not None
    cost(outcome.plan)
    began = time.process_time()
    for _ in range(5):
        cost(outcome.plan)
    whole_s = (time.process_time() - began) / 5
    print(
        f"simulation of {len(problem.access_tensor)} accesses, {len(outcome.plan.copies)} copies: {whole_s * 1e3:.1f} "
        f"CPU ms, {len(problem.access_tensor) / whole_s / 1e6:.2f} million accesses a second",
        flush=True,
    )
    session = Session(problem, outcome.plan)
    rng = np.random.default_rng(0)
    nothing, n = np.zeros(0, dtype=np.int64), 2000
    chosen = rng.integers(0, problem.n_tensors, n)
    of = [np.flatnonzero(problem.access_tensor == x) for x in chosen]
    began = time.process_time()
    for accesses in of:
        session.change(accesses, np.full(len(accesses), 1, dtype=np.int64), nothing, nothing.reshape(0, 5))
        session.undo()
    edit_s = (time.process_time() - began) / n
    print(f"an edit of one tensor and back: {edit_s * 1e6:.1f} CPU us, {whole_s / edit_s:.0f} times faster", flush=True)


def _auto(n_ops: int, seconds: float) -> None:
    problem = program(n_ops, 4, 3)
    began, wall = time.process_time(), time.perf_counter()
    outcome = find_planner("auto")(problem, Budget(seconds), cost=Simulated(problem))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"auto, {n_ops} ops on 4 tiers: {time.process_time() - began:.1f} CPU s, {time.perf_counter() - wall:.1f} s, "
        f"gap {outcome.gap}, peak {peak:.2f} GiB {outcome.notes}",
        flush=True,
    )


if __name__ == "__main__":
    main()
