"""tierplan: which tensor lies in which memory tier, at which offset, from when to when, moved when.

`plan` a program on a machine, `verify` and `simulate` what comes out, `allocate` offsets for buffers
inside a compiler pass. The submodules are imported when a name is first used, so that importing
tierplan stays quick.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierplan.hardware.load import load_machine
    from tierplan.ir.errors import InvalidInputError, InvalidPlanError, MissingDependencyError, TierplanError
    from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind
    from tierplan.ir.outcome import Outcome, Status
    from tierplan.ir.plan import Copy, Plan, Residency
    from tierplan.ir.problem import Problem
    from tierplan.ir.timeline import Timeline
    from tierplan.pipeline import lower, plan, show, simulate, verify
    from tierplan.planner.offsets import allocate

__version__ = "0.1.0"

_WHERE = {
    "Access": "tierplan.ir.graph",
    "Copy": "tierplan.ir.plan",
    "Graph": "tierplan.ir.graph",
    "InvalidInputError": "tierplan.ir.errors",
    "InvalidPlanError": "tierplan.ir.errors",
    "MissingDependencyError": "tierplan.ir.errors",
    "Op": "tierplan.ir.graph",
    "Outcome": "tierplan.ir.outcome",
    "Plan": "tierplan.ir.plan",
    "Problem": "tierplan.ir.problem",
    "Residency": "tierplan.ir.plan",
    "Status": "tierplan.ir.outcome",
    "Tensor": "tierplan.ir.graph",
    "TensorKind": "tierplan.ir.graph",
    "TierplanError": "tierplan.ir.errors",
    "Timeline": "tierplan.ir.timeline",
    "allocate": "tierplan.planner.offsets",
    "load_machine": "tierplan.hardware.load",
    "lower": "tierplan.pipeline",
    "plan": "tierplan.pipeline",
    "show": "tierplan.pipeline",
    "simulate": "tierplan.pipeline",
    "verify": "tierplan.pipeline",
}

__all__ = [
    "Access",
    "Copy",
    "Graph",
    "InvalidInputError",
    "InvalidPlanError",
    "MissingDependencyError",
    "Op",
    "Outcome",
    "Plan",
    "Problem",
    "Residency",
    "Status",
    "Tensor",
    "TensorKind",
    "TierplanError",
    "Timeline",
    "allocate",
    "load_machine",
    "lower",
    "plan",
    "show",
    "simulate",
    "verify",
]


_MODULES = ("jax",)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"tierplan.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'tierplan' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
