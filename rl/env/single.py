"""mallocGame for one agent: `gymnasium.make("tierplan/MallocGame-v0", program="suite://train/bert-8x512")`."""

from collections.abc import Sequence
from operator import index
from typing import Any, SupportsFloat, cast

import gymnasium
import numpy as np
from gymnasium import error, spaces
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.rl.env import _kernels, picture
from tierplan.rl.env.dispatch import only_version
from tierplan.rl.env.observe import N_SUPPLY, NOW, visit_features
from tierplan.rl.env.spaces import Named, check_reward, observation_space, programs_named, tables_of
from tierplan.rl.game import Game
from tierplan.rl.program import Program, Rules
from tierplan.rl.tables import AT, Flags

Observation = dict[str, NDArray[Any]]
Rows = list[tuple[NDArray[np.float32], NDArray[np.float32]]]
_N_NOW = len(NOW)
kernels: Any = _kernels


class MallocGame(gymnasium.Env[Observation, int]):
    """One decision a step: copy, keep, or leave the tensor of the visit that is next.

    Args:
        program: a name such as "suite://train/bert-8x512" or "generator://transformer-v0/23?level=2", a `Problem`, a
            `Program`, several of them, or a split ("train", "test"): each reset then draws one.
        hardware: a built-in machine or a hardware file, for generated programs.
        ahead: how many of the next visits are shown. profile: shape (steps, offsets) of a picture of the fastest tier
            around the present, left out by default. reward: "seconds" saved, or their "share" of the slow plan's time.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        program: Named | Sequence[Named] = "generator://transformer-v0/0",
        hardware: str | None = None,
        *,
        ahead: int = 8,
        profile: tuple[int, int] | None = None,
        reward: str = "seconds",
        rules: Rules | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_reward(reward)
        self._named = programs_named(program)
        self._hardware, self._rules = hardware, rules
        self._ahead, self._profile, self._reward = ahead, profile, reward
        self._known: dict[int, tuple[Game, Rows]] = {}
        self.render_mode = render_mode
        self._open(0)
        n_actions = self.game.program.n_actions
        self.action_space: spaces.Discrete = spaces.Discrete(n_actions)  # pyright: ignore[reportIncompatibleVariableOverride]
        self.observation_space = cast(Any, observation_space(n_actions, ahead, profile))
        self._in_play = False
        self._act: Any = only_version(kernels.act)

    def _open(self, place: int) -> None:
        """Take up the program of that index."""
        if place not in self._known:
            tables = tables_of(self._named[place], self._hardware, self._rules)
            self._known[place] = Game(tables), _rows(visit_features(tables, self._ahead), self._ahead)
        self.game, self._rows = self._known[place]
        self._memory, self._n_visits = self.game.memory, self.game.program.n_visits
        self._n_actions = self.game.program.n_actions
        if len(self._known) > 1 and self.game.program.n_actions != self.action_space.n:
            raise InvalidInputError("programs on machines with different numbers of tiers do not share an environment")
        self._mean_s = float(self.game.program.own_s.mean())
        self._scale = 1.0 if self._reward == "seconds" else 1.0 / max(self.game.slow_s, 1e-30)

    @property
    def program(self) -> Program:
        """The program that is played."""
        return self.game.program

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a play; of several programs one is drawn, or `options={"program": INDEX}` names it."""
        super().reset(seed=seed)
        if len(self._named) > 1:
            drawn = int(self.np_random.integers(len(self._named)))
            self._open(int((options or {}).get("program", drawn)))
        game = self.game
        mask, now, supply = self._arrays()
        kernels.begin(self._mean_s, mask, now, supply, game.memory.where)
        self._mask, self._in_play = mask, True
        return self._observed(mask, now, supply), {"action_mask": mask}

    def step(self, action: int) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Play the visit that is next; what is not legal is played as the rules say."""
        if not self._in_play:
            raise error.ResetNeeded("the play is over, or has not begun: call reset()")
        mask, now, supply = self._arrays()
        saved = self._act(self._checked(action), self._mean_s, mask, now, supply, self._memory.where)
        self._mask = mask
        info: dict[str, Any] = {"action_mask": mask}
        over = self._memory.head.item(AT) == self._n_visits
        if over:
            game = self.game
            saved += game.settle()
            self._in_play = False
            self._act = only_version(kernels.act)  # it was compiled by now
            info |= {"time_s": game.slow_s - game.saved_s, "slow_s": game.slow_s, "backups": game.n_backups}
        return self._observed(mask, now, supply), saved * self._scale, over, False, info

    def _checked(self, action: Any) -> int:
        try:
            chosen = index(action)
        except TypeError:
            chosen = -1
        if not 0 <= chosen < self._n_actions:
            raise error.InvalidAction(f"action {action!r}: need 0 to {self._n_actions - 1}")
        return chosen

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are legal now, as sb3-contrib's MaskablePPO asks for it."""
        return self._mask.astype(np.bool_)

    def fork(self) -> "MallocGame":
        """A second environment at the same point of the same play."""
        twin = object.__new__(MallocGame)
        twin.__dict__.update(self.__dict__)
        twin.game = self.game.fork()
        twin._memory = twin.game.memory
        twin._known = {0: (twin.game, self._rows)}
        twin._named = (self.program,)
        return twin

    def validate(self) -> list[str]:
        """What is wrong with the plan of a finished play: broken rules, or another simulated time."""
        from tierplan.rl.result import complaints

        return complaints(self.program.problem, self.game.plan(), self.game.slow_s - self.game.saved_s)

    def render(self) -> Any:
        """The play in words ("ansi"), or a picture of the fastest tier around the present ("rgb_array")."""
        if self.render_mode == "rgb_array":
            return picture.image(self.game)
        return picture.text(self.game) if self.render_mode == "ansi" else None

    def _arrays(self) -> tuple[Flags, NDArray[np.float32], NDArray[np.float32]]:
        return np.empty(self._n_actions, np.int8), np.empty(_N_NOW, np.float32), np.empty(N_SUPPLY, np.float32)

    def _observed(self, mask: Flags, now: NDArray[np.float32], supply: NDArray[np.float32]) -> Observation:
        visit, ahead = self._rows[self._memory.head.item(AT)]
        seen: Observation = {
            "visit": visit.copy(),
            "ahead": ahead.copy(),
            "now": now,
            "supply": supply,
            "action_mask": mask,
        }
        if self._profile is not None:
            seen["profile"] = picture.profile(self.game, self._profile)
        return seen


def _rows(features: NDArray[np.float32], ahead: int) -> Rows:
    """For each visit, and for the end: its features, and those of the next visits."""
    return [(features[v], features[v + 1 : v + 1 + ahead]) for v in range(len(features) - ahead)]
