"""What an agent sees of a program: features of every visit, worked out once."""

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.problem import Mode
from tierplan.rl.program import Program
from tierplan.rl.worth import earns

FEATURES = (
    "size", "read", "write", "reads", "updates", "produces", "saving", "share", "own", "compute", "until next",
    "since last", "has next", "returns", "first",
)  # fmt: skip
NOW = ("played", "queue", "pinned", "peak", "kept", "dirty", "pending", "base", "filled")
N_SUPPLY = 16


def visit_features(program: Program, ahead: int) -> NDArray[np.float32]:
    """Shape [V + ahead + 1, len(FEATURES)]: a row for each visit, then rows of zeros. All values in [0, 1].

    Sizes are told as shares of the fastest tier, times as shares of the mean step; x stands as x / (1 + x).
    """
    visits, tensors = program.visits, program.tensors[program.visits["tensor"]]
    step, n_steps = visits["step"], len(program.own_s)
    room = max(1, int(program.tiers["usable"][0] - program.tiers["floor"][0]))
    mean_s = max(float(program.own_s.mean()), 1e-30)
    alone = earns(program)
    until = np.where(visits["next_step"] >= 0, visits["next_step"] - step, n_steps)
    columns = [
        _squash(8 * tensors["size"] / room),
        _squash(8 * visits["read"] / room),
        _squash(8 * visits["write"] / room),
        visits["mode"] == Mode.READ,
        visits["mode"] == Mode.UPDATE,
        visits["mode"] == Mode.PRODUCE,
        _squash(alone / mean_s),
        np.clip(alone / np.maximum(program.own_s[step], 1e-30), 0.0, 1.0),
        _squash(program.own_s[step] / mean_s),
        np.clip(program.compute_s[step] / np.maximum(program.own_s[step], 1e-30), 0.0, 1.0),
        _squash(until / 16),
        _squash((step - visits["opens"]) / 16),
        visits["next_step"] >= 0,
        tensors["returns"],
        visits["first"],
    ]
    rows = np.zeros((program.n_visits + ahead + 1, len(FEATURES)), dtype=np.float32)
    rows[: program.n_visits] = np.stack(columns, axis=1)
    return rows


def _squash(x: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.maximum(x, 0.0)
    return positive / (1.0 + positive)
