"""Random programs for the game: blocks of operations whose sizes are drawn, at several levels of difficulty."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.machine import Machine, Unit
from tierplan.ir.problem import NO_HOME, Keep, Mode, Problem, links_of, tiers_of

_BYTES = 2  # of an element: bfloat16
LEVELS = 4
_LAYERS = ((1, 2), (3, 6), (8, 14), (20, 32))  # least and most layers, by level
_TIGHTNESS = ((0.5, 2.0), (1.0, 6.0), (2.0, 12.0), (4.0, 24.0))  # bytes of all tensors over the first tier


@dataclass(slots=True)
class _Draft:
    """A program while it is written, one operation after another."""

    sizes: list[int] = field(default_factory=list[int])
    exists: list[bool] = field(default_factory=list[bool])
    kinds: list[str] = field(default_factory=list[str])
    names: list[str] = field(default_factory=list[str])
    steps: list[tuple[str, float, bool, list[tuple[int, Mode]]]] = field(
        default_factory=list[tuple[str, float, bool, list[tuple[int, Mode]]]]
    )

    def tensor(self, kind: str, elements: float) -> int:
        """A new tensor; weights and states exist from the start."""
        self.sizes.append(max(1, int(elements)) * _BYTES)
        self.exists.append(kind in ("weight", "state", "input"))
        self.kinds.append(kind)
        self.names.append(f"{kind}{len(self.names)}")
        return len(self.sizes) - 1

    def run(self, name: str, ops: float, matrix: bool, uses: Sequence[tuple[int, Mode]]) -> None:
        """A step; a tensor that is used twice in it is used once, as what asks for more."""
        merged: dict[int, Mode] = {}
        for x, mode in uses:
            merged[x] = max(mode, merged.get(x, Mode.READ))
        self.steps.append((f"{name}{len(self.steps)}", ops, matrix, list(merged.items())))

    def matmul(self, name: str, rows: float, inner: float, columns: float, a: int, b: int) -> int:
        """A product of two matrices."""
        out = self.tensor("activation", rows * columns)
        self.run(name, 2 * rows * inner * columns, True, [(a, Mode.READ), (b, Mode.READ), (out, Mode.PRODUCE)])
        return out

    def map(self, name: str, ops: float, *operands: int) -> int:
        """An elementwise function; its result is as large as its first operand."""
        out = self.tensor("activation", self.sizes[operands[0]] // _BYTES)
        work = ops * self.sizes[out] / _BYTES
        self.run(name, work, False, [*((x, Mode.READ) for x in operands), (out, Mode.PRODUCE)])
        return out


def _transformer(draft: _Draft, rng: np.random.Generator, layers: int) -> None:
    """Attention and a feed-forward block, some layers of each, with residual connections."""
    width = int(rng.choice((256, 384, 512, 768, 1024)))
    tokens = int(rng.choice((64, 128, 256, 512, 1024)))
    heads, wide = max(1, width // 64), int(width * rng.choice((2, 4)))
    stream = draft.tensor("input", tokens * width)
    for _ in range(layers):
        normal = draft.map("norm", 8, stream, draft.tensor("weight", width))
        q, k, v = (
            draft.matmul(name, tokens, width, width, normal, draft.tensor("weight", width * width)) for name in "qkv"
        )
        scores = draft.tensor("activation", heads * tokens * tokens)
        draft.run("scores", 2.0 * tokens * tokens * width, True,
                  [(q, Mode.READ), (k, Mode.READ), (scores, Mode.PRODUCE)])  # fmt: skip
        weights = draft.map("softmax", 10, scores)
        mixed = draft.matmul("attend", tokens, tokens, width, weights, v)
        out = draft.matmul("out", tokens, width, width, mixed, draft.tensor("weight", width * width))
        stream = draft.map("add", 1, stream, out)
        normal = draft.map("norm", 8, stream, draft.tensor("weight", width))
        up = draft.matmul("up", tokens, width, wide, normal, draft.tensor("weight", width * wide))
        act = draft.map("gelu", 12, up)
        down = draft.matmul("down", tokens, wide, width, act, draft.tensor("weight", width * wide))
        stream = draft.map("add", 1, stream, down)


def _training(draft: _Draft, rng: np.random.Generator, layers: int) -> None:
    """Layers forward, the same backward, then an update of all weights."""
    width = int(rng.choice((256, 512, 1024, 2048)))
    rows = int(rng.choice((64, 128, 256, 512)))
    weights, kept, momenta = list[int](), list[int](), list[int]()
    value = draft.tensor("input", rows * width)
    for _ in range(layers):
        weights.append(draft.tensor("weight", width * width))
        kept.append(value)
        hidden = draft.matmul("matmul", rows, width, width, value, weights[-1])
        value = draft.map("relu", 1, hidden)
    error = draft.map("loss", 4, value)
    gradients: list[int] = []
    for i in reversed(range(layers)):
        gradient = draft.tensor("activation", width * width)
        draft.run("gradient", 2.0 * rows * width * width, True,
                  [(kept[i], Mode.READ), (error, Mode.READ), (gradient, Mode.PRODUCE)])  # fmt: skip
        gradients.append(gradient)
        if i:
            error = draft.map("mask", 1, draft.matmul("back", rows, width, width, error, weights[i]), kept[i])
    has_momentum = bool(rng.integers(2))
    for weight, gradient in zip(reversed(weights), gradients, strict=True):
        uses = [(gradient, Mode.READ), (weight, Mode.UPDATE)]
        if has_momentum:
            momenta.append(draft.tensor("state", width * width))
            uses.append((momenta[-1], Mode.UPDATE))
        draft.run("update", 4.0 * width * width, False, uses)


def _convnet(draft: _Draft, rng: np.random.Generator, layers: int) -> None:
    """Convolutions with skip connections; images shrink and channels grow."""
    batch, side, channels = int(rng.choice((1, 4, 8))), int(rng.choice((56, 112))), int(rng.choice((32, 64)))
    value = draft.tensor("input", batch * side * side * channels)
    for i in range(layers):
        skip = value
        grows = i % 4 == 3 and side > 7 and channels < 1024
        for part in range(int(rng.integers(1, 4))):
            wider = channels * 2 if grows and part == 0 else channels
            side = side // 2 if grows and part == 0 else side
            taps = int(rng.choice((1, 9)))
            weight = draft.tensor("weight", taps * channels * wider)
            out = draft.tensor("activation", batch * side * side * wider)
            draft.run("conv", 2.0 * batch * side * side * taps * channels * wider, True,
                      [(value, Mode.READ), (weight, Mode.READ), (out, Mode.PRODUCE)])  # fmt: skip
            value = draft.map("relu", 2, out)
            channels = wider
        if not grows:
            value = draft.map("add", 1, value, skip)


FAMILIES: dict[str, Callable[[_Draft, np.random.Generator, int], None]] = {
    "transformer-v0": _transformer,
    "training-v0": _training,
    "convnet-v0": _convnet,
}


def generate(family: str, seed: int, machine: Machine, level: int = 1) -> Problem:
    """A program of a family, repeated forever on a machine; the same seed and level give the same program.

    `level`: from 0, a few operations that nearly fit the fastest tier, to 3, hundreds that are many times larger.

    Raises: InvalidInputError: there is no such family or level, or the seed is negative.
    """
    if family not in FAMILIES:
        raise unknown_name("family of generated programs", family, FAMILIES)
    if not 0 <= level < LEVELS:
        raise InvalidInputError(f"level {level} of '{family}': need 0 to {LEVELS - 1}")
    if seed < 0:
        raise InvalidInputError(f"seed {seed} of '{family}': need 0 or more")
    rng = np.random.default_rng([seed, level, sorted(FAMILIES).index(family)])
    draft = _Draft()
    FAMILIES[family](draft, rng, int(rng.integers(_LAYERS[level][0], _LAYERS[level][1] + 1)))
    low, high = _TIGHTNESS[level]
    wanted = math.exp(rng.uniform(math.log(low), math.log(high)))
    scale = wanted * machine.tiers[0].usable / sum(draft.sizes)
    return _problem(draft, machine, scale, f"{family}-{seed}-level{level}")


def _problem(draft: _Draft, machine: Machine, scale: float, name: str) -> Problem:
    """The program with all sizes scaled; its operations scale with what they touch."""
    sizes = np.maximum(64, (np.array(draft.sizes) * scale / 64).astype(np.int64) * 64)
    matrix, vector = _peak(machine.matrix), _peak(machine.vector)
    rows = [(x, mode) for *_, uses in draft.steps for x, mode in uses]
    tensor = np.array([x for x, _ in rows], dtype=np.int64)
    mode = np.array([m for _, m in rows], dtype=np.int64)
    home = machine.tier_index(machine.home)
    exists = np.array(draft.exists)
    last = draft.steps[-1][3][-1][0]
    keep = np.full(len(sizes), int(Keep.NOTHING))
    keep[last] = int(Keep.SOMEWHERE) if not exists[last] else int(Keep.HOME)
    return Problem(
        name=name,
        tiers=tiers_of(machine),
        links=links_of(machine),
        step_names=tuple(step for step, *_ in draft.steps),
        compute_s=np.array([ops * scale / (matrix if of_matrix else vector) for _, ops, of_matrix, _ in draft.steps]),
        compute_j=np.full(len(draft.steps), np.nan),
        access_start=np.cumsum([0] + [len(uses) for *_, uses in draft.steps]),
        access_tensor=tensor,
        access_read=np.where(mode == Mode.PRODUCE, 0, sizes[tensor]),
        access_write=np.where(mode == Mode.READ, 0, sizes[tensor]),
        access_mode=mode,
        tensor_names=tuple(draft.names),
        tensor_kind=tuple(draft.kinds),
        size=sizes,
        home=np.where(exists, home, NO_HOME),
        keep=keep,
        cyclic=True,
    )


def _peak(unit: Unit) -> float:
    return max(unit.peak.values())
