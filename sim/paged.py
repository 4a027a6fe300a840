"""A key-value cache that grows: pages of each layer in groups, the decode turn at any context, and the mean turn."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats, Ints, Keep, Mode, Problem

PAGE = 16
"""Positions of a page. Source: the default block of vLLM, Kwon et al., SOSP 2023, section 7.2."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A service: `prompt` positions are read, then `new` tokens written, the first of them by the prompt's own turn.

    `window`: rows that the cache keeps at most; None: all. Decode turn i of `new - 1` sees `prompt + i` positions.
    """

    prompt: int
    new: int
    window: int | None = None

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.new < 2:
            raise InvalidInputError(
                f"a prompt of {self.prompt} and {self.new} new tokens; need 1 or more, and 2 or more"
            )

    @property
    def contexts(self) -> Ints:
        """Shape [new - 1]: positions that each decode turn sees, itself included."""
        return np.arange(self.prompt + 1, self.prompt + self.new, dtype=np.int64)

    def rows(self, context: int) -> int:
        """Rows in the cache of one sequence with that context."""
        return context if self.window is None else min(context, self.window)

    @property
    def last(self) -> int:
        """Positions at the last decode turn."""
        return self.prompt + self.new - 1


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [begin, end) of a cache, `row` bytes each."""

    cache: str
    begin: int
    end: int
    row: float

    def bytes_of(self, rows: int) -> float:
        """Bytes that the part holds when the cache has that many rows."""
        return self.row * min(max(0, rows - self.begin), self.end - self.begin)


@dataclass(frozen=True, slots=True, eq=False)
class Paged:
    """A decode turn whose caches are cut into groups of pages, as numbers that depend on the context.

    `problem`: the mean turn of the service; sizes are those at its end. `first` and `last` are the turns that see the
    fewest and the most rows. `parts`: what the tensors are that are groups, by name.
    Shapes: `bounds` [groups + 1], rows at which groups begin; `group_of` [tensors], -1 for what is no cache;
    `source` [accesses], the access of `last` that each is; `per_row` [accesses], bytes of a row of a cache.
    """

    problem: Problem
    growth: Growth
    first: Problem
    last: Problem
    bounds: Ints
    group_of: Ints
    source: Ints
    per_row: Floats
    parts: Mapping[str, Part]

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
        window = self.growth.window
        rows = contexts if window is None else np.minimum(contexts, window)
        low, high = self.growth.rows(self.growth.prompt + 1), self.growth.rows(self.growth.last)
        share = float((rows - low).mean() / (high - low)) if high > low else 0.0
        compute_s = self.first.compute_s + share * (self.last.compute_s - self.first.compute_s)
        read, write = (_between(getattr(self.first, n), getattr(self.last, n), share)[self.source] for n in _LOADS)
        group = self.group_of[self.problem.access_tensor]
        cached = group >= 0
        begin, end = self.bounds[:-1], self.bounds[1:]
        held = np.clip(rows[:, None] - begin, 0, end - begin).mean(axis=0)
        written = (contexts - 1) % (window or int(contexts.max()) + 1)
        hit = ((written[:, None] >= begin) & (written[:, None] < end)).mean(axis=0)
        updates = self.problem.access_mode != Mode.READ
        reads, writes = cached & ~updates, cached & updates
        read[reads] = np.rint(held[group[reads]] * self.per_row[reads])
        write[writes] = np.rint(hit[group[writes]] * self.per_row[writes])
        return read, write, compute_s


_LOADS = ("access_read", "access_write")


def paged(first: Problem, last: Problem, growth: Growth, n_groups: int) -> Paged:
    """Cut the caches of a decode turn into groups of pages that may lie in different tiers.

    `first` and `last` are lowered at the contexts of the first and last decode turn; what depends on the context lies
    on a line between them. Caches are the states of the problem.
    Assumes: a turn reads every row of every cache, and appends one row to it.
    """
    rows = growth.rows(growth.last)
    n_pages = -(-rows // PAGE)
    cuts = np.unique(np.rint(np.linspace(0, n_pages, min(n_groups, n_pages) + 1)).astype(np.int64)) * PAGE
    bounds = np.minimum(cuts, rows)
    is_cache = np.array([kind == "state" for kind in last.tensor_kind])
    n_parts = np.where(is_cache, len(bounds) - 1, 1)
    begins = np.cumsum(n_parts) - n_parts
    original: Ints = np.repeat(np.arange(last.n_tensors), n_parts).astype(np.int64)
    names = [last.tensor_names[int(x)] for x in original]
    group_of: Ints = np.where(is_cache[original], np.arange(len(original)) - begins[original], -1).astype(np.int64)
    share = np.where(group_of >= 0, np.diff(bounds)[np.maximum(group_of, 0)] / rows, 1.0)
    size = np.rint(np.maximum(first.size, last.size)[original] * share).astype(np.int64)
    updates = last.access_mode != Mode.READ
    source: list[int] = []
    tensor: list[int] = []
    for access, x in enumerate(last.access_tensor.tolist()):
        parts = range(int(begins[x]), int(begins[x] + n_parts[x]))
        if is_cache[x] and updates[access]:
            parts = [
                part for part in parts if _grows(growth, int(bounds[group_of[part]]), int(bounds[group_of[part] + 1]))
            ]
        source += [access] * len(parts)
        tensor += parts
    source_of, tensor_of = np.array(source, dtype=np.int64), np.array(tensor, dtype=np.int64)
    mode = last.access_mode[source_of]
    written = np.zeros(len(original), dtype=np.bool_)
    written[tensor_of[mode != Mode.READ]] = True
    problem = dataclasses.replace(
        last,
        access_start=np.searchsorted(source_of, last.access_start),
        access_tensor=tensor_of,
        access_read=last.access_read[source_of],
        access_write=last.access_write[source_of],
        access_mode=mode,
        tensor_names=tuple(
            name if g < 0 else f"{name}[{bounds[g]}:{bounds[g + 1]}]"
            for name, g in zip(names, group_of.tolist(), strict=True)
        ),
        tensor_kind=tuple(last.tensor_kind[int(x)] for x in original),
        size=size,
        home=last.home[original],
        keep=np.where((group_of >= 0) & ~written, Keep.NOTHING, last.keep[original]),
    )
    per_row = np.where(mode == Mode.READ, problem.access_read / rows, problem.access_write).astype(np.float64)
    cached: list[int] = np.flatnonzero(group_of >= 0).tolist()
    parts = {problem.tensor_names[x]: _part(names[x], int(size[x]), bounds, int(group_of[x])) for x in cached}
    made = Paged(problem, growth, first, last, bounds, group_of, source_of, per_row, parts)
    return dataclasses.replace(made, problem=made.mean())


def _part(cache: str, size: int, bounds: Ints, group: int) -> Part:
    begin, end = int(bounds[group]), int(bounds[group + 1])
    return Part(cache, begin, end, size / (end - begin))


def _grows(growth: Growth, begin: int, end: int) -> bool:
    """Whether some turn appends a row in that range."""
    rows = growth.rows(growth.last)
    if growth.last > rows:  # the window rolls
        return bool((((growth.contexts - 1) % rows >= begin) & ((growth.contexts - 1) % rows < end)).any())
    return begin < growth.last and end > growth.prompt


def _between(first: Ints, last: Ints, share: float) -> Ints:
    return np.rint(first + share * (last - first)).astype(np.int64)
