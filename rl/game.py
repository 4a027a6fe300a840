"""mallocGame: one play of a program, visit by visit, and the plan that it ends in.

The rules stand in docs/mallocgame.md. The game is that of "Optimizing Memory Mapping Using Deep Reinforcement Learning"
(arXiv 2305.07440, 2023), whose later version calls it MMapGame.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import Ints
from tierplan.rl import tables
from tierplan.rl.program import Program
from tierplan.rl.tables import NONE, Flags, Rows

_NEVER = 2**40
_UNKNOWN = -1


def play_tables(program: Program) -> Any:
    """A program as the kernels take it."""
    from tierplan.rl import _kernels

    rules = program.rules
    return _kernels.Tables(
        np.array([rules.window, int(rules.fit == "best"), int(program.waits)], dtype=np.int64),
        program.visits, program.tensors, program.tiers, program.pairs, program.loads, program.used, program.own_s,
        program.compute_s, program.promised, program.rate_cap, program.link_rate,
    )  # fmt: skip


def state_shapes(program: Program) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and type of each array of a play, by name, in the order of `_kernels.State`."""
    v, n, k = program.n_visits, len(program.tensors), len(program.tiers)
    s, hops = len(program.own_s), max(1, k - 1)
    return {
        "head": ((10,), np.int64),
        "total": ((1,), np.float64),
        "moves": ((v,), tables.MOVE),
        "served": ((v,), np.int64),
        "tensors": ((n,), tables.PLACED),
        "rects": ((v * hops + 8,), tables.RECT),
        "copies": ((v * (hops + 1) + 8,), tables.COPY),
        "steps": ((s + 1,), tables.STEP),
        "loads": (program.loads.shape, np.int64),
        "used": (program.used.shape, np.float64),
        "live": ((k, program.rules.slots), np.int64),
        "room": ((k, 3), np.int64),
        "queue": ((program.rules.pending,), tables.QUEUED),
        "way": ((k, 3), np.int64),
    }


def blank_state(program: Program) -> Any:
    """Arrays for one play; `_kernels.reset` fills them."""
    from tierplan.rl import _kernels

    arrays: list[Any] = [np.zeros(shape, dtype) for shape, dtype in state_shapes(program).values()]
    return _kernels.State(*arrays)


class Game:
    """One play of a program.

    Units: seconds. `saved_s` is what the play has saved so far against leaving every tensor in its base; when it is
    over, `slow_s - saved_s` is the simulated time of `plan()`.
    """

    def __init__(self, program: Program) -> None:
        from tierplan.rl import _kernels

        self.program = program
        self._kernels = _kernels
        self.tables = play_tables(program)
        self.state = blank_state(program)
        self._mask = np.zeros(program.n_actions, dtype=np.int8)
        self._tells_waits = False
        self.slow_s = float(program.own_s.sum())
        if program.waits:
            self.slow_s = self._all_slow_s()
            self._tells_waits = True
        self.reset()

    def _all_slow_s(self) -> float:
        """Simulated seconds if every tensor is left in its base, and copied where steps can use it."""
        if not np.isfinite(self.replay(np.full(self.program.n_visits, _UNKNOWN))):
            problem, stuck = self.program.problem, self.program.visits[int(self.state.head[7])]
            name, step = problem.tensor_names[int(stuck["tensor"])], problem.step_names[int(stuck["step"])]
            raise InvalidInputError(
                f"'{problem.name}' does not fit: '{name}' cannot be brought where step {stuck['step']} ({step}) can "
                "use it, whatever is left out; take a machine with more memory, or one that can reach all of it"
            )
        return self._simulated_s()

    def _simulated_s(self) -> float:
        from tierplan.sim.timeline import cost_s

        return cost_s(self.program.problem, self.plan())

    @property
    def at(self) -> int:
        """The visit that is next; V when the play is over."""
        return int(self.state.head[0])

    @property
    def is_over(self) -> bool:
        """Whether all visits were played."""
        return self.at == self.program.n_visits

    @property
    def n_backups(self) -> int:
        """How often drop-backup took place."""
        return int(self.state.head[5])

    @property
    def saved_s(self) -> float:
        """Seconds saved so far."""
        return float(self.state.total[0])

    def reset(self) -> None:
        """Begin anew."""
        self._kernels.reset(self.tables, self.state)
        self._kernels.forget(self.state)

    def legal(self) -> Flags:
        """Shape [2K - 1]: 1 for each action that may be played next; never empty while the play is not over."""
        self._kernels.legal(self._mask, self.tables, self.state)
        return self._mask.copy()

    def default(self) -> int:
        """The action that leaves the tensor where it is."""
        return int(self._kernels.default_action(self.tables, self.state))

    def step(self, action: int) -> float:
        """Play the next visit; the seconds that it saves. What is not legal is played as the default.

        Raises: InvalidInputError: the play is over, or there is no such action.
        """
        if self.is_over:
            raise InvalidInputError("the play is over; reset it")
        if not 0 <= action < self.program.n_actions:
            raise InvalidInputError(f"action {action}: need 0 to {self.program.n_actions - 1}")
        saved = float(self._kernels.step(action, self.tables, self.state))
        return saved + self.settle() if self.is_over else saved

    def settle(self) -> float:
        """At the end of a play: seconds that steps wait less than if every tensor had been left in its base.

        They are counted in `saved_s` then. Where steps never wait, there are none.
        """
        if not self._tells_waits:
            return 0.0
        saved = self.slow_s - self._simulated_s() - self.saved_s
        self.state.total[0] += saved
        return saved

    def replay(self, actions: Sequence[int] | Ints) -> float:
        """Play all visits with these actions; the seconds saved. What is not legal is played as the default."""
        saved = float(self._kernels.replay(np.asarray(actions, dtype=np.int64), self.tables, self.state))
        return saved + self.settle()

    def played(self) -> Ints:
        """The actions that were played, drop-backup counted in; playing them again ends in the same plan."""
        return self.state.moves["action"][: self.at].copy()

    def fork(self) -> "Game":
        """A second play at the same point; neither changes the other."""
        return self.of_state(type(self.state)(*(array.copy() for array in self.state)))

    def of_state(self, state: Any) -> "Game":
        """The play of the same program that stands as `state` says."""
        twin = object.__new__(Game)
        twin.__dict__.update(self.__dict__)
        twin.state, twin._mask = state, self._mask.copy()
        return twin

    def plan(self) -> Plan:
        """The plan that the play ended in.

        Raises: InvalidInputError: it is not over.
        """
        if not self.is_over:
            raise InvalidInputError(
                f"visit {self.at} of {self.program.n_visits} is next: play on before asking for a plan"
            )
        return plan_of(self.program, self.state)


def plan_of(program: Program, state: Any) -> Plan:
    """The plan that a finished play stands for."""
    placed, fixed = state.tensors, program.tensors
    residencies: list[Residency] = []
    for x in np.flatnonzero(fixed["stop"] > fixed["start"]).tolist():
        row = fixed[x]
        start = int(row["start"])
        if row["first"] != NONE:
            if placed["base"][x] != row["base"]:
                continue
            start = int(placed["since"][x])
        if start < row["stop"]:
            residencies.append(Residency(x, int(row["base"]), int(row["offset"]), start, int(row["stop"])))
    residencies += [Residency(*row[:5]) for row in _rows(state.rects, int(state.head[2]))]
    copies = [Copy(*row) for row in _rows(state.copies, int(state.head[3])) if row[-1] >= 0]
    taken = tuple(Taken(index, 0) for index in range(len(program.problem.choices)))
    return Plan(tuple(residencies), tuple(copies), taken)


def _rows(table: Rows, n: int) -> list[tuple[int, ...]]:
    return table[:n].tolist()
