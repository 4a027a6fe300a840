"""The planners by name. One table; a planner is imported when it is asked for."""

import importlib

from tierplan.ir.errors import unknown_name
from tierplan.planner.contract import Planner

_WHERE = {
    "auto": "tierplan.planner.auto:plan",
    "greedy": "tierplan.planner.greedy:plan",
    "exact": "tierplan.planner.exact:plan",
    "msa": "tierplan.planner.msa:plan",
    "local": "tierplan.planner.local.plan:plan",
    "flow": "tierplan.planner.flow:plan",
    "muzero": "tierplan.rl.muzero:plan",
}

DEFAULT = "auto"


def planner_names() -> tuple[str, ...]:
    """All planners, in the order in which they are listed to users."""
    return tuple(_WHERE)


def find_planner(name: str) -> Planner:
    """The planner of that name.

    Raises: InvalidInputError: there is none.
    """
    if name not in _WHERE:
        raise unknown_name("planner", name, _WHERE)
    module, function = _WHERE[name].split(":")
    planner: Planner = getattr(importlib.import_module(module), function)
    return planner
