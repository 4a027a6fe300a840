"""Many plays of one program at once, in one kernel: `gymnasium.make_vec("tierplan/MallocGame-v0", num_envs=64)`."""

from typing import Any

import numpy as np
from gymnasium import error, spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.rl.env import _kernels
from tierplan.rl.env.observe import N_SUPPLY, NOW, visit_features
from tierplan.rl.env.spaces import Named, check_reward, observation_space, programs_named, tables_of
from tierplan.rl.game import Game, state_shapes
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
        from tierplan.rl._kernels import State

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
        self._window = np.arange(1, ahead + 1)
        n_actions = self.program.n_actions
        self.single_observation_space = observation_space(n_actions, ahead, None)
        self.single_action_space = spaces.Discrete(n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        shapes = state_shapes(self.program).values()
        arrays: list[Any] = [np.zeros((num_envs, *shape), dtype) for shape, dtype in shapes]
        self.states = State(*arrays)
        self._mean_s = float(self.program.own_s.mean())
        self._scale = 1.0 if reward == "seconds" else 1.0 / max(self._game.slow_s, 1e-30)
        self._over = np.zeros(num_envs, dtype=np.bool_)
        self._begun = False

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin all plays."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        masks, now, supply = self._arrays()
        kernels.begin_many(self._mean_s, masks, now, supply, self._game.tables, self.states)
        self._over[:] = False
        self._mask, self._begun = masks, True
        return self._observed(masks, now, supply), {"action_mask": masks}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observations, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play one visit in each."""
        if not self._begun:
            raise error.ResetNeeded("no play has begun: call reset()")
        actions = np.asarray(actions, dtype=np.int64)
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() >= self.program.n_actions:
            raise error.InvalidAction(
                f"actions {actions!r}: need {self.num_envs} from 0 to {self.program.n_actions - 1}"
            )
        masks, now, supply = self._arrays()
        saved = np.empty(self.num_envs)
        kernels.act_many(actions, self._mean_s, saved, self._over, masks, now, supply, self._game.tables, self.states)
        over = self._over.copy()
        if self.program.waits:
            for b in np.flatnonzero(over):
                saved[b] += self._settle(int(b))
        self._mask = masks
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        return self._observed(masks, now, supply), saved * self._scale, over, truncated, {"action_mask": masks}

    def action_masks(self) -> NDArray[np.bool_]:
        """Shape [num_envs, n_actions]: which actions are legal now."""
        return self._mask.astype(np.bool_)

    def _settle(self, b: int) -> float:
        one = type(self.states)(*(array[b] for array in self.states))
        return self._game.of_state(one).settle()

    def _arrays(self) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
        n = self.num_envs
        return (
            np.empty((n, self.program.n_actions), np.int8),
            np.empty((n, len(NOW)), np.float32),
            np.empty((n, N_SUPPLY), np.float32),
        )

    def _observed(self, masks: Any, now: Any, supply: Any) -> Observations:
        at = self.states.head[:, 0]
        return {
            "visit": self._features[at],
            "ahead": self._features[at[:, None] + self._window],
            "now": now,
            "supply": supply,
            "action_mask": masks,
        }
