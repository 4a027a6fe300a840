"""Find a function by `module:function` or `file.py:function`, with what its module declares about it."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from tierplan.ir.errors import InvalidInputError, nearest


@dataclass(frozen=True, slots=True)
class Found:
    """A function, its name in its module, and the module."""

    spec: str
    function: Callable[..., Any]
    name: str
    module: ModuleType

    def declared(self, what: str) -> Any:
        """What the module declares under that name for this function; None if nothing."""
        value = getattr(self.module, what, None)
        return cast("Mapping[str, Any]", value).get(self.name) if isinstance(value, Mapping) else value

    def example_args(self) -> tuple[Any, ...]:
        """The declared example arguments.

        Raises: InvalidInputError: none are declared for this function, or they are not a tuple.
        """
        args = getattr(self.module, "example_args", None)
        if callable(args):
            try:
                args = args()
            except Exception as error:
                raise InvalidInputError(
                    f"example_args() of '{self.spec}' failed: {type(error).__name__}: {_line(error)}"
                ) from error
        if isinstance(args, Mapping):
            args = cast("Mapping[str, Any]", args).get(self.name)
        if args is None:
            raise InvalidInputError(
                f"no example arguments for '{self.spec}': write  example_args = {{'{self.name}': (...)}}  "
                "in its module, or give shapes like --shapes 'f32[8,128],bf16[128,256]'"
            )
        if not isinstance(args, tuple):
            raise InvalidInputError(
                f"example_args of '{self.spec}' is a {type(args).__name__}; write a tuple, one entry per argument"
            )
        return cast("tuple[Any, ...]", args)


def find(spec: str) -> Found:
    """The function that `spec` names.

    Importing a module runs its top level; the function itself is not called.

    Raises: InvalidInputError: not of the form `module:function`, no such module or function, or not a function.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise InvalidInputError(f"'{spec}' names no function; write module:function or path/to/file.py:function")
    module = _file(Path(place), spec) if place.endswith(".py") else _module(place, spec)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            raise InvalidInputError(_no_attribute(spec, place, part, value))
        value = getattr(value, part)
    if not callable(value):
        raise InvalidInputError(f"'{spec}' is a {type(value).__name__}, not a function; name a callable")
    return Found(spec, value, name, module)


def indices_of(found: Found, what: str) -> tuple[int, ...] | None:
    """A declaration of argument indices; None where there is none.

    Raises: InvalidInputError: it is anything but a tuple of indices.
    """
    value = found.declared(what)
    if value is None:
        return None
    indices = (value,) if isinstance(value, int) else value
    if not isinstance(indices, tuple | list) or not all(isinstance(i, int) for i in cast("list[Any]", indices)):
        raise InvalidInputError(f"{what} declared for '{found.spec}' is {value!r}; write argument indices like (0,)")
    return tuple(cast("list[int]", indices))


def flag_of(found: Found, what: str) -> bool:
    """A declaration that is true or false; false where there is none.

    Raises: InvalidInputError: it is anything but a bool.
    """
    value = found.declared(what)
    if value is not None and not isinstance(value, bool):
        raise InvalidInputError(f"{what} declared for '{found.spec}' is {value!r}; write True or False")
    return bool(value)


def _no_attribute(spec: str, place: str, part: str, value: Any) -> str:
    names = [known for known in dir(value) if not known.startswith("_")]
    functions = [known for known in names if callable(getattr(value, known)) and _is_own(value, known)]
    guess = nearest(part, functions) or nearest(part, names)
    known = f" It has: {', '.join(sorted(functions)[:12])}" if functions else ""
    return f"'{place}' has no '{part}' (from '{spec}')" + (f"; did you mean '{guess}'?" if guess else ".") + known


def _is_own(value: Any, name: str) -> bool:
    own = getattr(getattr(value, name), "__module__", None)
    return not isinstance(value, ModuleType) or own == value.__name__


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


@contextmanager
def _importable(folder: str) -> Generator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _module(place: str, spec: str) -> ModuleType:
    try:
        with _importable(str(Path.cwd())):
            return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        if place == missing or place.startswith(missing + "."):
            raise InvalidInputError(_no_module(place, spec)) from None
        raise InvalidInputError(f"module '{place}' imports '{missing}', which is not installed") from error
    except Exception as error:
        raise _failed(f"module '{place}'", error) from error


def _no_module(place: str, spec: str) -> str:
    files = {path.stem for path in Path.cwd().glob("*.py")}
    folders = {path.name for path in Path.cwd().iterdir() if path.is_dir() and path.name.isidentifier()}
    guess = nearest(place.split(".")[0], files | folders)
    hint = f"did you mean '{guess}'?" if guess else "name a module that imports from here, or a file.py"
    return f"no module '{place}' (from '{spec}'); {hint}"


def _file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        guess = nearest(path.name, [p.name for p in path.parent.glob("*.py")]) if path.parent.is_dir() else None
        hint = f"; did you mean '{path.parent / guess}'?" if guess else ""
        raise InvalidInputError(f"no file '{path}' (from '{spec}'){hint}")
    where = importlib.util.spec_from_file_location(path.stem, path)
    if where is None or where.loader is None:
        raise InvalidInputError(f"'{path}' cannot be imported; name a Python file")
    module = importlib.util.module_from_spec(where)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        with _importable(str(path.parent.resolve())):
            where.loader.exec_module(module)
    except Exception as error:
        raise _failed(f"file '{path}'", error) from error
    finally:
        if before is None:
            sys.modules.pop(path.stem, None)
        else:
            sys.modules[path.stem] = before
    return module


def _failed(what: str, error: Exception) -> InvalidInputError:
    where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
    return InvalidInputError(f"{what} fails when imported: {type(error).__name__}: {_line(error)}{where}")
