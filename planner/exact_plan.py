"""From a solution of the exact model to a plan: what is needed of it, copies, residencies and their offsets."""

from collections.abc import Callable
from dataclasses import dataclass

from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import Keep, Mode, Problem
from tierplan.planner.exact_grid import Grid, Model, Var
from tierplan.planner.exact_image import Image
from tierplan.planner.exact_life import Life
from tierplan.planner.exact_pack import Block, Packing, pack

Value = Callable[[Var], bool]


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan without offsets: one image per tensor, and the alternatives taken."""

    images: tuple[Image, ...]
    taken: tuple[Taken, ...]


def draft_of(model: Model, value: Value) -> Draft:
    """Read a solution; copies and residencies that nothing needs are left out."""
    images = [_needed(model.problem, grid.life, _read(grid, value)) for grid in model.grids]
    taken = [Taken(c, i) for c, group in enumerate(model.taken) for i, var in enumerate(group) if value(var)]
    return Draft(tuple(images), tuple(taken))


def _read(grid: Grid, value: Value) -> Image:
    return Image(
        {key for key, var in grid.valid.items() if value(var)},
        {key for key, var in grid.serve.items() if value(var)},
        {key for key, var in grid.fly.items() if value(var)},
        {key for key, var in grid.begin.items() if value(var)},
    )


def _needed(problem: Problem, life: Life, image: Image) -> Image:
    """The part of an image that serves the accesses and what must be kept: followed back in time from there."""
    kept = Image(serve=set(image.serve))
    todo = [(k, t) for k, t in image.serve if life.modes[t] is not Mode.PRODUCE]
    todo += _ends(problem, life, image)
    while todo:
        k, t = todo.pop()
        if (k, t) in kept.valid:
            continue
        kept.valid.add((k, t))
        before = life.before(t)
        if before is None or life.writes(before):
            continue
        arrived = [(s, d) for s, d, u in image.fly if d == k and u == before]
        if not arrived:
            todo.append((k, before))
            continue
        s, at = arrived[0][0], before
        while True:
            kept.fly.add((s, k, at))
            todo.append((s, at))
            if (s, k, at) in image.begin:
                break
            at = (at - 1) % life.n_steps
        kept.begin.add((s, k, at))
    return kept


def _ends(problem: Problem, life: Life, image: Image) -> list[tuple[int, int]]:
    """Where a tensor must be valid apart from its accesses."""
    keep, n = Keep(int(problem.keep[life.tensor])), life.n_steps
    if life.circular:
        return [] if life.accesses else [min((k, t) for k, t in image.valid if t == 0)]
    if keep is Keep.NOTHING:
        return []
    if keep is Keep.HOME and not problem.cyclic:
        return [(int(problem.home[life.tensor]), n)]
    ends = [(k, t) for k, t in image.valid if t == n]
    stays = [(k, t) for k, t in ends if (k, n - 1) in image.valid or (k, n - 1) in image.serve]
    return [min(stays or ends)]


def copies_of(life: Life, image: Image) -> list[Copy]:
    """The copies of one tensor."""
    copies: list[Copy] = []
    for s, d, start in image.begin:
        length = 1
        while _goes_on(life, image, (s, d), start + length) and length < life.n_steps:
            length += 1
        copies.append(Copy(life.tensor, s, d, start, start + length))
    return copies


def _goes_on(life: Life, image: Image, pair: tuple[int, int], t: int) -> bool:
    key = (*pair, t % life.n_steps if life.circular else t)
    return key in image.fly and key not in image.begin


def blocks_of(life: Life, image: Image) -> list[Block]:
    """The residencies of one tensor, joined where they must have one offset.

    A residency ends where its tensor is no longer needed there, or where a copy or a production
    begins another one.
    """
    n = life.n_steps
    blocks: list[Block] = []
    for k in life.tiers:
        produced = {t for tier, t in image.serve if tier == k and life.modes[t] is Mode.PRODUCE}
        lies = {t for tier, t in image.valid if tier == k and t < n} | produced
        lies |= {t for _, d, t in image.fly if d == k}
        begins = produced | {t for _, d, t in image.begin if d == k}
        if life.circular and len(lies) == n and not begins:
            blocks.append(Block(life.tensor, k, life.size, ((0, n),)))
            continue
        heads = sorted(t for t in lies if t in begins or life.before(t) not in lies)
        for head in heads:
            stop = head + 1
            while stop - head < n and _lies(life, lies, begins, stop):
                stop += 1
            pieces = ((head, stop),) if stop <= n else ((0, stop - n), (head, n))
            blocks.append(Block(life.tensor, k, life.size, pieces))
    return blocks


def _lies(life: Life, lies: set[int], begins: set[int], t: int) -> bool:
    t = t % life.n_steps if life.circular else t
    return t in lies and t not in begins


def assemble(problem: Problem, lives: list[Life], draft: Draft, seconds: float) -> Plan | Packing:
    """The plan of a draft, or the packing that fails: the offsets of one tier do not fit."""
    blocks: list[list[Block]] = [[] for _ in range(problem.n_tiers)]
    copies: list[Copy] = []
    for life, image in zip(lives, draft.images, strict=True):
        copies += copies_of(life, image)
        for block in blocks_of(life, image):
            blocks[block.tier].append(block)
    residencies: list[Residency] = []
    for k, group in enumerate(blocks):
        reserved = sum(problem.choices[t.choice].alternatives[t.alternative].reserved[k] for t in draft.taken)
        packing = pack(group, int(problem.tiers.usable[k]) - reserved, int(problem.tiers.alignment[k]), seconds)
        if packing.offsets is None:
            return packing
        for block, offset in zip(group, packing.offsets, strict=True):
            residencies += [Residency(block.tensor, k, offset, start, stop) for start, stop in block.pieces]
    ordered = sorted(copies, key=lambda c: (c.start, c.done, c.tensor, c.source, c.target))
    return Plan(tuple(sorted(residencies)), tuple(ordered), draft.taken)
