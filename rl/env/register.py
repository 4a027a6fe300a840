"""Tell Gymnasium of the environment."""

from typing import Any

from tierplan.ir.errors import MissingDependencyError

ENVIRONMENT = "tierplan/MallocGame-v0"


def register_environments() -> None:
    """Register `tierplan/MallocGame-v0`, once.

    Raises: MissingDependencyError: Gymnasium is not installed.
    """
    try:
        from gymnasium.envs import registration
    except ImportError:
        raise MissingDependencyError("Gymnasium", "rl") from None
    known: Any = registration
    if ENVIRONMENT not in known.registry:
        known.register(
            id=ENVIRONMENT,
            entry_point="tierplan.rl.env.single:MallocGame",
            vector_entry_point="tierplan.rl.env.vector:MallocGameVector",
        )
