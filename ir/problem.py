"""The problem: what planners see of a program and a machine, in numpy arrays only."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


class Mode(IntEnum):
    """How a step uses a tensor."""

    READ = 0
    UPDATE = 1  # changes a valid copy where it lies; every other copy goes stale
    PRODUCE = 2  # defines the whole tensor; needs no earlier copy


class Keep(IntEnum):
    """What a tensor must survive to."""

    NOTHING = 0
    SOMEWHERE = 1  # an output: a valid copy in some tier at the end
    HOME = 2  # a state of a program that runs once: a valid copy in its home tier at the end


NO_HOME = -1
NO_LINK = -1
_MOST_BYTES = 2**62  # sums of bytes stay below it, so that 64-bit integers cannot wrap


@dataclass(frozen=True, slots=True, eq=False)
class Tiers:
    """The tiers as arrays of length K, fastest first. Bytes, bytes/s, seconds, joules/byte (nan: not known)."""

    names: tuple[str, ...]
    capacity: Ints
    usable: Ints
    alignment: Ints
    read_bandwidth: Floats
    write_bandwidth: Floats
    latency_s: Floats
    direct: Bools
    read_link: Ints
    write_link: Ints
    read_curve: tuple[tuple[tuple[int, float], ...], ...]
    read_j: Floats
    write_j: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """The links as arrays of length L."""

    names: tuple[str, ...]
    source: Ints
    target: Ints
    bandwidth: Floats
    latency_s: Floats
    channels: Ints
    energy_j: Floats

    def between(self, source: int, target: int) -> int:
        """The fastest link from one tier to another, or `NO_LINK`."""
        found = np.flatnonzero((self.source == source) & (self.target == target))
        return int(found[np.argmax(self.bandwidth[found])]) if len(found) else NO_LINK


@dataclass(frozen=True, slots=True)
class Effect:
    """What an alternative adds to one step: compute seconds, and bytes streamed per tier and link."""

    step: int
    compute_s: float = 0.0
    tier_read: tuple[int, ...] = ()
    tier_write: tuple[int, ...] = ()
    link: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to do something: bytes taken from the top of each tier, and effects on steps."""

    name: str
    reserved: tuple[int, ...]
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A group of alternatives of which a plan takes exactly one."""

    name: str
    alternatives: tuple[Alternative, ...]

    def __post_init__(self) -> None:
        if not self.alternatives:
            raise InvalidInputError(f"choice '{self.name}' has no alternative")


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A program on a machine.

    Shapes: S steps, N tensors, A accesses, K tiers, L links. The accesses of step t are
    `access_start[t] : access_start[t + 1]`; a step accesses a tensor at most once.
    Units: bytes, seconds, joules.
    `home[x]` is the tier where tensor x lies before a program that runs once begins; `NO_HOME`
    for tensors that the program produces. In a cyclic program every tensor with a home may
    start in any tier: the planner chooses. `calibrated` problems have times of measured kernels, others of peak rates.
    """

    name: str
    tiers: Tiers
    links: Links
    step_names: tuple[str, ...]
    compute_s: Floats
    compute_j: Floats
    access_start: Ints
    access_tensor: Ints
    access_read: Ints
    access_write: Ints
    access_mode: Ints
    tensor_names: tuple[str, ...]
    tensor_kind: tuple[str, ...]
    size: Ints
    home: Ints
    keep: Ints
    cyclic: bool = False
    tokens: int = 0
    calibrated: bool = False
    choices: tuple[Choice, ...] = ()
    notes: tuple[str, ...] = field(default=())
    _by_tensor: tuple[Ints, Ints] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_names(self)
        _check_values(self)

    @property
    def n_steps(self) -> int:
        """S."""
        return len(self.step_names)

    @property
    def n_tensors(self) -> int:
        """N."""
        return len(self.tensor_names)

    @property
    def n_tiers(self) -> int:
        """K."""
        return len(self.tiers.names)

    @property
    def access_step(self) -> Ints:
        """Shape [A]: the step of each access."""
        return np.repeat(np.arange(self.n_steps), np.diff(self.access_start))

    def by_tensor(self) -> tuple[Ints, Ints]:
        """Shapes [A], [N + 1]: accesses by tensor, then by step, and where those of each tensor begin. Made once."""
        if self._by_tensor is None:
            order = np.argsort(self.access_tensor, kind="stable")
            at = np.searchsorted(self.access_tensor[order], np.arange(self.n_tensors + 1))
            object.__setattr__(self, "_by_tensor", (order, at))
        assert self._by_tensor is not None
        return self._by_tensor

    def lifespans(self) -> tuple[Ints, Ints]:
        """Shapes [N], [N]: first step at which each tensor must lie somewhere, and the step after the last.

        A tensor with a home lies somewhere from step 0; one that must survive, until the end; one with a
        home in a cyclic program, always. A tensor that nothing uses has an empty lifespan (0, 0).
        """
        start = np.full(self.n_tensors, self.n_steps, dtype=np.int64)
        stop = np.zeros(self.n_tensors, dtype=np.int64)
        step = self.access_step
        np.minimum.at(start, self.access_tensor, step)
        np.maximum.at(stop, self.access_tensor, step + 1)
        used = stop > 0
        start[self.home != NO_HOME] = 0
        stop[used & (self.keep != Keep.NOTHING)] = self.n_steps
        if self.cyclic:
            stop[self.home != NO_HOME] = self.n_steps
        start[stop == 0] = 0
        return start, stop


def _check_shapes(problem: Problem) -> None:
    n_steps, n_tensors, n_accesses = problem.n_steps, problem.n_tensors, len(problem.access_tensor)
    if n_steps == 0:
        raise InvalidInputError(f"problem '{problem.name}' has no step")
    wanted = (
        ("compute_s", problem.compute_s, n_steps),
        ("compute_j", problem.compute_j, n_steps),
        ("access_start", problem.access_start, n_steps + 1),
        ("access_read", problem.access_read, n_accesses),
        ("access_write", problem.access_write, n_accesses),
        ("access_mode", problem.access_mode, n_accesses),
        ("size", problem.size, n_tensors),
        ("home", problem.home, n_tensors),
        ("keep", problem.keep, n_tensors),
    )
    for name, array, length in wanted:
        if array.shape != (length,):
            raise InvalidInputError(f"problem '{problem.name}': {name} has shape {array.shape}, need ({length},)")
    if len(problem.tensor_kind) != n_tensors:
        raise InvalidInputError(f"problem '{problem.name}': tensor_kind has {len(problem.tensor_kind)} entries")
    ends = problem.access_start
    if ends[0] != 0 or ends[-1] != n_accesses or (np.diff(ends) < 0).any():
        raise InvalidInputError(f"problem '{problem.name}': access_start must rise from 0 to {n_accesses}")


def _check_names(problem: Problem) -> None:
    alternatives = [(f"alternative of choice '{c.name}'", [a.name for a in c.alternatives]) for c in problem.choices]
    for what, names in (
        ("tensor", problem.tensor_names),
        ("tier", problem.tiers.names),
        ("link", problem.links.names),
        ("choice", [choice.name for choice in problem.choices]),
        *alternatives,
    ):
        if len(set(names)) != len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise InvalidInputError(f"problem '{problem.name}': two {what}s are named '{twice}'; plans go by name")


def _check_values(problem: Problem) -> None:
    if not np.isfinite(problem.compute_s).all() or (problem.compute_s < 0).any():
        raise InvalidInputError(f"problem '{problem.name}': compute seconds must be finite and not negative")
    if (problem.size < 0).any() or (problem.access_read < 0).any() or (problem.access_write < 0).any():
        raise InvalidInputError(f"problem '{problem.name}': bytes cannot be negative")
    streamed = problem.access_read.astype(np.float64).sum() + problem.access_write.astype(np.float64).sum()
    if streamed + problem.size.astype(np.float64).sum() >= _MOST_BYTES:
        raise InvalidInputError(f"problem '{problem.name}': absurdly many bytes; all together must stay below 2**62")
    if not np.isin(problem.access_mode, list(Mode)).all() or not np.isin(problem.keep, list(Keep)).all():
        raise InvalidInputError(f"problem '{problem.name}': access_mode and keep must be 0, 1 or 2")
    if (problem.home[problem.keep == Keep.HOME] == NO_HOME).any():
        raise InvalidInputError(f"problem '{problem.name}': a tensor that must reach its home again has none")
    tensors = problem.access_tensor
    if len(tensors) and not (tensors.min() >= 0 and tensors.max() < problem.n_tensors):
        raise InvalidInputError(f"problem '{problem.name}': an access names a tensor that does not exist")
    if problem.n_tensors and not (problem.home.min() >= -1 and problem.home.max() < problem.n_tiers):
        raise InvalidInputError(f"problem '{problem.name}': a home names a tier that does not exist")
    pairs = problem.access_step * max(problem.n_tensors, 1) + tensors
    if len(np.unique(pairs)) != len(pairs):
        raise InvalidInputError(f"problem '{problem.name}': a step accesses a tensor twice; merge the two")
    for choice in problem.choices:
        _check_alternatives(problem, choice)


def _check_alternatives(problem: Problem, choice: Choice) -> None:
    n_tiers, n_links = problem.n_tiers, len(problem.links.names)
    for alternative in choice.alternatives:
        if len(alternative.reserved) != n_tiers or min(alternative.reserved) < 0:
            raise InvalidInputError(f"alternative '{alternative.name}': needs reserved bytes for each tier")
        if any(not 0 <= effect.step < problem.n_steps for effect in alternative.effects):
            raise InvalidInputError(f"alternative '{alternative.name}' names a step that does not exist")
        for effect in alternative.effects:
            lengths = len(effect.tier_read), len(effect.tier_write), len(effect.link)
            if any(n not in (0, wanted) for n, wanted in zip(lengths, (n_tiers, n_tiers, n_links), strict=True)):
                raise InvalidInputError(
                    f"alternative '{alternative.name}': an effect needs bytes for each tier and link"
                )
            if not math.isfinite(effect.compute_s) or any(
                abs(b) > _MOST_BYTES for b in (*effect.tier_read, *effect.tier_write, *effect.link)
            ):
                raise InvalidInputError(
                    f"alternative '{alternative.name}': an effect is not finite, or beyond 2**62 bytes"
                )


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def tiers_of(machine: Machine) -> Tiers:
    """The tiers of a machine as arrays."""
    link_index = {link.name: index for index, link in enumerate(machine.links)}
    tiers = machine.tiers
    return Tiers(
        names=tuple(tier.name for tier in tiers),
        capacity=np.array([tier.capacity for tier in tiers], dtype=np.int64),
        usable=np.array([tier.usable for tier in tiers], dtype=np.int64),
        alignment=np.array([tier.alignment for tier in tiers], dtype=np.int64),
        read_bandwidth=_floats([tier.read_bandwidth for tier in tiers]),
        write_bandwidth=_floats([tier.write_bandwidth for tier in tiers]),
        latency_s=_floats([tier.latency_s for tier in tiers]),
        direct=np.array([tier.direct for tier in tiers], dtype=np.bool_),
        read_link=np.array(
            [NO_LINK if t.read_link is None else link_index[t.read_link] for t in tiers], dtype=np.int64
        ),
        write_link=np.array(
            [NO_LINK if t.write_link is None else link_index[t.write_link] for t in tiers], dtype=np.int64
        ),
        read_curve=tuple(tier.read_curve for tier in tiers),
        read_j=_floats([tier.read_j for tier in tiers]),
        write_j=_floats([tier.write_j for tier in tiers]),
    )


def links_of(machine: Machine) -> Links:
    """The links of a machine as arrays."""
    links = machine.links
    return Links(
        names=tuple(link.name for link in links),
        source=np.array([machine.tier_index(link.source) for link in links], dtype=np.int64),
        target=np.array([machine.tier_index(link.target) for link in links], dtype=np.int64),
        bandwidth=_floats([link.bandwidth for link in links]),
        latency_s=_floats([link.latency_s for link in links]),
        channels=np.array([link.channels for link in links], dtype=np.int64),
        energy_j=_floats([link.energy_j for link in links]),
    )
