"""A portfolio of searches over one part: restarts in many orders, one patient search for proofs, and CP-SAT."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

from tierplan.ir.buffers import Ints
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_orders import order_by, rank_of
from tierplan.planner.offset_proof import Prover
from tierplan.planner.offset_schedule import attempts, luby
from tierplan.planner.offset_search import End, Part, Searcher

_SLICE = 20_000
_PATIENT_SHARE = 0.2
_PROOF_SHARE = 0.15
_FIRST_PROOF = 2_000
"""Placements that the share of such proofs must reach before it is spent; easy problems end earlier."""
_FIRST_CP_SAT = 1_500_000
"""Placements before CP-SAT is asked for the first time; it loads for half a second, and easy problems end earlier."""
_NO_PROOF_CP_SAT = 5_000
"""The same where only CP-SAT can prove that nothing fits."""
_CP_SAT_S = 0.1
"""CP-SAT's first share, in its deterministic seconds, each about 25 s of work here: a quarter of what was searched."""
_NO_PROOF_CP_SAT_S = 2.0


def improve(parts: list[Part], bests: list[Best], effort: Effort) -> None:
    """Lower the tallest part until it meets its goal or a proved bound, or the effort is spent.

    `bests[k]` belongs to `parts[k]` and is changed in place; no part needs to go lower than the bound of another.
    Works in rounds; a round runs as many searches as there are workers, and their successes count in their
    order, so that the answer depends on the seed and not on which worker was quicker.
    """
    pool_of = ThreadPoolExecutor(effort.n_workers) if effort.n_workers > 1 else nullcontext()
    rounds: dict[int, _Rounds] = {}
    with effort.interruptible(), pool_of as pool:
        while not effort.over:
            k = min(range(len(parts)), key=lambda k: (-bests[k].height, rounds[k].spent if k in rounds else 0))
            if bests[k].done or (effort.late and not bests[k].found):
                return
            if k not in rounds:
                rounds[k] = _Rounds(parts[k], bests[k], effort)
            rounds[k].run(pool)
            if not bests[k].found and bests[k].done:
                return
            bound = max(best.bound for best in bests)
            for best in bests:
                best.goal = max(best.goal, bound)


class _Rounds:
    """The searchers of one `improve`, and how far their restarts and the patient search have come."""

    def __init__(self, part: Part, best: Best, effort: Effort) -> None:
        self._part, self._best, self._effort = part, best, effort
        self._source: Iterator[tuple[Ints, int]] = attempts(part, best, effort)
        self._searchers = [Searcher(part) for _ in range(effort.n_workers)]
        self._tries = 0
        self._patient: Searcher | None = None
        self._patience, self._patient_at = 0, -1
        self._prover: Prover | None = None
        self._proving = 0
        self._next_cp_sat = _FIRST_CP_SAT if part.proves else _NO_PROOF_CP_SAT
        self._cp_sat_s = _CP_SAT_S if part.proves else _NO_PROOF_CP_SAT_S
        self.spent = 0

    def run(self, pool: ThreadPoolExecutor | None) -> None:
        """One round of restarts, then the share of the patient search, now and then CP-SAT."""
        before, best, effort = self._effort.n_nodes, self._best, self._effort
        self._restarts(pool)
        self.spent += effort.n_nodes - before
        self._be_patient()
        self._prove()
        if effort.cp_sat and self.spent > self._next_cp_sat and not best.done and not effort.over:
            _ask_cp_sat(self._part, best, effort, self._cp_sat_s)
            self._next_cp_sat, self._cp_sat_s = self._next_cp_sat * 2, self._cp_sat_s * 2

    def _restarts(self, pool: ThreadPoolExecutor | None) -> None:
        """Give every searcher the next order and capacity."""
        jobs = [next(self._source) for _ in self._searchers]
        limits = [2 * len(self._part.blocks.height) * luby(self._tries + k + 1) for k in range(len(jobs))]
        self._tries += len(jobs)
        if pool is None:
            ends = [self._restart(self._searchers[0], jobs[0], limits[0])]
        else:
            ends = list(pool.map(self._restart, self._searchers, jobs, limits))
        self._effort.n_nodes += sum(max(1, searcher.n_nodes) for searcher in self._searchers)
        for searcher, (rank, capacity), end in zip(self._searchers, jobs, ends, strict=True):
            self._learn(searcher, capacity, end, rank)

    def _be_patient(self) -> None:
        """Let one search that never restarts, at the lowest capacity of interest, have its share of placements."""
        best, effort = self._best, self._effort
        share = int(_PATIENT_SHARE * self.spent)
        while self._patience < share and self._part.proves and not best.done and not effort.over:
            if self._patient is None:
                self._patient = Searcher(self._part)
            if self._patient_at != best.target:
                self._patient_at = best.target
                keys = self._part.keys
                self._patient.restart(rank_of(order_by(keys.total, keys.width, keys.area)))
            before = self._patient.n_nodes
            end = self._patient.run(self._patient_at, min(_SLICE, share - self._patience + 1), effort.rules)
            nodes = self._patient.n_nodes - before
            self._patience += max(1, nodes)
            effort.n_nodes += nodes
            self._learn(self._patient, self._patient_at, end, None)

    def _prove(self) -> None:
        """Let searches of parts of the time have their share of placements: they raise the bound."""
        share = int(_PROOF_SHARE * self.spent) - _FIRST_PROOF
        if share <= self._proving or not self._part.blocks.plain or self._best.done or self._effort.over:
            return
        if self._prover is None:
            self._prover = Prover(self._part, self._best, self._effort)
        before = self._effort.n_nodes
        self._prover.run(share - self._proving)
        self._proving += self._effort.n_nodes - before

    def _restart(self, searcher: Searcher, job: tuple[Ints, int], n_nodes: int) -> End:
        rank, capacity = job
        searcher.restart(rank)
        end = End.PAUSED
        while end is End.PAUSED and searcher.n_nodes < n_nodes and not self._effort.over:
            before = searcher.n_nodes
            end = searcher.run(capacity, min(_SLICE, n_nodes - before), self._effort.rules)
            if searcher.n_nodes == before:
                break
        return end

    def _learn(self, searcher: Searcher, capacity: int, end: End, rank: Ints | None) -> None:
        if end is End.SOLVED:
            offset = searcher.offset
            self._best.take(offset, int((offset + self._part.blocks.height).max()), "search", rank)
        elif end is End.EXHAUSTED and self._part.proves:
            self._best.bound = max(self._best.bound, capacity + 1)


def _ask_cp_sat(part: Part, best: Best, effort: Effort, limit_s: float) -> None:
    from tierplan.planner.offset_cpsat import Verdict, ask

    capacity = best.height - 1
    hint = best.offset if best.found else None
    answer = ask(part.blocks, capacity, hint=hint, seed=effort.seed, limit_s=limit_s, wall_s=effort.left_s)
    if answer.verdict is Verdict.FITS:
        best.take(answer.offset, int((answer.offset + part.blocks.height).max()), "CP-SAT")
    elif answer.verdict is Verdict.CANNOT_FIT:
        best.bound = max(best.bound, capacity + 1)
