"""Arrays from an `.npz` file that nobody vouches for."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays of an `.npz` by name; nothing in it is executed.

    Raises: InvalidInputError: no such file, or not such a file.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InvalidInputError(f"{path}: not an .npz archive; write one with numpy.savez")
        with archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(f"{path}: not an .npz archive ({error})") from None
