"""`tierplan cascade`: passes, counts, live tensors and bounds of a cascade of Einsums."""

from typing import Annotated, Any

import typer

from tierplan.ir.errors import InvalidInputError


def cascade(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE", help="A built-in cascade, or a file; none lists the built-in ones."),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(metavar="RANK", help="The rank to count passes over: M, or its parts m1,m0. Default: all."),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="M=4096", help="Shapes of ranks; repeat, or separate by commas.")
    ] = None,
    rewrite: Annotated[
        list[str] | None,
        typer.Option(metavar="REWRITE", help="Transforms, in order: defer-division, online:m1, ...; repeat."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Print the cascade only, as a file that can be read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how often each rank of a cascade must be traversed, what it computes, and what must be kept or moved."""
    import sys

    from tierplan.einsum.describe import describe
    from tierplan.einsum.library import find, names
    from tierplan.einsum.printer import show_cascade
    from tierplan.einsum.rewrites import rewrite as apply
    from tierplan.terminal import print_json

    if name is None:
        _print_names(names(), as_json)
        return
    found = find(name)
    sizes = _read_shapes(shape or [])
    for spec in (part.strip() for item in rewrite or [] for part in item.split(",")):
        found = apply(found, spec)
    if text:
        sys.stdout.write(show_cascade(found))
        return
    told = describe(found, rank, sizes)
    if as_json:
        print_json(told)
    else:
        _print(told)


def _read_shapes(items: list[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for item in (part.strip() for text in items for part in text.split(",")):
        rank, equals, size = (part.strip() for part in item.partition("="))
        if not equals or not rank or not size.isascii() or not size.isdigit() or len(size) > 18:
            raise InvalidInputError(f"--shape '{item}': write a rank and a whole number, like M=4096")
        if rank in sizes:
            raise InvalidInputError(f"--shape gives {rank} twice")
        sizes[rank] = int(size)
    return sizes


def _print_names(known: tuple[str, ...], as_json: bool) -> None:
    from tierplan.einsum.rewrites import REWRITES
    from tierplan.terminal import print_json

    if as_json:
        print_json({"cascades": list(known), "rewrites": {name: r.summary for name, r in REWRITES.items()}})
        return
    typer.echo("Built-in cascades:")
    for item in known:
        typer.echo(f"  {item}")
    typer.echo("Rewrites:")
    for item, entry in REWRITES.items():
        typer.echo(f"  {item:16} {entry.summary}" + (f" (takes {entry.argument})" if entry.argument else ""))


def _show(value: dict[str, Any], unit: str) -> str:
    formula = str(value["formula"])
    if value["value"] is None or formula.isdigit():
        return f"{formula} {unit}"
    return f"{formula} = {value['value']:,} {unit}"


def _print(told: dict[str, Any]) -> None:
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Indices are written in square brackets, which must not be read as markup.
    width = None if sys.stdout.isatty() else 120
    console = Console(highlight=False, markup=False, soft_wrap=True, width=width)
    console.print(told["text"])
    table = Table("Einsum", f"level over {told['rank']}", "operations", box=box.SIMPLE)
    for row in told["einsums"]:
        counts = [f"{kind}: {_show(n, '')}".rstrip() for kind, n in row["counts"].items()]
        name = f"{row['name']} (init)" if row["init"] else row["name"]
        table.add_row(name, "-" if row["level"] is None else str(row["level"]), "\n".join(counts) or "-")
    console.print(table)
    for rank, n in told["passes"].items():
        console.print(f"passes over {rank}: {n}")
    console.print(f"\nOver {told['rank']}:")
    for n, group in enumerate(told["groups"], 1):
        console.print(f"  pass level {n} may fuse: {', '.join(group)}")
    for tensor in told["live_across"]:
        levels = ", ".join(map(str, tensor["levels"]))
        console.print(
            f"  live across a barrier: {tensor['tensor']} (levels {levels}), "
            f"at least {_show(tensor['min_live'], 'elements per fiber')}"
        )
    if not told["live_across"]:
        console.print("  live across a barrier: nothing")
    bounds = told["bounds"]
    for n, live in enumerate(bounds["live_per_fiber"], 1):
        console.print(f"  live at barrier {n}: at least {_show(live, 'elements per fiber')}")
    console.print(f"  traffic, live fibers buffered:   at least {_show(bounds['traffic_buffered'], 'elements')}")
    console.print(f"  traffic, live fibers spilled:    at least {_show(bounds['traffic_unbuffered'], 'elements')}")
