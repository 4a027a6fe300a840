"""The machine: compute units, tiers of memory (fastest first), the links between them, and networks of devices."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tierplan.ir.calibration import Calibration
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.execution import Execution


def _positive(what: str, value: float) -> None:
    if not math.isfinite(value) or value <= 0:
        raise InvalidInputError(f"{what} is {value}; need a positive, finite number")


def _not_negative(what: str, value: float) -> None:
    if not math.isfinite(value) or value < 0:
        raise InvalidInputError(f"{what} is {value}; need a finite number, 0 or more")


@dataclass(frozen=True, slots=True)
class Tier:
    """One level of memory.

    Ops read and write a `direct` tier where it lies; if it names a `read_link` or
    `write_link`, what they stream crosses that link too. A tensor in a tier that is not
    direct must be copied before use. `scratch` bytes at the top are for tiling, not for plans.
    `read_curve` gives the bandwidth reached by chunk size, for flash: (bytes, bytes/s) points
    with rising chunk sizes; between two points it is interpolated linearly.

    Units: bytes, bytes per second, seconds, joules per byte, US dollars per byte (None: not known).
    """

    name: str
    capacity: int
    read_bandwidth: float
    write_bandwidth: float
    latency_s: float = 0.0
    alignment: int = 1
    scratch: int = 0
    direct: bool = True
    read_link: str | None = None
    write_link: str | None = None
    read_curve: tuple[tuple[int, float], ...] = ()
    queue_depth: int = 1
    read_j: float | None = None
    write_j: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        _positive(f"capacity of tier '{self.name}'", self.capacity)
        _positive(f"read bandwidth of tier '{self.name}'", self.read_bandwidth)
        _positive(f"write bandwidth of tier '{self.name}'", self.write_bandwidth)
        _not_negative(f"latency of tier '{self.name}'", self.latency_s)
        _positive(f"alignment of tier '{self.name}'", self.alignment)
        _positive(f"queue depth of tier '{self.name}'", self.queue_depth)
        if not 0 <= self.scratch < self.capacity:
            raise InvalidInputError(f"scratch of tier '{self.name}' is {self.scratch} B; need less than its capacity")
        chunks = [chunk for chunk, _ in self.read_curve]
        if any(later <= earlier for earlier, later in itertools.pairwise(chunks)):
            raise InvalidInputError(f"read curve of tier '{self.name}' must have rising chunk sizes")
        rates = [rate for _, rate in self.read_curve]
        if any(later < earlier for earlier, later in itertools.pairwise(rates)):
            raise InvalidInputError(f"read curve of tier '{self.name}' must not fall with the chunk size")
        if rates and rates[-1] > self.read_bandwidth:
            raise InvalidInputError(f"read curve of tier '{self.name}' rises above its read bandwidth")

    @property
    def usable(self) -> int:
        """Bytes that plans may occupy."""
        return self.capacity - self.scratch


@dataclass(frozen=True, slots=True)
class Link:
    """A path for copies from one tier to another, `channels` of them at once."""

    name: str
    source: str
    target: str
    bandwidth: float
    latency_s: float = 0.0
    channels: int = 1
    energy_j: float | None = None

    def __post_init__(self) -> None:
        _positive(f"bandwidth of link '{self.name}'", self.bandwidth)
        _not_negative(f"latency of link '{self.name}'", self.latency_s)
        _positive(f"channels of link '{self.name}'", self.channels)
        if self.source == self.target:
            raise InvalidInputError(f"link '{self.name}' leads from '{self.source}' to itself")


@dataclass(frozen=True, slots=True)
class Unit:
    """A compute unit: peak operations per second by element type, joules per operation if known."""

    name: str
    peak: Mapping[str, float]
    energy_j: float | None = None

    def __post_init__(self) -> None:
        if not self.peak:
            raise InvalidInputError(f"compute unit '{self.name}' names no dtype")
        for dtype, rate in self.peak.items():
            if dtype not in BITS:
                raise unknown_name(f"dtype of compute unit '{self.name}'", dtype, BITS)
            _positive(f"peak of compute unit '{self.name}' for {dtype}", rate)

    def rate(self, dtype: str) -> float:
        """Peak operations per second in `dtype`.

        Assumes: an unlisted dtype runs as the narrowest listed one that is at least as wide;
        one wider than all runs as the widest, slower by the ratio of the widths.
        """
        if dtype in self.peak:
            return self.peak[dtype]
        bits = BITS[dtype]
        wide_enough = [d for d in self.peak if BITS[d] >= bits]
        if wide_enough:
            return self.peak[min(wide_enough, key=lambda d: (BITS[d], -self.peak[d]))]
        widest = max(self.peak, key=lambda d: (BITS[d], self.peak[d]))
        return self.peak[widest] * BITS[widest] / bits


@dataclass(frozen=True, slots=True)
class Network:
    """What joins a machine to others of its kind: up to `devices` of them, each at `bandwidth` in each direction.

    `latency_s` is the time of one step of a collective beyond its bytes. In a `ring` a device talks to its neighbours;
    behind a switch it talks to all others at once, its bandwidth shared among them.
    """

    name: str
    devices: int
    bandwidth: float
    latency_s: float = 0.0
    ring: bool = False

    def __post_init__(self) -> None:
        if self.devices < 2:
            raise InvalidInputError(f"interconnect '{self.name}' joins {self.devices} devices; need 2 or more")
        _positive(f"bandwidth of interconnect '{self.name}'", self.bandwidth)
        _not_negative(f"latency of interconnect '{self.name}'", self.latency_s)


@dataclass(frozen=True, slots=True)
class Machine:
    """Compute, tiers fastest first, links, and the networks that join several such machines, smallest first.

    `home` is the tier where the inputs and weights of a program that runs once start; if they
    do not fit there, the next slower one that holds them. `launch_s` is the time to start one
    kernel, in which nothing computes. `calibration` holds constants fitted on measured kernels, if there are any, and
    `execution` what was measured of sparse decodes from flash.
    """

    name: str
    matrix: Unit
    vector: Unit
    tiers: tuple[Tier, ...]
    links: tuple[Link, ...]
    home: str
    launch_s: float = 0.0
    networks: tuple[Network, ...] = ()
    calibration: Calibration | None = None
    execution: Execution | None = None

    def __post_init__(self) -> None:
        names = [tier.name for tier in self.tiers]
        if not names:
            raise InvalidInputError(f"machine '{self.name}' has no tier")
        _not_negative(f"launch of machine '{self.name}'", self.launch_s)
        for what, all_names in (("tier", names), ("link", [link.name for link in self.links])):
            for name in all_names:
                if all_names.count(name) > 1:
                    raise InvalidInputError(f"machine '{self.name}' has two {what}s named '{name}'")
        joined = [network.devices for network in self.networks]
        if any(later <= earlier for earlier, later in itertools.pairwise(joined)):
            raise InvalidInputError(f"each interconnect of machine '{self.name}' must join more devices than the last")
        if self.home not in names:
            raise unknown_name("home tier", self.home, names)
        for link in self.links:
            for end in (link.source, link.target):
                if end not in names:
                    raise unknown_name(f"tier in link '{link.name}'", end, names)
        for tier in self.tiers:
            for name in (tier.read_link, tier.write_link):
                if name is not None and name not in {link.name for link in self.links}:
                    raise unknown_name(f"link of tier '{tier.name}'", name, (link.name for link in self.links))
        if not any(tier.direct for tier in self.tiers):
            raise InvalidInputError(f"machine '{self.name}' has no direct tier: operations could read nothing")
        for name in unreached_tiers(self.tiers, self.links):
            raise InvalidInputError(
                f"no link leads from tier '{name}' towards compute; add one to 'links', or make the tier direct"
            )

    @property
    def price(self) -> float | None:
        """US dollars of the tiers that have a price; None if none has."""
        known = [tier.capacity * tier.price for tier in self.tiers if tier.price is not None]
        return sum(known) if known else None

    def network(self, reach: int) -> Network:
        """The smallest network that joins `reach` devices that stand side by side.

        Raises: InvalidInputError: none does.
        """
        for network in self.networks:
            if reach <= network.devices:
                return network
        if not self.networks:
            raise InvalidInputError(
                f"machine '{self.name}' has no 'interconnect' in its hardware file, so it is one device; "
                "add the interconnect, or leave --tp, --pp and --ep out"
            )
        raise InvalidInputError(
            f"the interconnects of machine '{self.name}' join {self.networks[-1].devices} devices at most; "
            f"{reach} are needed"
        )

    def tier_index(self, name: str) -> int:
        """Position of the tier of that name, 0 nearest to compute."""
        for index, tier in enumerate(self.tiers):
            if tier.name == name:
                return index
        raise unknown_name("tier", name, (tier.name for tier in self.tiers))


def unreached_tiers(tiers: Sequence[Tier], links: Sequence[Link]) -> tuple[str, ...]:
    """Names of the tiers from which no chain of links leads to a direct tier."""
    reached = {tier.name for tier in tiers if tier.direct}
    grown = True
    while grown:
        before = len(reached)
        reached |= {link.source for link in links if link.target in reached}
        grown = len(reached) > before
    return tuple(tier.name for tier in tiers if tier.name not in reached)
