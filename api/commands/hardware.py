"""`tierplan hardware`: which machines are built in, what one of them says, and the schema for editors."""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tierplan.hardware.build import Hardware
    from tierplan.ir.machine import Machine, Tier, Unit


def hardware(
    show: Annotated[
        str | None,
        typer.Option("--show", metavar="NAME", help="Print the YAML of a built-in machine, or check a file."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of hardware files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, in base units.")] = False,
) -> None:
    """List the built-in machines; --show prints one, ready to copy and change."""
    from tierplan.hardware.load import builtin_names, load_hardware, read_source
    from tierplan.ir.errors import InvalidInputError

    if schema and (show is not None or as_json):
        raise InvalidInputError("--schema stands alone; leave out --show and --json")
    if schema:
        from tierplan.hardware.schema import json_schema

        sys.stdout.write(json_schema())
        return
    if show is not None:
        shown = load_hardware(show)
        sys.stdout.write(_json(_record(shown)) if as_json else read_source(show)[1])
        return
    machines = [load_hardware(name) for name in builtin_names()]
    if as_json:
        sys.stdout.write(_json({"hardware": [_record(each) for each in machines]}))
    else:
        _print_table(machines)


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2) + "\n"


def _record(hardware: "Hardware") -> dict[str, Any]:
    """A machine as JSON: bytes, bytes per second, seconds, operations per second, joules."""
    from tierplan.sim.cost import is_calibrated

    machine = hardware.machine
    return {
        "name": machine.name,
        "description": hardware.description,
        "home": machine.home,
        "calibrated": is_calibrated(machine),
        "compute": {unit.name: _unit_record(unit) for unit in (machine.matrix, machine.vector)},
        "tiers": [_renamed(dataclasses.asdict(tier)) for tier in machine.tiers],
        "links": [_renamed(dataclasses.asdict(link)) for link in machine.links],
    }


def _unit_record(unit: "Unit") -> dict[str, Any]:
    return {"peak_per_s": dict(unit.peak), "energy_j": unit.energy_j}


_UNITS = {
    "capacity": "capacity_bytes",
    "alignment": "alignment_bytes",
    "scratch": "scratch_bytes",
    "read_bandwidth": "read_bytes_per_s",
    "write_bandwidth": "write_bytes_per_s",
    "bandwidth": "bytes_per_s",
    "read_j": "read_j_per_byte",
    "write_j": "write_j_per_byte",
    "energy_j": "j_per_byte",
    "source": "from",
    "target": "to",
}


def _renamed(record: dict[str, Any]) -> dict[str, Any]:
    return {_UNITS.get(key, key): value for key, value in record.items()}


def _print_table(machines: "list[Hardware]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from tierplan.ir.units import show_bandwidth, show_bytes, show_rate

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("name", "bf16 peak", "tier", "capacity", "bandwidth", "reached"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("name", "tier", "reached") else "right")
    for each in machines:
        machine = each.machine
        heads = [machine.name, show_rate(machine.matrix.rate("bfloat16"))] + [""] * 2 * len(machine.tiers)
        for tier in machine.tiers:
            table.add_row(
                heads.pop(0),
                heads.pop(0),
                tier.name,
                show_bytes(tier.capacity),
                show_bandwidth(tier.read_bandwidth),
                _reached(machine, tier),
                end_section=tier is machine.tiers[-1],
            )
    console = Console()
    console.print(table)
    console.print("bandwidth: of reads. reached: by operations directly or over a link, or by copies over one.")
    console.print("'tierplan hardware --show NAME' prints one, ready to copy and change.")


def _reached(machine: "Machine", tier: "Tier") -> str:
    """How operations reach what lies in a tier, and the rate of the link if there is one."""
    from tierplan.ir.units import show_bandwidth

    if tier.direct and tier.read_link is None:
        return "directly"
    if tier.direct:
        rates = [link.bandwidth for link in machine.links if link.name == tier.read_link]
    else:
        rates = [link.bandwidth for link in machine.links if link.source == tier.name]
    return f"{'link' if tier.direct else 'copy'} {show_bandwidth(max(rates))}"
