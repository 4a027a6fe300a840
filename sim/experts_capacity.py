"""How large each layer's expert cache should be: loads by cache size, and the division that loads least."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats, Ints
from tierplan.sim.experts_trace import Routing
from tierplan.sim.replacement import Accesses, Policy, serve


def load_curve(accesses: Accesses, policy: Policy) -> Ints:
    """Shape [n_items + 1]: loads of a cache of 0, 1, ..., `n_items` places.

    >>> load_curve(Accesses.of([[0], [1], [0], [1]], n_items=2), Policy.LRU)
    array([4, 4, 2])
    """
    return np.array([serve(accesses, places, policy).n_loads for places in range(accesses.n_items + 1)])


@dataclass(frozen=True, slots=True)
class Division:
    """Places per layer, and the loads that they lead to over the trace; `even_loads` are those of equal shares."""

    places: tuple[int, ...]
    loads: int
    even_loads: int


def divide_places(curves: Sequence[Ints], total: int) -> Division:
    """The division of `total` places over layers that loads least. Shape of each curve: [most places + 1].

    Optimal for the given curves, whatever their shape (dynamic programming over layers and places).

    >>> divide_places([np.array([9, 1, 1]), np.array([5, 4, 3])], total=2)
    Division(places=(1, 1), loads=5, even_loads=5)
    >>> divide_places([np.array([9, 1, 1]), np.array([5, 5, 0]), np.array([8, 8, 8])], total=3).places
    (1, 2, 0)
    """
    if not curves or total < 0:
        raise InvalidInputError(f"{total} places for {len(curves)} layers; need 0 or more places, 1 or more layers")
    total = min(total, sum(len(curve) - 1 for curve in curves))
    best: Floats = np.zeros(total + 1)
    taken: list[Ints] = []
    for curve in curves:
        options = np.full((min(len(curve), total + 1), total + 1), np.inf)
        for places in range(len(options)):
            options[places, places:] = best[: total + 1 - places] + curve[places]
        taken.append(options.argmin(axis=0).astype(np.int64))
        best = options.min(axis=0)
    places_left, places = total, list[int]()
    for choice in reversed(taken):
        places.append(int(choice[places_left]))
        places_left -= places[-1]
    even = total // len(curves)
    even_loads = sum(int(curve[min(even, len(curve) - 1)]) for curve in curves)
    return Division(tuple(reversed(places)), int(best[total]), even_loads)


def divide_for(routing: Routing, total: int, policy: Policy = Policy.LRU, parallel: int = 1) -> Division:
    """The division of `total` expert places over the layers of a routing trace."""
    curves = [load_curve(routing.accesses(layer, parallel), policy) for layer in range(routing.n_layers)]
    return divide_places(curves, total)
