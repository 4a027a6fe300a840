"""Options of a model that does not fit in memory: how much of it there is, and how its neurons are loaded."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tierplan.flash_plan import Wishes

Dram = Annotated[
    str | None,
    typer.Option("--dram", metavar="SIZE", help="Bytes of the memory above flash, in place of the hardware file's."),
]
Sparsity = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        help="How decode uses feed-forward neurons: a built-in name, a .yaml or .json of figures, or a .npz trace.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(metavar="N", help="Keep the neurons of the last N tokens in memory. Default: what is fastest."),
]
Bundling = Annotated[
    str | None,
    typer.Option(metavar="on|off", help="Store a neuron's rows of all matrices together. Default: what is fastest."),
]
Chunk = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Bytes of one read from flash, like 64KiB. Default: what is fastest.")
]
Threads = Annotated[
    int | None, typer.Option("--io-threads", metavar="N", help="Reads from flash at once. Default: what is fastest.")
]


def wishes_of(
    dram: str | None,
    sparsity: str | None,
    window: int | None,
    bundling: str | None,
    chunk: str | None,
    io_threads: int | None,
) -> "Wishes":
    """What these options say.

    Raises: InvalidInputError: a value that is none, or an option that needs --sparsity.
    """
    from tierplan.flash_plan import Wishes
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.units import read_bytes
    from tierplan.sim.flash_ways import Pins

    pinned = {"--window": window, "--bundling": bundling, "--chunk": chunk, "--io-threads": io_threads}
    given = [option for option, value in pinned.items() if value is not None]
    if given and sparsity is None:
        raise InvalidInputError(f"{', '.join(given)} needs --sparsity: without it, whole tensors are moved")
    if bundling not in (None, "on", "off"):
        raise InvalidInputError(f"--bundling is '{bundling}'; write on or off")
    pins = Pins(
        window=window,
        bundled=None if bundling is None else bundling == "on",
        chunk=None if chunk is None else read_bytes(chunk),
        threads=io_threads,
    )
    return Wishes(None if dram is None else read_bytes(dram), sparsity, pins)
