"""Run a sweep: check all that can be checked, then every point that its folder lacks, then write the tables."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tierplan.ir.units import read_bytes, read_seconds
from tierplan.sweep.check import check_machines, check_models, check_names, models_on_disk, sources
from tierplan.sweep.folder import Found, found_in, identity, key_of, open_folder
from tierplan.sweep.point import prepare, prepare_search, read_budget, run
from tierplan.sweep.points import Point, corners, n_points, points
from tierplan.sweep.search import check_optuna, search
from tierplan.sweep.spec import Spec
from tierplan.sweep.tables import check_pyarrow, write_tables
from tierplan.tasks.contract import Ended, Job, Pool, Task
from tierplan.tasks.journal import Journal, finish
from tierplan.tasks.open import open_pool

_MORE_S = 600.0
_COMPILED = ("local", "auto")


@dataclass(frozen=True, slots=True)
class Where:
    """On what a sweep runs: processes of this machine, or a Ray cluster; and whether failed points run again."""

    workers: int | None = None
    ray: str | None = None
    retry: bool = False


def run_sweep(
    spec: Spec, folder: Path, where: Where, watch: Callable[[int, int], Callable[[Ended], None]]
) -> list[Found]:
    """Run the points of a sweep that its folder lacks; all of them, in their order.

    An interrupt ends the sweep with the tables of what is done.

    Args:
        watch: called once with the number of points and of those that are done; what it returns, for each end.

    Raises: InvalidInputError: anything that can be known to be wrong, before a point runs or a file is written.
    """
    check_pyarrow()
    if spec.points.search is not None:
        check_optuna()
    files = sources(spec)
    check_machines(spec, files)
    check_names(spec)
    if not (folder / "journal.jsonl").exists():
        check_models(spec)
    sweep = identity(spec, {name: source.text for name, source in files.items()}, models_on_disk(spec))

    def task(point: Point) -> Task:
        text = files[str(point.values["hardware"])].text
        return Task(key_of(point), {"values": point.values, "text": text, "threads": spec.threads})

    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(job_of(spec), workers=where.workers, ray=where.ray))
        journal = stack.enter_context(open_folder(folder, sweep))
        told = watch(n_points(spec), len(journal.ended))
        try:
            for ended in _ends(spec, pool, journal, task, where.retry):
                told(ended)
        finally:
            found = found_in(journal.ended.values())
            write_tables(folder, found)
    return found


def job_of(spec: Spec) -> Job:
    """What a worker does for each point, and within which limits."""
    memory = None if spec.limits.memory is None else read_bytes(spec.limits.memory)
    planners = {str(values["planner"]) for branch in spec.branches for values in corners(branch)}
    ready = prepare_search if planners & set(_COMPILED) else prepare
    return Job.of(run, prepare=ready, seconds=_limit_s(spec), memory_bytes=memory)


def _limit_s(spec: Spec) -> float:
    """The seconds of the spec; else ten minutes more than the longest budget."""
    if spec.limits.time is not None:
        return read_seconds(spec.limits.time)
    budgets = [read_budget(str(values["budget"])) for branch in spec.branches for values in corners(branch)]
    return max((b.seconds for b in budgets if b.evaluations is None), default=0.0) + _MORE_S


def _ends(spec: Spec, pool: Pool, journal: Journal, task: Callable[[Point], Task], retry: bool) -> Generator[Ended]:
    if spec.points.search is not None:
        return search(spec, pool, journal, task, retry=retry)
    return finish(map(task, points(spec)), pool, journal, retry=retry)
