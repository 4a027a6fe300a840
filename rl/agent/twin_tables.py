"""A program as the JAX twin of the game takes it: few arrays, padded to sizes that many programs share.

Assumes: two tiers, both of which steps can use directly, the lowest free offset. Others are refused.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Mode
from tierplan.rl.program import Program
from tierplan.rl.tables import NONE
from tierplan.rl.worth import earns

SMALLEST = 64  # bucket
_MOST_UNITS = 2**30

# columns of `ints`
STEP, TENSOR, MODE, OPENS, NEXT, NEXT_STEP, AFTER, GROUP, STAYS, ENDS, PINS, RETURNS, UNITS, REST, MAY_AFTER = range(15)
N_INTS = 15
# columns of `reals`
READ, WRITE, WANTED_IN, WANTED_OUT, CAP_IN, CAP_OUT = range(6)
N_REALS = 6
# rows of `rates`
OWN, RATE_IN, RATE_OUT = range(3)
N_STATIC = 6  # what `static` says of a visit to the network


class Board(NamedTuple):
    """A program: V visits and one beyond, S steps and one beyond, L links, K = 2 tiers; all padded.

    `ints` [V, 15] and `reals` [V, 6] per visit; `step_loads` [S, 4 + L + 1] bytes per tier and link, then compute
    seconds; `rates` [3, S] how long steps last and how fast copies run beside them with all in base; `promised` [S].
    `read_moves`, `write_moves` [4 + L]: where a byte goes that is read (written) in tier 0 instead of tier 1.
    `speeds` [4 + L]: bytes/s of the same. `links` [2]: the link in, and out; NONE if there is none.
    `room` [3]: floor, ceiling in whole units of alignment, and the bytes beyond. `blank` [N]: zeros.
    `static` [V, 6] features; `scale` [3]: visits, seconds that a visit can earn on average, units of room.
    """

    ints: Any
    reals: Any
    step_loads: Any
    rates: Any
    promised: Any
    read_moves: Any
    write_moves: Any
    speeds: Any
    links: Any
    room: Any
    blank: Any
    group: Any
    static: Any
    scale: Any


def bucket(n: int) -> int:
    """The size that something of size n is padded to: a power of two."""
    return max(SMALLEST, 1 << (n - 1).bit_length())


def check_twin(program: Program) -> None:
    """Refuse a program that the twin does not know.

    Raises: InvalidInputError: more than two tiers, a tier that steps cannot use, or another fit.
    """
    name = program.problem.name
    if len(program.tiers) != 2:
        raise InvalidInputError(
            f"'{name}': the agent plays on machines with two tiers, not {len(program.tiers)}; take planner 'local', "
            "or a machine with two"
        )
    if not program.tiers["direct"].all():
        raise InvalidInputError(
            f"'{name}': the agent needs two tiers that steps can use directly; take planner 'local'"
        )
    if program.rules.fit != "lowest":
        raise InvalidInputError(f"'{name}': the agent plays with fit 'lowest', not '{program.rules.fit}'")


class Sizes(NamedTuple):
    """How large the arrays of a board are: visits, steps, tensors, visits of one step; powers of two."""

    visits: int
    steps: int
    tensors: int
    group: int


def sizes_of(programs: Iterable[Program]) -> Sizes:
    """The bucket that all of these programs fit into: they share what is compiled."""
    rows = [
        Sizes(
            bucket(len(p.visits) + 1), bucket(len(p.own_s) + 1), bucket(len(p.tensors)),
            max(4, 1 << (int(np.bincount(p.visits["step"]).max()) - 1).bit_length()),
        )
        for p in programs
    ]  # fmt: skip
    return Sizes(*(max(column) for column in zip(*rows, strict=True)))


def board_of(program: Program, sizes: Sizes | None = None) -> Board:
    """The tables of a program as numpy arrays, padded to its own bucket or to a larger one.

    Raises: InvalidInputError: as `check_twin`, or tier 0 has too many units of alignment.
    """
    check_twin(program)
    tier = program.tiers[0]
    n_visits, n_steps, n_links = program.n_visits, len(program.own_s), len(program.link_rate)
    alignment = int(tier["alignment"])
    if tier["usable"] // alignment >= _MOST_UNITS:
        raise InvalidInputError(
            f"'{program.problem.name}': {tier['usable']} B by {alignment} B is too fine for the agent"
        )
    v, s, n, group = sizes or sizes_of([program])
    step_loads = np.zeros((s, 5 + n_links))
    step_loads[:n_steps, : 4 + n_links] = program.loads
    step_loads[:n_steps, -1] = program.compute_s
    promised = np.zeros(s)
    out = int(program.pairs[0, 1]["link"])
    if out >= 0:
        promised[: n_steps + 1] = program.promised[out]
    ceiling, floor = int(tier["usable"]), int(tier["floor"])
    units = np.array([-(-floor // alignment), ceiling // alignment, ceiling % alignment], dtype=np.int32)
    worth = earns(program)
    mean = max(float(worth.mean()), 1e-12)
    return Board(
        _ints(program, v, alignment), _reals(program, v), step_loads, _rates(program, s), promised,
        _moves(program, "read"), _moves(program, "write"), _speeds(program),
        np.array([program.pairs[1, 0]["link"], out], dtype=np.int32), units,
        np.zeros(n, dtype=np.int32), np.zeros(group, dtype=np.int32),
        _static(program, v, worth / mean), np.array([n_visits, mean, max(1, units[1] - units[0])]),
    )  # fmt: skip


def _ints(program: Program, v: int, alignment: int) -> Any:
    visits, tensors, n_steps = program.visits, program.tensors, len(program.own_s)
    n = len(visits)
    own = tensors[visits["tensor"]]
    rows = np.full((v, N_INTS), NONE, dtype=np.int32)
    rows[:, STEP] = n_steps
    rows[:, TENSOR] = 0
    rows[:, GROUP] = np.arange(v)
    part = rows[:n]
    for column, name in ((STEP, "step"), (TENSOR, "tensor"), (MODE, "mode"), (OPENS, "opens"), (NEXT, "next")):
        part[:, column] = visits[name]
    part[:, NEXT_STEP], part[:, AFTER] = visits["next_step"], visits["after"]
    part[:, GROUP] = np.searchsorted(visits["step"], visits["step"], side="left")
    part[:, STAYS] = np.where(visits["next_step"] < 0, visits["step"], np.minimum(visits["next_step"], n_steps - 1)) + 1
    part[:, ENDS] = (visits["next"] < 0) & (visits["next_step"] >= 0) & (own["returns"] > 0)
    part[:, PINS] = np.where((visits["first"] > 0) & (own["circular"] > 0), 1 + (own["settles"] > 0), 0)
    part[:, RETURNS] = own["returns"]
    part[:, UNITS] = -(-own["size"] // alignment)
    part[:, REST] = own["size"] - (part[:, UNITS].astype(np.int64) - 1) * alignment
    last = visits["step"][own["last"]] + 1
    part[:, MAY_AFTER] = np.where(visits["next"] < 0, visits["step"] + 1, last)
    return rows


def _reals(program: Program, v: int) -> Any:
    visits, size = program.visits, program.tensors["size"][program.visits["tensor"]]
    rows = np.zeros((v, N_REALS))
    n = len(visits)
    rows[:n, READ], rows[:n, WRITE] = visits["read"], visits["write"]
    into, out = program.pairs[1, 0], program.pairs[0, 1]
    rows[:n, WANTED_IN] = size + into["latency_s"] * into["rate"]
    rows[:n, WANTED_OUT] = size + out["latency_s"] * out["rate"]
    rows[:n, CAP_IN] = program.rate_cap[visits["tensor"], 1]
    rows[:n, CAP_OUT] = program.rate_cap[visits["tensor"], 0]
    return rows


def _rates(program: Program, s: int) -> Any:
    n = len(program.own_s)
    rows = np.zeros((3, s))
    rows[OWN, :n] = program.own_s
    for row, (a, b) in ((RATE_IN, (1, 0)), (RATE_OUT, (0, 1))):
        pair, tiers = program.pairs[a, b], program.tiers
        if pair["link"] < 0:
            continue
        rate = np.full(n, np.inf)
        for column, full in ((2 + pair["link"], pair["rate"]), (a, tiers[a]["read_rate"]), (b, tiers[b]["write_rate"])):
            free = 1.0 - program.used[:, column] / np.maximum(program.own_s, 1e-300)
            rate = np.minimum(rate, np.where(free > 1e-12, free * full, 0.0))
        rows[row, :n] = rate
    return rows


def _moves(program: Program, what: str) -> Any:
    moves = np.zeros(4 + len(program.link_rate))
    for k, sign in ((0, 1.0), (1, -1.0)):
        moves[(0 if what == "read" else 2) + k] += sign
        link = program.tiers[k][f"{what}_link"]
        if link >= 0:
            moves[4 + link] += sign
    return moves


def _speeds(program: Program) -> Any:
    return np.concatenate([program.tiers["read_rate"], program.tiers["write_rate"], program.link_rate])


def _static(program: Program, v: int, worth: Any) -> Any:
    """What a visit looks like to the network: worth, size, worth per size, mode, how far the next use is."""
    visits = program.visits
    n = len(visits)
    size = program.tensors["size"][visits["tensor"]] / max(1, int(program.tiers[0]["usable"]))
    away = np.where(visits["next_step"] >= 0, visits["next_step"] - visits["step"], 0)
    rows = np.zeros((v, N_STATIC), dtype=np.float32)
    rows[:n, 0] = np.log1p(worth)
    rows[:n, 1] = np.log2(size + 2.0**-20) / 10
    rows[:n, 2] = np.log2((worth + 1e-3) / (size + 1e-6)) / 10
    rows[:n, 3] = visits["mode"] == Mode.PRODUCE
    rows[:n, 4] = visits["mode"] == Mode.UPDATE
    rows[:n, 5] = np.log1p(away) / 6
    return rows
