"""Options about fusing operations into kernels, which several commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tierplan.fusing import Fusing

Fusion = Annotated[
    str | None,
    typer.Option(
        "--fusion",
        metavar="MODE",
        help="Fuse operations into kernels: none, max (as large as may be), auto (the best).",
    ),
]
Scratch = Annotated[
    str | None,
    typer.Option(
        "--scratch", metavar="SIZE", help="With --fusion: what a kernel may hold in the nearest tier. Default: HW says."
    ),
]
Launch = Annotated[
    str | None,
    typer.Option("--launch", metavar="TIME", help="With --fusion: time to start a kernel, like 2us. Default: HW says."),
]
MostOps = Annotated[
    int | None,
    typer.Option("--region-ops", metavar="N", help="With --fusion: most operations in a region. Default: 64."),
]


def read_fusing(fusion: str | None, scratch: str | None, launch: str | None, most_ops: int | None) -> "Fusing | None":
    """What was asked for; None when nothing was.

    Raises: InvalidInputError: an unknown mode, a size or time that is none, or options without `--fusion`.
    """
    from tierplan.fusing import MODES, Fusing
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.units import read_bytes, read_seconds
    from tierplan.sim.fusion_forms import MOST_OPS

    given = {"--scratch": scratch, "--launch": launch, "--region-ops": most_ops}
    if fusion is None:
        for option, value in given.items():
            if value is not None:
                raise InvalidInputError(f"{option} needs --fusion {'|'.join(MODES)}")
        return None
    return Fusing(
        fusion,
        None if scratch is None else read_bytes(scratch),
        None if launch is None else read_seconds(launch),
        MOST_OPS if most_ops is None else most_ops,
    )
