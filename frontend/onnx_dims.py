"""Sizes for the dimensions that an ONNX file leaves open: `--dim batch=1`."""

from collections.abc import Iterable, Mapping

from tierplan.frontend.array_ops import MOST_ELEMENTS
from tierplan.frontend.jaxpr_block import Shape
from tierplan.frontend.onnx_model import OnnxGraph
from tierplan.ir.errors import InvalidInputError, nearest


def read_dims(texts: Iterable[str]) -> dict[str, int]:
    """Sizes by name from texts like `batch=1`.

    >>> read_dims(["batch=1", "x.2=480"])
    {'batch': 1, 'x.2': 480}

    Raises: InvalidInputError: a text of another form, a size that is none, or a name given twice.
    """
    dims: dict[str, int] = {}
    for text in texts:
        name, equals, size = text.rpartition("=")
        if not equals or not name or not size.isdecimal() or not size.isascii():
            raise InvalidInputError(f"--dim '{text}' is not a name and a size; write --dim batch=1")
        if len(size) > 15 or not 1 <= int(size) <= MOST_ELEMENTS:
            raise InvalidInputError(f"--dim {name}: the size {size[:20]} is not from 1 to {MOST_ELEMENTS}")
        if name in dims:
            raise InvalidInputError(f"--dim {name} is given twice")
        dims[name] = int(size)
    return dims


def bound_shapes(graph: OnnxGraph, dims: Mapping[str, int]) -> dict[str, Shape]:
    """The shape of each input with its open dimensions bound.

    A dimension without a name is called `INPUT.AXIS`; that also overrides any other one.
    Raises: InvalidInputError: a dimension has no size, an input has no shape, or a name is nobody's.
    """
    shapes: dict[str, Shape] = {}
    missing: dict[str, str] = {}
    used: set[str] = set()
    known: set[str] = set()
    for value in graph.inputs:
        if value.shape is None:
            raise InvalidInputError(f"input '{value.name}' has no shape; write one into the file")
        extents: list[int] = []
        for axis, dim in enumerate(value.shape):
            own = f"{value.name}.{axis}"
            name = dim if isinstance(dim, str) and own not in dims else own
            known.add(dim if isinstance(dim, str) else own)
            if name in dims:
                used.add(name)
                extents.append(dims[name])
            elif isinstance(dim, int):
                extents.append(dim)
            else:
                missing.setdefault(name, f"axis {axis} of input '{value.name}'")
                extents.append(1)
        shapes[value.name] = tuple(extents)
    strange = [name for name in dims if name not in used]
    if strange:
        guess = nearest(strange[0], known)
        hint = f"did you mean '{guess}'?" if guess else f"there are: {', '.join(sorted(known))}"
        raise InvalidInputError(f"--dim {strange[0]}: no input has a dimension of this name; {hint}")
    if missing:
        where = ", ".join(f"'{name}' ({place})" for name, place in missing.items())
        write = " ".join(f"--dim {_quoted(name)}=N" for name in missing)
        raise InvalidInputError(f"no size for dimension {where}; write {write}")
    return shapes


def _quoted(name: str) -> str:
    return name if name.replace("_", "").replace(".", "").isalnum() else f"'{name}'"
