"""How sparse a model's activations are: active share, over-prediction, and use aggregated over tokens."""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError

_LONGEST = 10**6


@dataclass(frozen=True, slots=True)
class AggregatedUse:
    """s(k): the share of a layer's neurons that k tokens in a row use together, at some k.

    Assumes: between two known k, s is a power of k (a line in logarithms); beyond the last, the last
    power goes on, up to 1.
    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 3.1 (s_agg).

    >>> use = AggregatedUse(((1, 0.1), (4, 0.2)))
    >>> use.share(0), use.share(1), round(use.share(2), 4), use.share(4), round(use.share(16), 4)
    (0.0, 0.1, 0.1414, 0.2, 0.4)
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        if not self.points or self.points[0][0] != 1:
            raise InvalidInputError("the aggregated use must begin with the share of one token (k = 1)")
        for k, share in self.points:
            if not 0 <= share <= 1:
                raise InvalidInputError(f"aggregated use of {k} tokens is {share}; need a share from 0 to 1")
        for (k, share), (later, larger) in itertools.pairwise(self.points):
            if later <= k:
                raise InvalidInputError(f"aggregated use: k = {later} comes after k = {k}; sort the points by k")
            if larger < share:
                raise InvalidInputError(
                    f"aggregated use falls from {share} at k = {k} to {larger} at k = {later}; "
                    "more tokens cannot use fewer neurons"
                )

    @classmethod
    def of(cls, points: Mapping[int, float] | Sequence[float]) -> "AggregatedUse":
        """From shares by k, or from the shares of 1, 2, 3, ... tokens.

        >>> AggregatedUse.of([0.1, 0.15]) == AggregatedUse.of({1: 0.1, 2: 0.15})
        True
        """
        pairs = points.items() if isinstance(points, Mapping) else enumerate(points, start=1)
        return cls(tuple((k, share) for k, share in pairs))

    def share(self, k: int) -> float:
        """s(k): the share that k tokens use together."""
        if not 0 <= k <= _LONGEST:
            raise InvalidInputError(f"aggregated use of {k} tokens; need 0 to {_LONGEST}")
        if k == 0:
            return 0.0
        at = bisect.bisect_left(self.points, k, key=lambda point: point[0])
        if at < len(self.points) and self.points[at][0] == k:
            return self.points[at][1]
        if len(self.points) == 1:
            return self.points[0][1]
        right = min(at, len(self.points) - 1)
        (low, small), (high, large) = self.points[right - 1], self.points[right]
        if small == 0 or large == 0:
            return small + (large - small) * min(1.0, (k - low) / (high - low))
        power = (math.log(large) - math.log(small)) / math.log(high / low)
        share = math.exp(min(0.0, math.log(small) + power * math.log(k / low)))
        return max(large, share) if k > high else min(max(small, share), large)

    def new(self, window: int) -> float:
        """Share that one more token loads, when those of the last `window` tokens lie in memory: s(k + 1) - s(k)."""
        return self.share(window + 1) - self.share(window)


@dataclass(frozen=True, slots=True)
class Sparsity:
    """What is active: the share per token, how many more the predictor names, and the use aggregated over tokens.

    `aggregated` counts what the predictor names, since that is what is loaded.
    """

    active: float
    over_prediction: float
    aggregated: AggregatedUse

    def __post_init__(self) -> None:
        if not 0 <= self.active <= 1:
            raise InvalidInputError(f"active share is {self.active}; need 0 to 1")
        if not (math.isfinite(self.over_prediction) and self.over_prediction >= 1):
            raise InvalidInputError(
                f"over-prediction is {self.over_prediction}; need 1 (exact) or more predicted per active neuron"
            )

    @property
    def predicted(self) -> float:
        """Share of the neurons that the predictor names for a token."""
        return min(1.0, self.active * self.over_prediction)


def sparsity_from_figures(active: float, over_prediction: float, window: int, kept: float, new: float) -> Sparsity:
    """Sparsity from the figures that papers print for one window.

    `kept` is the share of the neurons that the last `window` tokens used and that lies in memory, s(window); `new` the
    share that one more token loads, s(window + 1) - s(window).

    >>> opt = sparsity_from_figures(active=0.033, over_prediction=3, window=4, kept=0.24, new=0.024)
    >>> round(opt.aggregated.new(4), 4), round(opt.aggregated.new(0), 4)
    (0.024, 0.099)
    """
    if window < 1:
        raise InvalidInputError(f"a window of {window} tokens; need 1 or more")
    if not (0 <= kept <= 1 and 0 <= new <= 1 - kept):
        raise InvalidInputError(f"kept share {kept} and new share {new}; need shares that add up to at most 1")
    first = min(1.0, active * over_prediction)
    if window == 1 and not math.isclose(first, kept, rel_tol=0.05):
        raise InvalidInputError(f"window 1: {kept:.4g} is kept, but one token uses {first:.4g}")
    points = {1: first, window: kept, window + 1: kept + new}
    return Sparsity(active, over_prediction, AggregatedUse.of(points))


def predicted_share(active: float, missed: float, false_alarms: float) -> float:
    """Share that a predictor names: the active ones that it does not miss, and false alarms among the others.

    >>> round(predicted_share(active=0.033, missed=0.05, false_alarms=0.07), 4)
    0.099
    """
    for what, share in (("active share", active), ("missed share", missed), ("share of false alarms", false_alarms)):
        if not 0 <= share <= 1:
            raise InvalidInputError(f"{what} is {share}; need 0 to 1")
    return active * (1 - missed) + (1 - active) * false_alarms
