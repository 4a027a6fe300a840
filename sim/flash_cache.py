"""The neuron cache in DRAM: the window of the last k tokens, and other policies in the same room."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Ints
from tierplan.sim.flash_trace import ActivationTrace, Words, check_window, counts
from tierplan.sim.replacement import CacheRun, Policy, serve


@dataclass(frozen=True, slots=True, eq=False)
class WindowRun:
    """What a window of the last `window` tokens loads and holds.

    Shapes: `loaded` and `held` [tokens, layers], neurons: those that the `window` tokens before did not use, and those
    that lie in memory while the token runs, which are its own and those of the `window` - 1 tokens before it.
    """

    window: int
    n_neurons: int
    loaded: Ints
    held: Ints

    @property
    def loaded_share(self) -> float:
        """Share of the neurons that a token loads once the window is full; of all tokens if it never is."""
        full = self.loaded[self.window :] if len(self.loaded) > self.window else self.loaded
        return float(full.mean()) / self.n_neurons

    @property
    def held_share(self) -> float:
        """Share of the neurons that lies in memory, on average once the window is full."""
        full = self.held[self.window :] if len(self.held) > self.window else self.held
        return float(full.mean()) / self.n_neurons

    @property
    def most_held(self) -> Ints:
        """Shape [layers]: most neurons that ever lie in memory, which is what must be preallocated."""
        return self.held.max(axis=0)


def run_window(trace: ActivationTrace, window: int) -> WindowRun:
    """Keep the neurons of the last `window` tokens; load only what they did not use. A window of 0 keeps nothing.

    What leaves the window makes room for what comes, so that s(window) lies in memory and s(window + 1) -
    s(window) is loaded.

    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 3.1 (sliding window).
    Raises: InvalidInputError: a window longer than the trace.
    """
    check_window(trace, window)
    past = _past(trace.words, window)
    held = trace.words | _past(trace.words, max(0, window - 1))
    return WindowRun(window, trace.n_neurons, counts(trace.words & ~past), counts(held))


def past_tokens(trace: ActivationTrace, window: int) -> ActivationTrace:
    """For each token, the neurons that the `window` tokens before it used."""
    check_window(trace, window)
    return ActivationTrace(_past(trace.words, window), trace.n_neurons)


def run_policy(trace: ActivationTrace, capacity: int | Sequence[int] | Ints, policy: Policy) -> tuple[CacheRun, ...]:
    """Run one cache per layer, of `capacity` neurons each or by layer.

    Raises: InvalidInputError: not one capacity per layer, or a negative one.
    """
    places = [capacity] * trace.n_layers if isinstance(capacity, int) else [int(places) for places in capacity]
    if len(places) != trace.n_layers:
        raise InvalidInputError(f"{len(places)} cache sizes for {trace.n_layers} layers; need one each")
    return tuple(serve(trace.accesses(layer), places[layer], policy) for layer in range(trace.n_layers))


def loaded_by_policy(trace: ActivationTrace, window: int) -> dict[str, float]:
    """Share of the neurons that a token loads, by policy, the cold start included.

    All policies get the room that the window needs at its fullest, layer by layer.
    """
    run = run_window(trace, window)
    of_all = trace.n_tokens * trace.n_layers * trace.n_neurons
    loads = dict.fromkeys((Policy.LRU, Policy.LFU, Policy.PLANNED, Policy.BELADY), 0)
    for layer, places in enumerate(run.most_held):
        accesses = trace.accesses(layer)
        for policy in loads:
            loads[policy] += serve(accesses, int(places), policy).n_loads
    by_policy = {policy.name.lower(): n_loads / of_all for policy, n_loads in loads.items()}
    return {"window": float(run.loaded.sum()) / of_all, **by_policy}


def _past(words: Words, window: int) -> Words:
    past = np.zeros_like(words)
    for back in range(1, min(window, len(words) - 1) + 1):
        past[back:] |= words[:-back]
    return past
