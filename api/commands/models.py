"""`tierplan models`: the built-in models."""

from typing import Annotated

import typer


def models(
    show: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print the configuration of one model, or a sparsity.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the built-in models, or print the configuration of one."""
    from json import dumps, loads

    from tierplan.models import load, load_sparsity, names, sparsity_names

    if show in sparsity_names():
        text = load_sparsity(show)
        print(dumps({"name": show, "sparsity": text}) if as_json else text, end="\n" if as_json else "")
        return
    if show is not None:
        text = load(show)
        print(dumps({**_row(show), "config": loads(text)}) if as_json else text, end="\n" if as_json else "")
        return
    rows = [_row(name) for name in names()]
    if as_json:
        print(dumps({"models": rows}))
    else:
        _print_table(rows)
        print(f"sparsities, for --sparsity: {', '.join(sparsity_names())}")


def _row(name: str) -> dict[str, str | int]:
    from tierplan.frontend.config import read_config
    from tierplan.frontend.weights import weights
    from tierplan.models import load

    arch = read_config(load(name), name)
    tensors = weights(arch).tensors("bfloat16")
    return {
        "name": name,
        "family": arch.family,
        "parameters": sum(tensor.n_elements for tensor in tensors),
        "weight_bytes_bf16": sum(tensor.size for tensor in tensors),
        "layers": arch.n_layers,
    }


def _print_table(rows: list[dict[str, str | int]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from tierplan.ir.units import show_bytes

    table = Table(title="built-in models")
    table.add_column("name", no_wrap=True)
    table.add_column("family")
    for heading in ("parameters", "weights in bf16", "layers"):
        table.add_column(heading, justify="right")
    for row in rows:
        size = show_bytes(int(row["weight_bytes_bf16"]))
        table.add_row(str(row["name"]), str(row["family"]), f"{row['parameters']:,}", size, str(row["layers"]))
    Console().print(table)
