"""A key-value cache that grows: pages of each layer in groups, the decode turn at any context, and the mean turn."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats, Ints, Keep, Mode, Problem

PAGE = 16
"""Positions of a page. Source: the default block of vLLM, Kwon et al., SOSP 2023, section 7.2."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A service: `prompt` positions are read, then `new` tokens written, the first of them by the prompt's own turn.

    Decode turn i of `new - 1` sees `prompt + i` positions.
    """

    prompt: int
    new: int

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.new < 2:
            raise InvalidInputError(
                f"a prompt of {self.prompt} and {self.new} new tokens; need 1 or more, and 2 or more"
            )

    @property
    def contexts(self) -> Ints:
        """Shape [new - 1]: positions that each decode turn sees, itself included."""
        return np.arange(self.prompt + 1, self.prompt + self.new, dtype=np.int64)

    @property
    def last(self) -> int:
        """Positions at the last decode turn."""
        return self.prompt + self.new - 1


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [begin, end) of a cache, `row` bytes each. `limit`: the most rows that the cache has during the service.

    A cache that has fewer rows than there are positions is a rolling buffer.
    """

    cache: str
    begin: int
    end: int
    row: float
    limit: int

    def bytes_at(self, context: int) -> float:
        """Bytes that the part holds when the service has come to that context."""
        return self.row * min(max(0, min(context, self.limit) - self.begin), self.end - self.begin)


@dataclass(frozen=True, slots=True, eq=False)
class Paged:
    """A decode turn whose caches are cut into groups of pages, as numbers that depend on the context.

    `problem`: the mean turn of the service; sizes are those at its end. `first` and `last` are the turns that see the
    fewest and the most positions. `parts`: what the tensors are that are groups of pages, by name.
    Shapes: `part_of` [tensors], the number of a part, -1 for what is no cache; `limit_of` [steps], the most rows of
    the caches that a step uses; `source` [accesses], the access of `last` that each is; `per_row` [accesses], bytes of
    a row of a cache.
    """

    problem: Problem
    growth: Growth
    first: Problem
    last: Problem
    part_of: Ints
    limit_of: Ints
    source: Ints
    per_row: Floats
    parts: Mapping[str, Part]

    @property
    def limits(self) -> tuple[int, ...]:
        """The most rows of caches that stop growing before the service ends, rising."""
        found = {part.limit for part in self.parts.values()}
        return tuple(sorted(limit for limit in found if limit < self.growth.last))

    def turn(self, context: int) -> Problem:
        """The decode turn that sees `context` positions."""
        return self._with(*self._loads(np.array([context], dtype=np.int64)))

    def mean(self) -> Problem:
        """The turn whose loads are the mean of all turns of the service."""
        return self._with(*self._loads(self.growth.contexts))

    def _with(self, read: Ints, write: Ints, compute_s: Floats) -> Problem:
        return dataclasses.replace(self.problem, access_read=read, access_write=write, compute_s=compute_s)

    def _loads(self, contexts: Ints) -> tuple[Ints, Ints, Floats]:
        """Means over turns: bytes that each access reads and writes, and compute seconds of each step."""
        share = self._share(contexts)
        compute_s = self.first.compute_s + share * (self.last.compute_s - self.first.compute_s)
        of_access = share[self.last.access_step]
        read, write = (_between(getattr(self.first, n), getattr(self.last, n), of_access)[self.source] for n in _LOADS)
        held, hit = self._rows(contexts)
        part = self.part_of[self.problem.access_tensor]
        updates = self.problem.access_mode != Mode.READ
        reads, writes = (part >= 0) & ~updates, (part >= 0) & updates
        read[reads] = np.rint(held[part[reads]] * self.per_row[reads])
        write[writes] = np.rint(hit[part[writes]] * self.per_row[writes])
        return read, write, compute_s

    def _share(self, contexts: Ints) -> Floats:
        """Shape [S]: where each step lies between `first` (0) and `last` (1), by the rows of its caches."""
        limits, of_step = np.unique(self.limit_of, return_inverse=True)
        low = np.minimum(self.growth.prompt + 1, limits)
        rows = np.minimum(contexts[:, None], limits).mean(axis=0)
        return ((rows - low) / np.maximum(limits - low, 1))[of_step]

    def _rows(self, contexts: Ints) -> tuple[Floats, Floats]:
        """Means over turns, for each part: rows that it holds, and rows that are appended to it."""
        spans = np.array([(p.begin, p.end, p.limit) for p in self.parts.values()], dtype=np.int64).reshape(-1, 3)
        unique, of_part = np.unique(spans, axis=0, return_inverse=True)
        begin, end, limit = unique.T
        held = np.clip(np.minimum(contexts[:, None], limit) - begin, 0, end - begin).mean(axis=0)
        written = (contexts[:, None] - 1) % limit
        hit = ((written >= begin) & (written < end)).mean(axis=0)
        return held[of_part], hit[of_part]


_LOADS = ("access_read", "access_write")


def paged(first: Problem, last: Problem, growth: Growth, rows: Mapping[str, int], n_groups: int) -> Paged:
    """Cut the caches of a decode turn into groups of pages that may lie in different tiers.

    `first` and `last` are lowered at the contexts of the first and last decode turn; what depends on the context lies
    on a line between them. `rows`: how many rows each cache has in the end, by its name.
    Assumes: a turn reads every row of every cache, and appends one row to it; a step uses caches of one length.
    """
    original, parts = _cut(first, last, rows, n_groups)
    cached = np.array([part is not None for part in parts])
    of_part = np.where(cached, np.cumsum(cached) - 1, -1)
    source, tensor = _accesses(last, original, parts, growth)
    mode = last.access_mode[source]
    written = np.zeros(len(original), dtype=np.bool_)
    written[tensor[mode != Mode.READ]] = True
    sources: list[int] = original.tolist()
    sizes: Ints = np.maximum(first.size, last.size)[original]
    problem = dataclasses.replace(
        last,
        access_start=np.searchsorted(source, last.access_start),
        access_tensor=tensor,
        access_read=last.access_read[source],
        access_write=last.access_write[source],
        access_mode=mode,
        tensor_names=tuple(
            last.tensor_names[x] if part is None else f"{part.cache}[{part.begin}:{part.end}]"
            for x, part in zip(sources, parts, strict=True)
        ),
        tensor_kind=tuple(last.tensor_kind[x] for x in sources),
        size=np.array(
            [
                size if part is None else round(part.row * (part.end - part.begin))
                for size, part in zip(sizes.tolist(), parts, strict=True)
            ],
            dtype=np.int64,
        ),
        home=last.home[original],
        keep=np.where(cached & ~written, Keep.NOTHING, last.keep[original]),
    )
    limit = np.array([growth.last if part is None else part.limit for part in parts], dtype=np.int64)[tensor]
    of_step = np.full(problem.n_steps, growth.last, dtype=np.int64)
    np.minimum.at(of_step, problem.access_step, limit)
    per_row = np.where(mode == Mode.READ, problem.access_read / limit, problem.access_write).astype(np.float64)
    named = {name: part for name, part in zip(problem.tensor_names, parts, strict=True) if part is not None}
    made = Paged(problem, growth, first, last, of_part, of_step, source, per_row, named)
    return dataclasses.replace(made, problem=made.mean())


def _cut(first: Problem, last: Problem, rows: Mapping[str, int], n_groups: int) -> tuple[Ints, list[Part | None]]:
    """For each tensor of the paged turn: the tensor of `last` that it comes from, and what part of a cache it is."""
    original, parts = list[int](), list[Part | None]()
    sizes = np.maximum(first.size, last.size).tolist()
    for x, name in enumerate(last.tensor_names):
        if name not in rows:
            original.append(x)
            parts.append(None)
            continue
        for begin, end in itertools.pairwise(_bounds(rows[name], n_groups)):
            original.append(x)
            n_bytes = round(sizes[x] * (end - begin) / rows[name])
            parts.append(Part(name, begin, end, n_bytes / (end - begin), rows[name]))
    return np.array(original, dtype=np.int64), parts


def _bounds(rows: int, n_groups: int) -> list[int]:
    """Rows at which groups of whole pages begin, and where the last ends."""
    n_pages = -(-rows // PAGE)
    cuts = np.unique(np.rint(np.linspace(0, n_pages, min(n_groups, n_pages) + 1)).astype(np.int64)) * PAGE
    return np.minimum(cuts, rows).tolist()


def _accesses(last: Problem, original: Ints, parts: Sequence[Part | None], growth: Growth) -> tuple[Ints, Ints]:
    """For each access of the paged turn: the access of `last` that it is, and its tensor."""
    begins = np.searchsorted(original, np.arange(last.n_tensors + 1))
    source, tensor = list[int](), list[int]()
    grows = [part is None or _grows(growth, part) for part in parts]
    updates = last.access_mode != Mode.READ
    for access, x in enumerate(last.access_tensor.tolist()):
        mine = range(int(begins[x]), int(begins[x + 1]))
        touched = [part for part in mine if grows[part] or not updates[access]]
        source += [access] * len(touched)
        tensor += touched
    return np.array(source, dtype=np.int64), np.array(tensor, dtype=np.int64)


def _grows(growth: Growth, part: Part) -> bool:
    """Whether some turn appends a row to the part."""
    written = (growth.contexts - 1) % part.limit
    return bool(((written >= part.begin) & (written < part.end)).any())


def _between(first: Ints, last: Ints, share: Floats) -> Ints:
    return np.rint(first + share * (last - first)).astype(np.int64)
