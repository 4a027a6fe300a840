"""What a method reached on a program, as one line of CSV that can be played again."""

import base64
import binascii
import csv
import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Ints, Problem
from tierplan.ir.verify import violations

FIELDS = ("program", "planner", "seed", "evaluations", "cpu_s", "time_s", "gap", "plan_hash", "hardware", "actions")
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Result:
    """One method on one program. `actions`: what was played; empty for planners that do not play the game.

    Units: seconds of processor time; simulated seconds; gap as a share of the bound, nan if it is not known.
    """

    program: str
    planner: str
    seed: int
    evaluations: int
    cpu_s: float
    time_s: float
    gap: float
    plan_hash: str
    hardware: str = ""
    actions: tuple[int, ...] = ()

    def row(self) -> dict[str, str]:
        """The line of CSV."""
        values = (
            self.program, self.planner, self.seed, self.evaluations, f"{self.cpu_s:.3f}", repr(self.time_s),
            "" if math.isnan(self.gap) else f"{self.gap:.6f}", self.plan_hash, self.hardware, _packed(self.actions),
        )  # fmt: skip
        return {name: str(value) for name, value in zip(FIELDS, values, strict=True)}


def plan_hash(plan: Plan) -> str:
    """Sixteen hexadecimal digits that tell plans apart, whatever the order of their residencies."""
    residencies = sorted((r.tensor, r.tier, r.offset, r.start, r.stop) for r in plan.residencies)
    copies = [(c.tensor, c.source, c.target, c.start, c.done) for c in plan.copies]
    taken = sorted((t.choice, t.alternative) for t in plan.taken)
    return hashlib.sha256(repr((residencies, copies, taken)).encode()).hexdigest()[:16]


def complaints(problem: Problem, plan: Plan, time_s: float) -> list[str]:
    """Rules that a plan breaks, and a time that the simulator does not confirm; nothing if all is well."""
    from tierplan.sim.timeline import cost_s

    found = [str(violation) for violation in violations(problem, plan)]
    if not found:
        simulated_s = cost_s(problem, plan)
        if abs(simulated_s - time_s) > _SAME * max(simulated_s, time_s):
            found.append(f"the plan takes {simulated_s:.9g} s, not {time_s:.9g} s")
    return found


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Add lines to a file, with a heading if it is new."""
    is_new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="", encoding="utf-8") as file:
        writer: csv.DictWriter[str] = csv.DictWriter(file, FIELDS)
        if is_new:
            writer.writeheader()
        writer.writerows(result.row() for result in results)


def read_results(path: Path) -> Iterator[Result]:
    """The results in a file.

    Raises: InvalidInputError: it cannot be read, or a line is no result.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read '{path}': {error}") from None
    csv.field_size_limit(2**24)
    reader = csv.DictReader(lines)
    lacking = [name for name in FIELDS if name not in (reader.fieldnames or ())]
    if lacking:
        raise InvalidInputError(f"'{path}' line 1: no column '{lacking[0]}'; a results file has {','.join(FIELDS)}")
    for number, row in enumerate(reader, 2):
        try:
            yield _result(row)
        except (ValueError, TypeError, zlib.error, binascii.Error) as error:
            raise InvalidInputError(f"'{path}' line {number}: no result: {error}") from None


def _result(row: dict[str, str]) -> Result:
    return Result(
        row["program"], row["planner"], int(row["seed"]), int(row["evaluations"]), float(row["cpu_s"]),
        float(row["time_s"]), float(row["gap"] or math.nan), row["plan_hash"], row["hardware"],
        _unpacked(row["actions"]),
    )  # fmt: skip


def _packed(actions: tuple[int, ...]) -> str:
    """Actions as text: one byte each, compressed, in base 64."""
    return base64.b64encode(zlib.compress(bytes(actions), 9)).decode() if actions else ""


def _unpacked(text: str) -> tuple[int, ...]:
    return tuple(zlib.decompress(base64.b64decode(text, validate=True))) if text else ()


def actions_of(result: Result, n_visits: int) -> Ints:
    """The actions of a result for a program with that many visits.

    Raises: InvalidInputError: it has another number of actions.
    """
    if len(result.actions) != n_visits:
        raise InvalidInputError(
            f"the result for '{result.program}' has {len(result.actions)} actions; the program has {n_visits} visits"
        )
    return np.array(result.actions, dtype=np.int64)
