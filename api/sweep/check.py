"""What can be known to be wrong with a sweep before any of its points runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tierplan.hardware.load import read_source
from tierplan.hardware.tree import Tree, read_tree
from tierplan.hardware.vary import vary
from tierplan.ir.dtypes import dtype_name
from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.machine import Machine
from tierplan.planner.registry import find_planner
from tierplan.programs import read_program
from tierplan.routing import Skew
from tierplan.sweep.axes import Scalar
from tierplan.sweep.point import read_budget, settings_of, shaping_of
from tierplan.sweep.points import corners
from tierplan.sweep.spec import Branch, Spec

PHASES = ("prefill", "decode", "train")


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a hardware file, and its name in messages."""

    text: str
    tree: Tree


def sources(spec: Spec) -> dict[str, Source]:
    """The hardware files of a spec, by the names that it gives them.

    Raises: InvalidInputError: one that cannot be read.
    """
    found: dict[str, Source] = {}
    for n, branch in enumerate(spec.branches):
        try:
            file, text = read_source(branch.hardware)
        except InvalidInputError as error:
            raise spec.tree.error(("hardware", n), str(error)) from None
        found[branch.hardware] = Source(text, read_tree(text, file))
    return found


def check_machines(spec: Spec, files: dict[str, Source]) -> None:
    """Refuse keys that a hardware file does not have, values that it cannot take, and objectives that it cannot tell.

    Raises: InvalidInputError: says which, and where.
    """
    for n, branch in enumerate(spec.branches):
        tree = files[branch.hardware].tree
        machines: list[Machine] = []
        for values in _settings(branch):
            try:
                machines.append(vary(tree, values).machine)
            except InvalidInputError as error:
                raise spec.tree.error(("hardware", n), str(error)) from None
        if spec.points.search is not None:
            for objective in spec.points.objectives:
                if lacking := _lacking(objective, machines[0]):
                    message = f"'{branch.hardware}' {lacking}, which the objective '{objective}' needs; set one"
                    raise spec.tree.error(("hardware", n), message)


def check_names(spec: Spec) -> None:
    """Refuse planners, budgets, phases, element types and routings that do not exist.

    Raises: InvalidInputError: says which, and where.
    """
    checks: dict[str, tuple[str, Callable[[str], object]]] = {
        "planner": ("planners", find_planner),
        "budget": ("budgets", read_budget),
        "dtype": ("dtypes", dtype_name),
        "phase": ("phases", _phase),
        "routing": ("routings", Skew.of),
    }
    for branch in spec.branches:
        for values in corners(branch):
            for name, (plural, check) in checks.items():
                if name not in values:
                    continue
                try:
                    check(str(values[name]))
                except InvalidInputError as error:
                    raise spec.tree.error((plural,), str(error)) from None
    _limits(spec)


def check_models(spec: Spec) -> None:
    """Refuse models that cannot be read in a phase and an element type; each is read once, without its sizes.

    Raises: InvalidInputError: says which.
    """
    seen: set[tuple[Scalar | None, ...]] = set()
    for branch in spec.branches:
        for values in corners(branch):
            kind = tuple(values.get(name) for name in ("model", "phase", "dtype"))
            if kind in seen:
                continue
            seen.add(kind)
            try:
                read_program(str(values["model"]), shaping_of(values))
            except InvalidInputError as error:
                raise spec.tree.error(("models",), str(error)) from None


def models_on_disk(spec: Spec) -> Iterator[Path]:
    """The files that a spec names as models."""
    for branch in spec.branches:
        for values in corners(branch):
            model = str(values["model"])
            yield from (path for path in (Path(model), Path(model.rpartition(":")[0])) if path.is_file())


def _settings(branch: Branch) -> list[dict[str, Scalar]]:
    return [dict(one) for one in dict.fromkeys(settings_of(values) for values in corners(branch))]


def _lacking(objective: str, machine: Machine) -> str | None:
    if objective == "cost" and machine.price is None:
        return "has no price for any tier"
    energies = [e for tier in machine.tiers for e in (tier.read_j, tier.write_j)]
    energies += [link.energy_j for link in machine.links] + [machine.matrix.energy_j, machine.vector.energy_j]
    if objective == "energy" and all(energy is None for energy in energies):
        return "has no energy of any part"
    return None


def _phase(name: str) -> None:
    if name not in PHASES:
        raise unknown_name("phase", name, PHASES)


def _limits(spec: Spec) -> None:
    from tierplan.ir.units import read_bytes, read_seconds

    for key, text, read in (("time", spec.limits.time, read_seconds), ("memory", spec.limits.memory, read_bytes)):
        if text is None:
            continue
        try:
            read(text)
        except InvalidInputError as error:
            raise spec.tree.error(("limits", key), str(error)) from None
