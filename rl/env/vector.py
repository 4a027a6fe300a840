"""Many plays of one program at once, in one kernel: `gymnasium.make_vec("tierplan/MallocGame-v0", num_envs=64)`."""

from typing import Any

import numpy as np
from gymnasium import error, spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.rl.env import _kernels
from tierplan.rl.env.dispatch import only_version
from tierplan.rl.env.observe import FEATURES, N_SUPPLY, NOW, visit_features
from tierplan.rl.env.spaces import Named, check_reward, observation_space, programs_named, tables_of
from tierplan.rl.game import Game
from tierplan.rl.memory import Memory
from tierplan.rl.program import Rules

Observations = dict[str, NDArray[Any]]
kernels: Any = _kernels


class MallocGameVector(VectorEnv[Observations, NDArray[Any], NDArray[Any]]):
    """As `MallocGame`, `num_envs` plays side by side.

    Autoreset is Gymnasium's NEXT_STEP: the step after the last of a play begins the next one, whatever its action, and
    brings a reward of 0.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        program: Named = "generator://transformer-v0/0",
        hardware: str | None = None,
        *,
        ahead: int = 8,
        reward: str = "seconds",
        rules: Rules | None = None,
    ) -> None:
        check_reward(reward)
        if num_envs < 1:
            raise InvalidInputError(f"{num_envs} environments; need at least 1")
        named = programs_named(program)
        if len(named) != 1:
            raise InvalidInputError("a vector environment plays one program; make one of each")
        self.num_envs, self._ahead = num_envs, ahead
        self.program = tables_of(named[0], hardware, rules)
        self._game = Game(self.program)
        self._features = visit_features(self.program, ahead)
        n_actions = self.program.n_actions
        self.single_observation_space = observation_space(n_actions, ahead, None)
        self.single_action_space = spaces.Discrete(n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._waits = self.program.waits
        layout = self._game.layout
        rows = np.zeros((num_envs, layout.size), dtype=np.uint8)
        self._plays = [Memory(layout, row) for row in rows]
        self._wheres = np.array([play.where for play in self._plays], dtype=np.int64)
        self._act: Any = kernels.act_many
        self._mean_s = float(self.program.own_s.mean())
        self._scale = 1.0 if reward == "seconds" else 1.0 / max(self._game.slow_s, 1e-30)
        self._over = np.zeros(num_envs, dtype=np.bool_)
        self._begun = False

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin all plays."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        seen = self._blank()
        kernels.begin_many(
            self._mean_s, self._features, seen["action_mask"], seen["now"], seen["supply"], seen["visit"],
            seen["ahead"], self._wheres,
        )  # fmt: skip
        self._over[:] = False
        self._mask, self._begun = seen["action_mask"], True
        return seen, {"action_mask": self._mask}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observations, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play one visit in each."""
        if not self._begun:
            raise error.ResetNeeded("no play has begun: call reset()")
        actions = np.ascontiguousarray(actions, dtype=np.int64)
        seen, saved = self._blank(), np.empty(self.num_envs)
        mask = seen["action_mask"]
        if actions.shape != (self.num_envs,) or not self._act(
            actions, self._mean_s, self._features, saved, self._over, mask, seen["now"], seen["supply"],
            seen["visit"], seen["ahead"], self._wheres,
        ):  # fmt: skip
            raise error.InvalidAction(
                f"actions {actions!r}: need {self.num_envs} from 0 to {self.program.n_actions - 1}"
            )
        if self._act is kernels.act_many:  # it was compiled only now
            self._act = only_version(kernels.act_many)
        over = self._over.copy()
        if self._waits:
            for b in np.flatnonzero(over).tolist():
                saved[b] += self._game.on(self._plays[b]).settle()
        if self._scale != 1.0:
            saved *= self._scale
        self._mask = mask
        return seen, saved, over, np.zeros(self.num_envs, dtype=np.bool_), {"action_mask": mask}

    def action_masks(self) -> NDArray[np.bool_]:
        """Shape [num_envs, n_actions]: which actions are legal now."""
        return self._mask.astype(np.bool_)

    def _blank(self) -> Observations:
        """The arrays of an observation; a kernel fills them."""
        n, width = self.num_envs, len(FEATURES)
        return {
            "visit": np.empty((n, width), np.float32),
            "ahead": np.empty((n, self._ahead, width), np.float32),
            "now": np.empty((n, len(NOW)), np.float32),
            "supply": np.empty((n, N_SUPPLY), np.float32),
            "action_mask": np.empty((n, self.program.n_actions), np.int8),
        }
