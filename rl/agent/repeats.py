"""Macro-actions: the same decision for all repetitions of a block of layers."""

import numpy as np

from tierplan.ir.problem import Ints
from tierplan.rl.program import Program

_LEAST_SHARE = 0.5  # of all visits that must lie in repetitions


def period_of(program: Program) -> tuple[int, int, int]:
    """First visit, length and number of the repetitions of a block that cover most visits; zeros if few are covered.

    Visits are alike if their tensors have the same size, and they read, write and stay for as long.
    """
    visits = program.visits
    away = np.where(visits["next"] >= 0, visits["next_step"] - visits["step"], -1)
    rows = np.stack([program.tensors["size"][visits["tensor"]], visits["mode"], visits["read"], visits["write"], away])
    kinds = np.unique(rows, axis=1, return_inverse=True)[1].reshape(-1)
    n, best = len(kinds), (0, 0, 0)
    for period in range(2, n // 2 + 1):
        same = np.concatenate([[False], kinds[period:] == kinds[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        if len(edges) == 0:
            continue
        lengths = edges[1::2] - edges[::2]
        longest = int(np.argmax(lengths))
        times = int(lengths[longest]) // period + 1
        if times > 1 and times * period > best[1] * best[2]:
            best = int(edges[::2][longest]), period, times
    return best if best[1] * best[2] >= _LEAST_SHARE * n else (0, 0, 0)


def tied(program: Program, actions: Ints) -> list[Ints]:
    """The same actions with all repetitions of a block played as one of them, or as most of them."""
    first, period, times = period_of(program)
    if times == 0:
        return []
    blocks = actions[first : first + period * times].reshape(times, period)
    votes = np.stack([(blocks == action).sum(axis=0) for action in range(program.n_actions)])
    found: list[Ints] = []
    for block in (np.argmax(votes, axis=0), blocks[0], blocks[times // 2], blocks[-1]):
        whole = actions.copy()
        whole[first : first + period * times] = np.tile(block, times)
        found.append(whole)
    return found
