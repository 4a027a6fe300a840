"""Find a machine by name or file: the built-in ones lie beside this module as YAML."""

from pathlib import Path
from typing import TYPE_CHECKING

from tierplan.ir.errors import InvalidInputError, nearest
from tierplan.ir.machine import Machine

if TYPE_CHECKING:
    from tierplan.hardware.build import Hardware

_HERE = Path(__file__).parent
_LARGEST_FILE = 256 * 1024


def builtin_names() -> tuple[str, ...]:
    """Names of the built-in machines, in alphabetical order."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.yaml")))


def load_machine(name_or_path: str) -> Machine:
    """The machine of that built-in name, or the one that the file describes.

    >>> load_machine("h100").tier_index("hbm")
    0

    Raises: InvalidInputError: no such name or file, or a file that is not a hardware file.
    """
    return load_hardware(name_or_path).machine


def load_hardware(name_or_path: str) -> "Hardware":
    """As `load_machine`, with the sentence that describes the machine."""
    from tierplan.hardware.build import read_hardware

    file, text = read_source(name_or_path)
    return read_hardware(text, file)


def read_source(name_or_path: str) -> tuple[str, str]:
    """The file name and the YAML text of a built-in machine, or of a user's file."""
    if name_or_path in builtin_names():
        return f"{name_or_path}.yaml", _text(_HERE / f"{name_or_path}.yaml")
    path = Path(name_or_path)
    if _looks_like_file(path):
        return name_or_path, _text(path)
    guess = nearest(name_or_path, builtin_names())
    hint = f"; did you mean '{guess}'?" if guess else "."
    raise InvalidInputError(
        f"no hardware file and no built-in hardware {name_or_path!r}{hint} Built in: {', '.join(builtin_names())}"
    )


def _looks_like_file(path: Path) -> bool:
    try:
        return path.exists() and path != Path()
    except (OSError, ValueError):
        return False


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(raw) > _LARGEST_FILE:
        raise InvalidInputError(f"{path}: larger than {_LARGEST_FILE // 1024} KiB; is this a hardware file?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{path}:{line}: not UTF-8 text; is this a hardware file?") from None
