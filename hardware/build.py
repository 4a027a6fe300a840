"""From the text of a hardware file to a `Machine`; every mistake is told with file, line, column and key path."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tierplan.hardware.calibration_schema import CalibrationEntry, calibration_of
from tierplan.hardware.execution_schema import BurstEntry, ExecutionEntry, RowCostEntry, execution_of
from tierplan.hardware.schema import (
    Compute,
    ComputeUnit,
    CurvePoint,
    HardwareFile,
    LinkEntry,
    NetworkEntry,
    TierEntry,
)
from tierplan.hardware.spatial_schema import (
    ActionEntry,
    ArrayEntry,
    BufferEntry,
    MemoryEntry,
    OperationEntry,
    SpatialEntry,
)
from tierplan.hardware.tree import KeyPath, Tree, read_tree
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError, nearest, unknown_name
from tierplan.ir.machine import Link, Machine, Network, Tier, Unit, unreached_tiers

_PLAIN_WORDS = {
    "string_type": "need text; put it in quotes",
    "int_type": "need a whole number, without a unit",
    "bool_type": "need true or false",
    "list_type": "need a list: one '- ...' per entry",
    "model_type": "need a mapping: one 'key: value' per line",
    "model_attributes_type": "need a mapping: one 'key: value' per line",
    "dict_type": "need a mapping: one 'key: value' per line",
    "string_pattern_mismatch": "need a name: letters, digits and . _ - : + / > only, beginning with a letter or digit",
}


@dataclass(frozen=True, slots=True)
class Hardware:
    """A machine, the sentence that describes it, and its arrays of processing elements if the file has them."""

    machine: Machine
    description: str
    spatial: SpatialEntry | None = None


def read_hardware(text: str, file: str) -> Hardware:
    """Build the machine that `text` describes; `file` is its name in messages.

    Raises: InvalidInputError: one line that says what is wrong, where, and what to write instead.
    """
    return build_hardware(read_tree(text, file))


def build_hardware(tree: Tree) -> Hardware:
    """Build the machine that the values of a file describe.

    Raises: InvalidInputError: as `read_hardware`.
    """
    try:
        entry = HardwareFile.model_validate(tree.value)
    except ValidationError as error:
        raise _first_mistake(tree, error.errors(include_url=False)) from None
    return Hardware(_machine(tree, entry), " ".join(entry.description.split()), entry.spatial)


def _first_mistake(tree: Tree, mistakes: list[ErrorDetails]) -> InvalidInputError:
    """The mistake to tell: a misspelt key before the missing one it causes, else in the order of the file."""

    def order(mistake: ErrorDetails) -> tuple[int, int, int]:
        place = tree.position(_path(mistake))
        rank = {"extra_forbidden": 0, "missing": 2}.get(mistake["type"], 1)
        if mistake["loc"] == ("schema",):
            rank //= 2
        return rank, place.line, place.column

    mistake = min(mistakes, key=order)
    path, kind = _path(mistake), mistake["type"]
    if kind == "extra_forbidden":
        return tree.error(path, str(unknown_name("key", str(path[-1]), _known_keys(path[:-1]))), of_key=True)
    if kind == "dtype":
        if nearest(str(path[-1]), ["energy"]):
            return tree.error(path, str(unknown_name("key", str(path[-1]), ["energy", *BITS])), of_key=True)
        return tree.error(path, mistake["msg"], of_key=True)
    if path == ("schema",):
        return tree.error(path, "write 'schema: 1', the version of the format that this tierplan reads")
    if kind == "missing":
        return tree.error(path[:-1], f"missing key '{path[-1]}'")
    message = _PLAIN_WORDS.get(kind) or mistake["msg"].replace("Input should", "must")
    return tree.error(path, message)


def _path(mistake: ErrorDetails) -> KeyPath:
    return tuple(mistake["loc"])


def _known_keys(path: KeyPath) -> list[str]:
    """The keys that the mapping at `path` may have."""
    model: type[BaseModel] = HardwareFile
    if path and path[0] == "spatial":
        inner = {"memory": MemoryEntry, "buffer": BufferEntry, "arrays": ArrayEntry, "actions": ActionEntry}
        model = OperationEntry if "operations" in path else inner[str(path[1])] if path[1:] else SpatialEntry
    elif path and path[0] == "calibration":
        model = CalibrationEntry
    elif path and path[0] == "execution":
        inner = {"bursts": BurstEntry, "product": RowCostEntry, "store": RowCostEntry}
        model = inner[str(path[1])] if path[1:] else ExecutionEntry
    elif path:
        inner = {"compute": Compute, "tiers": TierEntry, "links": LinkEntry, "interconnect": NetworkEntry}
        model = inner[str(path[0])] if "read_curve" not in path else CurvePoint
    return [field.alias or name for name, field in model.model_fields.items()]


def _machine(tree: Tree, entry: HardwareFile) -> Machine:
    tiers = tuple(_tier(tree, index, tier) for index, tier in enumerate(entry.tiers))
    _check_unique(tree, "tier", [(("tiers", index, "name"), tier.name) for index, tier in enumerate(tiers)])
    names = [tier.name for tier in tiers]
    _check_known(tree, ("home",), "tier", entry.home, names)
    links: list[Link] = []
    paths: list[KeyPath] = []
    for index, link in enumerate(entry.links):
        _check_known(tree, ("links", index, "from"), "tier", link.source, names)
        _check_known(tree, ("links", index, "to"), "tier", link.target, names)
        for made in _links(link):
            links.append(made)
            paths.append(("links", index))
    _check_unique(tree, "link", [(path, link.name) for path, link in zip(paths, links, strict=True)])
    _check_tier_links(tree, tiers, links)
    for index, tier in enumerate(tiers):
        if tier.name in unreached_tiers(tiers, links):
            message = f"no link leads from tier '{tier.name}' towards a direct tier; add one to 'links'"
            raise tree.error(("tiers", index), message)
    networks = tuple(
        Network(n.name, n.devices, n.bandwidth, n.latency, n.topology == "ring") for n in entry.interconnect
    )
    _check_unique(tree, "interconnect", [(("interconnect", i, "name"), n.name) for i, n in enumerate(networks)])
    for index, (earlier, later) in enumerate(itertools.pairwise(networks), 1):
        if later.devices <= earlier.devices:
            message = f"joins {later.devices} devices, no more than '{earlier.name}'; write the smallest first"
            raise tree.error(("interconnect", index, "devices"), message)
    try:
        matrix, vector = _unit("matrix", entry.compute.matrix), _unit("vector", entry.compute.vector)
        calibration = None if entry.calibration is None else calibration_of(entry.calibration)
        home, launch = entry.home, entry.launch
        execution = None if entry.execution is None else execution_of(entry.execution)
        return Machine(entry.name, matrix, vector, tiers, tuple(links), home, launch, networks, calibration, execution)
    except InvalidInputError as error:
        raise tree.error((), str(error)) from None


def _unit(name: str, entry: ComputeUnit) -> Unit:
    return Unit(name, dict(entry.peak), entry.energy)


def _tier(tree: Tree, index: int, entry: TierEntry) -> Tier:
    read_bandwidth = entry.bandwidth if entry.read_bandwidth is None else entry.read_bandwidth
    write_bandwidth = entry.bandwidth if entry.write_bandwidth is None else entry.write_bandwidth
    assert read_bandwidth is not None
    assert write_bandwidth is not None
    try:
        return Tier(
            name=entry.name,
            capacity=entry.capacity,
            read_bandwidth=read_bandwidth,
            write_bandwidth=write_bandwidth,
            latency_s=entry.latency,
            alignment=entry.alignment,
            scratch=entry.scratch,
            direct=entry.direct,
            read_link=entry.read_link,
            write_link=entry.write_link,
            read_curve=tuple((point.chunk, point.bandwidth) for point in entry.read_curve),
            queue_depth=entry.queue_depth,
            read_j=entry.read_energy,
            write_j=entry.write_energy,
            price=entry.price,
        )
    except InvalidInputError as error:
        raise tree.error(("tiers", index), str(error)) from None


def _links(entry: LinkEntry) -> list[Link]:
    ends = [(entry.source, entry.target)]
    if entry.duplex:
        ends.append((entry.target, entry.source))
    return [
        Link(
            name=entry.name or f"{source}->{target}",
            source=source,
            target=target,
            bandwidth=entry.bandwidth,
            latency_s=entry.latency,
            channels=entry.channels,
            energy_j=entry.energy,
        )
        for source, target in ends
    ]


def _check_known(tree: Tree, path: KeyPath, what: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        raise tree.error(path, str(unknown_name(what, name, known)))


def _check_unique(tree: Tree, what: str, named: list[tuple[KeyPath, str]]) -> None:
    first: dict[str, KeyPath] = {}
    for path, name in named:
        if name in first:
            line = tree.position(first[name]).line
            raise tree.error(path, f"two {what}s are named '{name}'; the first is on line {line}")
        first[name] = path


def _check_tier_links(tree: Tree, tiers: tuple[Tier, ...], links: list[Link]) -> None:
    """Direct reads must cross a link that starts at their tier, direct writes one that ends there."""
    by_name = {link.name: link for link in links}
    for index, tier in enumerate(tiers):
        for key, name in (("read_link", tier.read_link), ("write_link", tier.write_link)):
            if name is None:
                continue
            path = ("tiers", index, key)
            if name not in by_name:
                if not by_name:
                    raise tree.error(path, f"unknown link '{name}'; the file has no 'links'")
                raise tree.error(path, str(unknown_name("link", name, by_name)))
            link = by_name[name]
            end, verb = (link.source, "start") if key == "read_link" else (link.target, "end")
            if end != tier.name:
                message = f"must {verb} at '{tier.name}'; '{name}' leads from '{link.source}' to '{link.target}'"
                raise tree.error(path, message)
