"""`tierplan models`: the built-in models."""

from typing import Annotated

import typer


def models(
    show: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print the configuration of one model, or a sparsity.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the built-in models and the families that are read, or print the configuration of one."""
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
        print(dumps({"models": rows, **_families()}))
    else:
        _print_table(rows)
        print(f"sparsities, for --sparsity: {', '.join(sparsity_names())}")
        _print_families()


def _families() -> dict[str, list[str]]:
    """What is read beside the built-in models: families of configurations, architectures of GGUF files."""
    from tierplan.frontend.config import READERS
    from tierplan.frontend.gguf_model import FAMILIES

    return {"config_families": sorted(READERS), "gguf_architectures": sorted(FAMILIES)}


def _print_families() -> None:
    from rich.console import Console

    for what, listed in _families().items():
        Console().print(f"{what.replace('_', ' ')}: {', '.join(listed)}", highlight=False)


def _row(name: str) -> dict[str, str | int]:
    from math import prod

    from tierplan.frontend.config import read_config
    from tierplan.frontend.encoder_decoder import EncoderDecoder
    from tierplan.frontend.program import weight_shapes
    from tierplan.models import load

    model = read_config(load(name), name)
    parameters = sum(prod(shape) for _, shape in weight_shapes(model))
    both = isinstance(model, EncoderDecoder)
    layers = model.encoder.n_layers + model.decoder.n_layers if both else model.n_layers
    return {
        "name": name,
        "family": model.family,
        "parameters": parameters,
        "weight_bytes_bf16": 2 * parameters,
        "layers": layers,
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
