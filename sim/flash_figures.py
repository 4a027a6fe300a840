"""A sparsity file: what is known of how a model uses its feed-forward neurons, as YAML or JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tierplan.hardware.tree import KeyPath, Tree, Value, read_tree
from tierplan.ir import units
from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.sim.flash_sparsity import AggregatedUse, Sparsity, predicted_share, sparsity_from_figures
from tierplan.sim.flash_store import ManagementCost
from tierplan.sim.flash_trace import ActivationTrace, load_trace, measured_sparsity

_LONGEST_WINDOW = 32  # for which the use of a trace is measured, if the trace is that long
_KEYS = (
    "schema", "name", "description", "model", "active", "over_prediction", "missed", "false_alarms", "predictor",
    "window", "kept", "new", "aggregated_use", "trace", "ahead", "rewriting",
)  # fmt: skip

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What rewriting rows of the neuron cache was measured to cost, and on which machine."""

    hardware: str
    cost: ManagementCost


@dataclass(frozen=True, slots=True, eq=False)
class ModelSparsity:
    """How one model uses its feed-forward neurons.

    `predictor`: its bytes over those of all weights. `ahead`: layers by which it names neurons before they are
    needed. `model`: the name of the model that was measured, "" where none is given. `longest`: the longest window
    that the figures tell something about; None for a curve, which goes on beyond its last point.
    """

    name: str
    sparsity: Sparsity
    predictor: float = 0.0
    ahead: int = 0
    model: str = ""
    rewriting: Rewriting | None = None
    trace: ActivationTrace | None = None

    @property
    def longest(self) -> int | None:
        """The longest window that the trace can fill, with a token to spare; None where there is no trace."""
        return None if self.trace is None else self.trace.n_tokens - 1


def sparsity_of_trace(trace: ActivationTrace, name: str) -> ModelSparsity:
    """The sparsity that a trace shows; a trace tells nothing of predictors."""
    if trace.n_tokens < 2:
        raise InvalidInputError(f"{name}: a trace of {trace.n_tokens} token; need 2 or more")
    measured = measured_sparsity(trace, min(trace.n_tokens, _LONGEST_WINDOW + 1))
    return ModelSparsity(name, measured, trace=trace)


def read_sparsity(text: str, file: str) -> ModelSparsity:
    """The sparsity that a YAML or JSON text describes; `file` is its name in messages, and where its trace lies.

    A list of shares is the aggregated use of 1, 2, 3, ... tokens and nothing more.

    Raises: InvalidInputError: one line that says what is wrong, where, and what to write instead.
    """
    tree = read_tree(text, file)
    if isinstance(tree.value, list):
        curve = [_share(tree, (i,), value) for i, value in enumerate(tree.value)]
        return _of_curve(Path(file).stem, _told(tree, (), lambda: AggregatedUse.of(curve)))
    if not isinstance(tree.value, dict):
        raise tree.error((), "need a mapping of figures, or a list: the shares that 1, 2, 3, ... tokens use together")
    for key in tree.value:
        if key not in _KEYS:
            raise tree.error((key,), str(unknown_name("key", key, _KEYS)), of_key=True)
    if tree.value.get("schema", 1) != 1:
        raise tree.error(("schema",), "write 'schema: 1', the version of the format that this tierplan reads")
    return _Figures(tree, tree.value).read()


def _of_curve(name: str, use: AggregatedUse) -> ModelSparsity:
    return ModelSparsity(name, Sparsity(use.share(1), 1.0, use))


def _told(tree: Tree, path: KeyPath, make: Callable[[], _T]) -> _T:
    """What `make` makes; its complaint gets a place in the file."""
    try:
        return make()
    except InvalidInputError as error:
        raise tree.error(path, str(error)) from None


def _share(tree: Tree, path: KeyPath, value: Value) -> float:
    """A share from 0 to 1: a number, or percent."""
    if isinstance(value, str):
        share = 0.0 if value.replace(" ", "") == "0%" else _told(tree, path, lambda: units.read_share(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    else:
        raise tree.error(path, "need a share, like '3.3 %' or 0.033")
    if not 0 <= share <= 1:
        raise tree.error(path, f"a share of {share:g}; need 0 to 1, or 0 % to 100 %")
    return share


@dataclass(frozen=True, slots=True)
class _Figures:
    """The mapping of a sparsity file, key by key."""

    tree: Tree
    row: dict[str, Value]

    def read(self) -> ModelSparsity:
        name = self._text("name") or Path(self.tree.file).stem
        trace = self._trace()
        if trace is not None:
            measured = sparsity_of_trace(trace, name)
            sparsity = measured.sparsity
        else:
            sparsity = self._sparsity()
        predictor = self._optional("predictor") or 0.0
        model, rewriting = self._text("model"), self._rewriting()
        return ModelSparsity(name, sparsity, predictor, self._count("ahead", 0), model, rewriting, trace)

    def _sparsity(self) -> Sparsity:
        if "aggregated_use" in self.row:
            self._refuse("aggregated_use", ("window", "kept", "new"))
            use = self._curve()
            active = self._optional("active")
            if active is None:
                return Sparsity(use.share(1), self._over_prediction(use.share(1)), use)
            return _told(self.tree, ("active",), lambda: Sparsity(active, max(1.0, use.share(1) / active), use))
        active = self._needed("active")
        over = self._over_prediction(active)
        if "window" not in self.row:
            self._refuse("no 'window'", ("kept", "new"))
            return _told(self.tree, ("active",), lambda: _without_window(active, over))
        window, kept, new = self._count("window", 0), self._needed("kept"), self._needed("new")
        return _told(self.tree, ("window",), lambda: sparsity_from_figures(active, over, window, kept, new))

    def _curve(self) -> AggregatedUse:
        path: KeyPath = ("aggregated_use",)
        value = self.row["aggregated_use"]
        if isinstance(value, list):
            shares = [_share(self.tree, (*path, i), share) for i, share in enumerate(value)]
            return _told(self.tree, path, lambda: AggregatedUse.of(shares))
        if not isinstance(value, dict):
            raise self.tree.error(path, "need shares by number of tokens, like '{1: 10 %, 4: 24 %}', or a list of them")
        for key in value:
            if not key.isdecimal():
                raise self.tree.error((*path, key), "need a number of tokens", of_key=True)
        points = tuple((int(k), _share(self.tree, (*path, k), share)) for k, share in value.items())
        return _told(self.tree, path, lambda: AggregatedUse(points))

    def _over_prediction(self, active: float) -> float:
        if "missed" in self.row or "false_alarms" in self.row:
            self._refuse("missed", ("over_prediction",))
            missed, alarms = self._needed("missed"), self._needed("false_alarms")
            named = predicted_share(active, missed, alarms)
            return max(1.0, named / active) if active else 1.0
        value = self.row.get("over_prediction", 1)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value < float("inf"):
            raise self.tree.error(("over_prediction",), "need a number: predicted neurons per active one, 1 or more")
        return float(value)

    def _trace(self) -> ActivationTrace | None:
        if "trace" not in self.row:
            return None
        self._refuse("trace", ("active", "over_prediction", "missed", "window", "kept", "new", "aggregated_use"))
        path = Path(self.tree.file).parent / self._text("trace")
        return _told(self.tree, ("trace",), lambda: load_trace(path))

    def _rewriting(self) -> Rewriting | None:
        row = self.row.get("rewriting")
        if row is None:
            return None
        path: KeyPath = ("rewriting",)
        if not isinstance(row, dict) or set(row) != {"hardware", "row", "bandwidth"}:
            raise self.tree.error(path, "need 'hardware', 'row' (a time) and 'bandwidth', as measured on that machine")
        texts = {key: str(value) for key, value in row.items()}
        row_s = _told(self.tree, (*path, "row"), lambda: units.read_seconds(texts["row"]))
        rate = _told(self.tree, (*path, "bandwidth"), lambda: units.read_bandwidth(texts["bandwidth"]))
        return Rewriting(texts["hardware"], ManagementCost(row_s, rate))

    def _refuse(self, beside: str, keys: tuple[str, ...]) -> None:
        for key in keys:
            if key in self.row:
                raise self.tree.error(
                    (key,), f"'{key}' means nothing beside {beside}; take one of them out", of_key=True
                )

    def _text(self, key: str) -> str:
        value = self.row.get(key, "")
        if not isinstance(value, str):
            raise self.tree.error((key,), "need text; put it in quotes")
        return value

    def _count(self, key: str, default: int) -> int:
        value = self.row.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10**6:
            raise self.tree.error((key,), "need a whole number, 0 or more")
        return value

    def _optional(self, key: str) -> float | None:
        return _share(self.tree, (key,), self.row[key]) if key in self.row else None

    def _needed(self, key: str) -> float:
        if key not in self.row:
            raise self.tree.error((), f"missing key '{key}'")
        return _share(self.tree, (key,), self.row[key])


def _without_window(active: float, over_prediction: float) -> Sparsity:
    """One share, and nothing told of how the neurons of one token resemble those of the tokens before.

    Assumes: tokens use neurons independently of each other, with which a window helps least.
    """
    used = min(1.0, active * over_prediction)
    return Sparsity(active, over_prediction, AggregatedUse.of([1 - (1 - used) ** k for k in range(1, 65)]))
