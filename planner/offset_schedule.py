"""Which orders and capacities the restarts of the exact search try, and for how long."""

from collections.abc import Iterator
from itertools import count

import numpy as np

from tierplan.ir.buffers import Ints
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_orders import order_by, random_order, rank_of
from tierplan.planner.offset_search import Part

_EARLY = 3_000


def luby(k: int) -> int:
    """Element k >= 1 of the restart sequence 1, 1, 2, 1, 1, 2, 4, ...

    Source: Luby, Sinclair, Zuckerman, "Optimal speedup of Las Vegas algorithms", 1993.

    >>> [luby(k) for k in range(1, 8)]
    [1, 1, 2, 1, 1, 2, 4]
    """
    while True:
        power = k.bit_length()
        if k == (1 << power) - 1:
            return 1 << (power - 1)
        k -= (1 << (power - 1)) - 1


def attempts(part: Part, best: Best, effort: Effort) -> Iterator[tuple[Ints, int]]:
    """What to try, without end: (tie-breaking order, capacity).

    Half of the tries ask for the goal at once, with fresh orders; the others change the order that led to the best
    allocation and lower the capacity bit by bit. Later the second kind prevails.
    """
    rng = np.random.default_rng(effort.seed)
    n, k = len(part.blocks.height), part.keys
    known = _known_ranks(part)
    began, since, seen = effort.n_nodes, 0, best.n_found
    for tries in count():
        early = effort.n_nodes - began < _EARLY * n
        if best.height - 1 <= best.target or tries % (2 if early else 8) == 0:
            rank = next(known, None)
            yield (rank_of(random_order(k, rng)) if rank is None else rank), best.target
            continue
        since = 0 if best.n_found > seen else since + 1
        seen = best.n_found
        if best.rank is None or rng.random() < 0.25:
            yield rank_of(random_order(k, rng)), _lowered(best, since, rng)
        else:
            yield _changed(best.rank, part, rng), _lowered(best, since, rng)


def _known_ranks(part: Part) -> Iterator[Ints]:
    """Tie-breaking orders that are often good."""
    k, hint = part.keys, part.blocks.hint
    if (hint >= 0).any():
        yield rank_of(order_by(-np.where(hint >= 0, hint, hint.max() + 1), k.total))
    yield rank_of(order_by(k.total, k.width, k.area))
    yield rank_of(order_by(k.width, k.area, k.total))
    yield rank_of(order_by(k.total, k.area, k.width))


def _changed(rank: Ints, part: Part, rng: np.random.Generator) -> Ints:
    """An order near `rank`: all shaken a little, a few moved far, or mixed with another one."""
    n = len(rank)
    score = rank.astype(np.float64)
    kind = rng.random()
    if kind < 0.34:
        score += rng.normal(0.0, n * 10 ** rng.uniform(-2.5, -0.7), n)
    elif kind < 0.67:
        moved = rng.integers(0, n, int(rng.integers(1, 6)))
        score[moved] = rng.uniform(-1, n, len(moved))
    else:
        weight = rng.uniform(0, 0.4)
        score = (1 - weight) * score + weight * rank_of(random_order(part.keys, rng))
    return rank_of(np.argsort(score, kind="stable"))


def _lowered(best: Best, since: int, rng: np.random.Generator) -> int:
    """A capacity below the best height: far below right after a success, one unit below later, mostly."""
    top, low = best.height - 1, best.target
    span = (top - low) * 0.5 ** min(since / 2, 40.0)
    if since > 8:
        span = (top - low) * min(0.5 ** (since / 2), 0.3 * rng.random() ** 4)
    return max(low, top - int(span))
