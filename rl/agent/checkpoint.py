# pyright: basic
"""What training leaves on disk: arrays in one safetensors file, all else as JSON in its header; replaced atomically."""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError

VERSION = 1
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Arrays by name, and what describes them."""

    arrays: Arrays
    about: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; whoever reads sees the old one or the new one, whole."""
    from safetensors.numpy import save

    header = {"about": json.dumps(checkpoint.about | {"version": VERSION}, sort_keys=True)}
    text = save({name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()}, metadata=header)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises: InvalidInputError: it is none, or one of another version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InvalidInputError(f"there is no checkpoint '{path}'; write one with 'tierplan train'")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("about", "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise InvalidInputError(f"'{path}' is no checkpoint: {error}") from None
    if not isinstance(about, dict) or "version" not in about:
        raise InvalidInputError(f"'{path}' is no checkpoint of an agent: its header does not describe one")
    if about["version"] != VERSION:
        raise InvalidInputError(
            f"'{path}' is a checkpoint of version {about['version']}; this tierplan reads {VERSION}: train again"
        )
    return Checkpoint(arrays, about)


def leaves_of(tree: Any, prefix: str) -> Arrays:
    """The arrays of a tree, by their place in it."""
    import jax

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        f"{prefix}{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves if hasattr(leaf, "shape")
    }


def fill_leaves(tree: Any, arrays: Arrays, prefix: str, where: str) -> Any:
    """The same tree with arrays of a checkpoint.

    Raises: InvalidInputError: one is missing, or has another shape.
    """
    import jax
    import jax.numpy as jnp

    def leaf(path: Any, old: Any) -> Any:
        if not hasattr(old, "shape"):
            return old
        name = f"{prefix}{jax.tree_util.keystr(path)}"
        if name not in arrays:
            raise InvalidInputError(f"'{where}' lacks '{name}': it is of another network; train again")
        new = arrays[name]
        if new.shape != old.shape:
            raise InvalidInputError(
                f"'{where}': '{name}' has shape {list(new.shape)}, this network needs {list(old.shape)}; "
                "train again, or give the width and blocks that it was trained with"
            )
        return jnp.asarray(new, dtype=old.dtype)

    return jax.tree_util.tree_map_with_path(leaf, tree)
