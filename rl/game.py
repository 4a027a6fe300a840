"""mallocGame: one play of a program, visit by visit, and the plan that it ends in.

The rules stand in docs/mallocgame.md. The game is that of "Optimizing Memory Mapping Using Deep Reinforcement Learning"
(arXiv 2305.07440, 2023), whose later version calls it MMapGame.
"""

from collections.abc import Sequence

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import Ints
from tierplan.rl.memory import Layout, Memory
from tierplan.rl.program import Program
from tierplan.rl.tables import AT, BACKUPS, N_COPIES, N_RECTS, NONE, STUCK, Flags

_UNKNOWN = -1


class Game:
    """One play of a program.

    Units: seconds. `saved_s` is what the play has saved so far against leaving every tensor in its base; when it is
    over, `slow_s - saved_s` is the simulated time of `plan()`.
    """

    def __init__(self, program: Program) -> None:
        from tierplan.rl import _kernels

        self.program = program
        self._kernels = _kernels
        self.layout = Layout(program)
        self.memory = Memory.blank(self.layout)
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
            problem, stuck = self.program.problem, self.program.visits[self.memory.head.item(STUCK)]
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
        return self.memory.head.item(AT)

    @property
    def is_over(self) -> bool:
        """Whether all visits were played."""
        return self.at == self.program.n_visits

    @property
    def n_backups(self) -> int:
        """How often drop-backup took place."""
        return self.memory.head.item(BACKUPS)

    @property
    def saved_s(self) -> float:
        """Seconds saved so far."""
        return self.memory.total_s

    def reset(self) -> None:
        """Begin anew."""
        self._kernels.reset(self.memory.where)

    def legal(self) -> Flags:
        """Shape [2K - 1]: 1 for each action that may be played next; never empty while the play is not over."""
        self._kernels.legal(self._mask, self.memory.where)
        return self._mask.copy()

    def default(self) -> int:
        """The action that leaves the tensor where it is."""
        return int(self._kernels.default_action(self.memory.where))

    def step(self, action: int) -> float:
        """Play the next visit; the seconds that it saves. What is not legal is played as the default.

        Raises: InvalidInputError: the play is over, or there is no such action.
        """
        if self.is_over:
            raise InvalidInputError("the play is over; reset it")
        if not 0 <= action < self.program.n_actions:
            raise InvalidInputError(f"action {action}: need 0 to {self.program.n_actions - 1}")
        saved = float(self._kernels.step(action, self.memory.where))
        return saved + self.settle() if self.is_over else saved

    def settle(self) -> float:
        """At the end of a play: seconds that steps wait less than if every tensor had been left in its base.

        They are counted in `saved_s` then. Where steps never wait, there are none.
        """
        if not self._tells_waits:
            return 0.0
        saved = self.slow_s - self._simulated_s() - self.saved_s
        self.memory.add_s(saved)
        return saved

    def replay(self, actions: Sequence[int] | Ints) -> float:
        """Play all visits with these actions; the seconds saved. What is not legal is played as the default."""
        saved = float(self._kernels.replay(np.ascontiguousarray(actions, dtype=np.int64), self.memory.where))
        return saved + self.settle()

    def played(self) -> Ints:
        """The actions that were played, drop-backup counted in; playing them again ends in the same plan."""
        return self.memory.array("moves")["action"][: self.at].astype(np.int64)

    def fork(self) -> "Game":
        """A second play at the same point; neither changes the other."""
        return self.on(self.memory.copy())

    def on(self, memory: Memory) -> "Game":
        """The play of the same program that lies in that memory."""
        twin = object.__new__(Game)
        twin.__dict__.update(self.__dict__)
        twin.memory = memory
        return twin

    def plan(self) -> Plan:
        """The plan that the play ended in.

        Raises: InvalidInputError: it is not over.
        """
        if not self.is_over:
            raise InvalidInputError(
                f"visit {self.at} of {self.program.n_visits} is next: play on before asking for a plan"
            )
        return plan_of(self.program, self.memory)


def plan_of(program: Program, memory: Memory) -> Plan:
    """The plan that a finished play stands for."""
    placed, fixed = memory.array("placed"), program.tensors
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
    n_rects, n_copies = memory.head.item(N_RECTS), memory.head.item(N_COPIES)
    rects = memory.array("rects")[["tensor", "tier", "offset", "start", "stop"]][:n_rects]
    residencies += [Residency(*row) for row in rects.tolist()]
    copies = [Copy(*row) for row in memory.array("copies")[:n_copies].tolist() if row[-1] >= 0]
    taken = tuple(Taken(index, 0) for index in range(len(program.problem.choices)))
    return Plan(tuple(residencies), tuple(copies), taken)
