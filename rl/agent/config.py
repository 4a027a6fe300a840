"""What `tierplan train` reads: a YAML file of numbers and names."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from tierplan.ir.errors import InvalidInputError, unknown_name

_MAY_CHANGE = ("rounds", "checkpoint_every", "evaluate_every", "workers")
MODELS = ("game", "learned")
TEACHERS = ("msa", "local", "flow", "anneal")


@dataclass(frozen=True, slots=True)
class Training:
    """How an agent is trained.

    Each round plays `plays` games of one program side by side, then takes `updates` steps of `batch` positions from a
    replay that keeps the last `replay` ones. Of the plays, a share `imitation`, which falls to nothing at half of the
    rounds that `imitate_rounds` names, follows the best plan of the teachers; a share `reanalysis` follows the best
    play so far while search judges it anew. `curriculum`: short programs first. `evaluate` are programs that are
    played without noise, and never trained on.

    `model`: search in the game itself ("game", as AlphaZero), or in a model that is learned on `unroll` steps at a time
    ("learned", as MuZero).

    The plays of a round are split into `parts` tasks of equal size, and `workers` processes play them and evaluate; by
    1 worker, all is played in this process. What comes out depends on `parts`, and not on `workers`.
    """

    programs: tuple[str, ...]
    hardware: str = "tpu-v4i"
    model: str = "game"
    evaluate: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ("msa",)
    seed: int = 0
    width: int = 64
    blocks: int = 2
    discount: float = 0.97
    simulations: int = 8
    gumbel: float = 1.0
    plays: int = 16
    parts: int = 1
    workers: int = 1
    rounds: int = 100
    updates: int = 32
    batch: int = 256
    learning_rate: float = 1e-3
    replay: int = 30_000
    imitation: float = 0.5
    imitate_rounds: int = 40
    reanalysis: float = 0.125
    curriculum: bool = True
    slots: int = 64
    unroll: int = 5
    checkpoint_every: int = 5
    evaluate_every: int = 20
    described: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "simulations", "plays", "parts", "workers", "rounds", "batch", "replay",
                     "checkpoint_every", "evaluate_every", "slots", "unroll"):  # fmt: skip
            if getattr(self, name) < 1:
                raise InvalidInputError(f"training: {name} is {getattr(self, name)}; need at least 1")
        if self.plays % self.parts:
            raise InvalidInputError(f"training: {self.plays} plays in {self.parts} parts; need parts of equal size")
        if self.workers > self.parts:
            raise InvalidInputError(
                f"training: {self.workers} workers, but the plays of a round are {self.parts} task(s); write parts: "
                f"{self.workers} or more (what comes out depends on parts, and not on workers)"
            )
        if not 0 < self.discount < 1:
            raise InvalidInputError(f"training: discount is {self.discount}; need more than 0 and less than 1")
        if self.model not in MODELS:
            raise unknown_name("model", self.model, MODELS)
        if not self.programs:
            raise InvalidInputError("training: no programs; name some, like suite://train/bert-8x512")
        for teacher in self.teachers:
            if teacher not in TEACHERS:
                raise unknown_name("teacher", teacher, TEACHERS)

    def asdict(self) -> dict[str, Any]:
        """The same as JSON writes it."""
        rows: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "described"}
        return rows | {name: list(rows[name]) for name in ("programs", "evaluate", "teachers")}


def read_training(path: Path) -> Training:
    """Read a configuration.

    Raises: InvalidInputError: no such file, a key that is not known, or a value of a wrong kind.
    """
    try:
        rows: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InvalidInputError(f"cannot read '{path}': {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"'{path}' is no YAML: {error}") from None
    if not isinstance(rows, dict):
        raise InvalidInputError(f"'{path}': write keys and values, like 'programs: [suite://train/bert-8x512]'")
    known: dict[str, Any] = {f.name: f for f in fields(Training) if f.name != "described"}
    values: dict[str, Any] = {}
    pairs: list[tuple[Any, Any]] = list(rows.items())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    for key, value in pairs:
        if key not in known:
            raise unknown_name(f"key of '{path}'", str(key), known)
        values[key] = _value(path, key, value, known[key].type)
    if "programs" not in values:
        raise InvalidInputError(f"'{path}' lacks 'programs': a list of names, see 'tierplan play --list'")
    return Training(**values)


def _value(path: Path, key: str, value: Any, kind: Any) -> Any:
    text = str(kind)
    if "tuple" in text:
        items: list[Any] = list(value) if isinstance(value, list) else [None]  # pyright: ignore[reportUnknownArgumentType]
        if all(isinstance(item, str) for item in items):
            return tuple(items)
        raise InvalidInputError(f"'{path}' {key}: need a list of names, not {value!r}")
    wanted = {"int": int, "float": float, "bool": bool, "str": str}[getattr(kind, "__name__", text)]
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise InvalidInputError(f"'{path}' {key}: need {wanted.__name__}, not {value!r}")
    return value


def check_same(before: dict[str, Any], now: Training, where: str) -> None:
    """Refuse to go on with another configuration; only how long, and how often to save, may differ.

    Raises: InvalidInputError: something else differs.
    """
    asked = {f.name: f.default for f in fields(Training)}  # of what an older tierplan did not know
    for key, value in now.asdict().items():
        if key not in _MAY_CHANGE and before.get(key, asked[key]) != value:
            raise InvalidInputError(
                f"'{where}' was trained with {key} = {_short(before.get(key))}, the configuration says "
                f"{_short(value)}: "
                "take it back, or train anew without --resume in another folder"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
