"""Plan files on disk."""

from pathlib import Path

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan_file import PlanFile, parse_plan


def read_plan(path: str) -> PlanFile:
    """Read a plan file.

    Raises: InvalidInputError: missing, unreadable, or not a plan file; says where.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInputError(f"no file '{path}'; 'tierplan plan MODEL --hardware HW -o FILE' writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInputError(f"cannot read '{path}': {reason}") from None
    return parse_plan(text, path)
