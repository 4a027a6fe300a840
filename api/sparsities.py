"""From what the user names as --sparsity to how a model uses its neurons: a built-in name, a file, or a trace."""

from pathlib import Path

from tierplan.ir.errors import InvalidInputError, nearest
from tierplan.models import load_sparsity, sparsity_names
from tierplan.sim.flash_figures import ModelSparsity, read_sparsity, sparsity_of_trace
from tierplan.sim.flash_trace import load_trace

_LARGEST_FILE = 2**20


def find_sparsity(spec: str) -> ModelSparsity:
    """The sparsity of that built-in name, or in that file.

    Raises: InvalidInputError: no such name or file, or a file that is none of them.
    """
    if spec in sparsity_names():
        return read_sparsity(load_sparsity(spec), f"{spec}.yaml")
    path = Path(spec)
    if path.suffix == ".npz":
        return sparsity_of_trace(load_trace(path), path.stem)
    if path.suffix in (".yaml", ".yml", ".json"):
        return read_sparsity(_text(path), spec)
    guess = nearest(spec, sparsity_names())
    hint = f"did you mean '{guess}'? " if guess else ""
    raise InvalidInputError(
        f"no sparsity '{spec}'; {hint}--sparsity is a built-in name ({', '.join(sparsity_names())}), "
        "a .yaml or .json of figures, or a .npz trace"
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InvalidInputError(f"{path}: larger than {_LARGEST_FILE // 2**20} MiB; is this a sparsity file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInputError(f"no file '{path}'") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInputError(f"cannot read '{path}': {reason}") from None
