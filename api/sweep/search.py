"""Points found by multi-objective search: Optuna proposes a batch, workers run it, the answers steer the next one.

A batch is told in its order, whoever was done first, so that the points depend on the seed and the size of a batch,
not on the number of workers; and a search that was killed proposes the same points again, of which those in the
journal are not run.
"""

# pyright: basic
import warnings
from collections.abc import Callable, Generator
from typing import Any

from tierplan.ir.errors import MissingDependencyError
from tierplan.sweep.axes import Axis, Scalar, Values
from tierplan.sweep.folder import key_of
from tierplan.sweep.points import Point
from tierplan.sweep.spec import Branch, Spec
from tierplan.tasks.contract import Ended, Pool, Task
from tierplan.tasks.journal import Journal, finish

COLUMNS = {"time": "time_s", "energy": "energy_j", "cost": "cost_usd"}


def check_optuna() -> None:
    """Refuse to begin without Optuna.

    Raises: MissingDependencyError: it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        raise MissingDependencyError("optuna", "sweep") from None


def search(
    spec: Spec, pool: Pool, journal: Journal, task: Callable[[Point], Task], *, retry: bool = False
) -> Generator[Ended]:
    """Run the points that a search proposes, and yield how each ended once that is written."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    asked, wanted = spec.points, spec.points.search or 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=asked.seed, constant_liar=True, n_startup_trials=min(16, wanted // 2))
    minimize = optuna.study.StudyDirection.MINIMIZE
    study = optuna.create_study(directions=[minimize] * len(asked.objectives), sampler=sampler)
    for first in range(0, wanted, asked.batch):
        trials = [study.ask() for _ in range(min(asked.batch, wanted - first))]
        points = [_proposed(spec, trial, first + n) for n, trial in enumerate(trials)]
        yield from finish([task(point) for point in points], pool, journal, retry=retry)
        for trial, point in zip(trials, points, strict=True):
            values = objective_values(journal.ended[key_of(point)], asked.objectives)
            if values is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, values)


def objective_values(ended: Ended, objectives: list[str]) -> list[float] | None:
    """What a point reached in each objective; None if it has no plan, or no figure for one of them."""
    if not ended.ok:
        return None
    values = [ended.value["point"].get(COLUMNS[name]) for name in objectives]
    return None if any(value is None for value in values) else values


def _proposed(spec: Spec, trial: Any, index: int) -> Point:
    n = trial.suggest_categorical("branch", list(range(len(spec.branches)))) if len(spec.branches) > 1 else 0
    branch: Branch = spec.branches[n]
    values = {name: _suggested(trial, f"{n}:{name}", axis) for name, axis in branch.axes.items()}
    return Point(index, values)


def _suggested(trial: Any, name: str, axis: Axis) -> Scalar:
    if isinstance(axis, Values):
        if len(axis.values) == 1:
            return axis.values[0]
        return axis.values[trial.suggest_categorical(name, list(range(len(axis.values))))]
    if axis.whole:
        return trial.suggest_int(name, round(axis.low), round(axis.high), log=axis.log)
    return axis.written(trial.suggest_float(name, axis.low, axis.high, log=axis.log))
