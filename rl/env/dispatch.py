"""Call a compiled function without Numba's choice among its versions, which would take half of a step."""

from typing import Any


def only_version(kernel: Any) -> Any:
    """The one version of a kernel that was compiled, to be called with the same types; itself if there are others."""
    versions = list(kernel.overloads.values())
    return versions[0].entry_point if len(versions) == 1 else kernel
