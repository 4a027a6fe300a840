"""Tell Gymnasium of the environment."""

from tierplan.ir.errors import MissingDependencyError

ENVIRONMENT = "tierplan/MallocGame-v0"


def register_environments() -> None:
    """Register `tierplan/MallocGame-v0`, once.

    Raises: MissingDependencyError: Gymnasium is not installed.
    """
    try:
        from gymnasium.envs.registration import register, registry
    except ImportError:
        raise MissingDependencyError("Gymnasium", "rl") from None
    if ENVIRONMENT not in registry:
        register(
            id=ENVIRONMENT,
            entry_point="tierplan.rl.env.single:MallocGame",
            vector_entry_point="tierplan.rl.env.vector:MallocGameVector",
        )
