"""The Gymnasium environment: its contract, masks, forks, and many plays at once."""

import gymnasium
import numpy as np
import pytest
import small
from gymnasium.utils.env_checker import check_env

import tierplan.rl.env
from tierplan.ir.errors import InvalidInputError
from tierplan.rl.env.single import MallocGame
from tierplan.rl.env.vector import MallocGameVector
from tierplan.rl.game import Game
from tierplan.rl.program import program_of

ID = tierplan.rl.env.ENVIRONMENT
PROGRAM = program_of(small.training(3, 0))


def made(**options: object) -> MallocGame:
    env = gymnasium.make(ID, **({"program": PROGRAM} | options)).unwrapped
    assert isinstance(env, MallocGame)
    return env


@pytest.mark.parametrize("profile", [None, (16, 8)])
def test_gymnasium_accepts_the_environment(profile: tuple[int, int] | None) -> None:
    check_env(made(profile=profile), skip_render_check=True)


def test_a_play_is_that_of_the_game_and_its_masks_agree() -> None:
    env, game = made(), Game(PROGRAM)
    rng = np.random.default_rng(0)
    seen, info = env.reset(seed=3)
    over, total = False, 0.0
    while not over:
        legal = game.legal()
        assert np.array_equal(seen["action_mask"], legal)
        assert np.array_equal(info["action_mask"], legal)
        assert np.array_equal(env.action_masks(), legal.astype(bool))
        action = int(rng.choice(np.flatnonzero(legal)))
        seen, reward, over, _, info = env.step(action)
        assert env.observation_space.contains(seen)
        assert reward == game.step(action)
        total += float(reward)
    assert info["time_s"] == pytest.approx(info["slow_s"] - total)
    assert env.validate() == []


def test_rewards_may_be_shares() -> None:
    env = made(reward="share")
    env.reset()
    over, total, info = False, 0.0, {}
    while not over:
        _, reward, over, _, info = env.step(1)
        total += float(reward)
    assert total == pytest.approx(1 - info["time_s"] / info["slow_s"])
    with pytest.raises(InvalidInputError, match="did you mean 'share'"):
        made(reward="shares")


def test_many_plays_at_once_are_as_one_by_one_and_begin_anew_by_themselves() -> None:
    n = 5
    many = gymnasium.make_vec(ID, num_envs=n, program=PROGRAM)
    assert isinstance(many, MallocGameVector)
    ones = [made() for _ in range(n)]
    rng = np.random.default_rng(0)
    seen, _ = many.reset(seed=0)
    alone = [env.reset()[0] for env in ones]
    over = np.zeros(n, dtype=bool)
    for _ in range(2 * PROGRAM.n_visits):
        for b in range(n):
            assert all(np.array_equal(seen[key][b], alone[b][key]) for key in seen)
        assert many.observation_space.contains(seen)
        actions = rng.integers(0, PROGRAM.n_actions, n)
        before = over
        seen, rewards, over, _, _ = many.step(actions)
        for b in range(n):
            if before[b]:
                alone[b], reward, ended = ones[b].reset()[0], 0.0, False
            else:
                alone[b], reward, ended, *_ = ones[b].step(int(actions[b]))
            assert (rewards[b], over[b]) == (reward, ended)


def test_the_same_seed_draws_the_same_programs() -> None:
    names = [f"generator://convnet-v0/{i}?level=0" for i in range(6)]
    drawn = []
    for _ in range(2):
        env = made(program=names)
        env.reset(seed=11)
        drawn.append([env.program.problem.name] + [(env.reset(), env.program.problem.name)[1] for _ in range(5)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1


def test_a_fork_goes_its_own_way() -> None:
    env = made()
    env.reset()
    for _ in range(5):
        env.step(1)
    twin = env.fork()
    one, two = env.step(1), twin.step(1)
    assert one[1] == two[1]
    twin.step(1)
    assert (env.game.at, twin.game.at) == (6, 7)


def test_wrong_use_is_refused_with_the_errors_of_gymnasium() -> None:
    env = made()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset()
    with pytest.raises(gymnasium.error.InvalidAction, match="need 0 to 2"):
        env.step(3)
    many = MallocGameVector(2, PROGRAM)
    many.reset()
    with pytest.raises(gymnasium.error.InvalidAction):
        many.step(np.array([0, 7]))
    with pytest.raises(InvalidInputError, match="one program"):
        MallocGameVector(2, "train")


def test_it_can_be_looked_at() -> None:
    env = made(render_mode="ansi")
    env.reset()
    assert "legal: " in env.render()
    assert f"visit 0 of {PROGRAM.n_visits}" in env.render()
    env = made(render_mode="rgb_array")
    env.reset()
    before = env.render()
    assert before.dtype == np.uint8
    assert before.shape[2] == 3
    for _ in range(20):
        env.step(1)
    assert not np.array_equal(before, env.render())
