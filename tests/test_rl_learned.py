"""The learned model: what the replay keeps for it, what its losses learn, and training with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tierplan.ir.errors import InvalidInputError
from tierplan.rl.agent.config import Training

SMALL = "generator://convnet-v0/1?level=1"
DISCOUNT = 0.5


def _episodes(n: int, plays: int, seed: int = 0) -> Any:
    """Plays whose reward is the action, weighed by the first feature: told in the position that it is played in."""
    from tierplan.rl.agent.episodes import Episodes
    from tierplan.rl.agent.network import N_FEATURES

    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, plays, N_FEATURES)).astype(np.float32)
    actions = rng.integers(0, 3, (n, plays)).astype(np.int32)
    rewards = (actions - 1.0).astype(np.float32) * np.sign(features[..., 0])
    live = np.ones((n, plays), dtype=np.bool_)
    live[-1, 0] = False
    policy = np.eye(3, dtype=np.float32)[actions]
    return Episodes(
        features, np.ones((n, plays, 3), np.bool_), policy, np.zeros((n, plays), np.float32), actions, rewards, live,
        np.zeros(plays),
    )  # fmt: skip


def test_the_replay_keeps_the_steps_that_follow() -> None:
    from tierplan.rl.agent.learning import Replay
    from tierplan.rl.agent.network import LOOK

    played = _episodes(6, 2)
    replay = Replay(64, unroll=3)
    replay.add(played, played.policy, DISCOUNT)
    assert replay.n == 11
    values = played.returns(DISCOUNT)
    places = [(t, b) for t in range(6) for b in range(2) if played.live[t, b]]
    for row, (t, b) in enumerate(places):
        for k in range(3):
            goes_on = t + k + 1 < 6 and bool(played.live[t + k + 1, b])
            assert bool(replay.rows["counts"][row, k]) == goes_on
            if goes_on:
                assert replay.rows["actions"][row, k] == played.actions[t + k, b]
                assert replay.rows["rewards"][row, k] == played.rewards[t + k, b]
                assert replay.rows["values"][row, k] == values[t + k + 1, b]
                assert (replay.rows["policies"][row, k] == played.policy[t + k + 1, b]).all()
                seen = played.features[t + k + 1, b, :LOOK].astype(np.float16)
                assert (replay.rows["ahead"][row, k] == seen).all()


def test_the_model_learns_rewards_of_steps_that_it_does_not_see() -> None:
    import equinox as eqx

    from tierplan.rl.agent.learned import unrolled_losses
    from tierplan.rl.agent.learning import Replay, learn, optimiser
    from tierplan.rl.agent.player import empty_network

    played = _episodes(40, 8)
    replay = Replay(512, unroll=2)
    replay.add(played, played.policy, DISCOUNT)
    rng = np.random.default_rng(0)
    network = empty_network(16, 1, 0, "learned")
    state = optimiser(1e-2).init(eqx.filter(network, eqx.is_array))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    rows: Any = {name: array[0] for name, array in replay.draw(1, 256, rng).items()}
    before = [float(loss) for loss in unrolled_losses(network, rows)]
    for _ in range(3):
        network, state, _ = learn(network, state, replay.draw(50, 64, rng), 1e-2)
    after = [float(loss) for loss in unrolled_losses(network, rows)]
    assert after[2] < 0.5 * before[2]
    assert after[0] < before[0]


def test_a_model_that_is_not_known_is_told() -> None:
    with pytest.raises(InvalidInputError, match="learned"):
        Training((SMALL,), model="learnt")
    with pytest.raises(InvalidInputError, match="unroll is 0"):
        Training((SMALL,), unroll=0)


@pytest.mark.slow
def test_training_with_a_learned_model_goes_on_and_is_read_again(tmp_path: Path) -> None:
    from tierplan.rl.agent.checkpoint import read_checkpoint
    from tierplan.rl.agent.learned import LearnedGame, LearnedNetwork
    from tierplan.rl.agent.player import read_player
    from tierplan.rl.agent.training import AGENT, STATE, train
    from tierplan.rl.program import Rules, program_of
    from tierplan.rl.programs import read_program

    config = Training((SMALL,), teachers=(), plays=2, simulations=2, updates=2, batch=8, replay=200, width=8, blocks=1,
                      slots=16, checkpoint_every=1, model="learned", rounds=2)  # fmt: skip
    rows: list[dict[str, Any]] = []
    train(config, tmp_path / "whole", resume=False, told=rows.append)
    train(replace(config, rounds=1), tmp_path / "parts", resume=False, told=rows.append)
    train(config, tmp_path / "parts", resume=True, told=rows.append)
    whole, parts = (read_checkpoint(tmp_path / name / STATE).arrays for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    program = program_of(read_program(SMALL), Rules(slots=16))
    player = read_player(tmp_path / "whole" / AGENT, program, 1.0, 2)
    assert isinstance(player.network, LearnedNetwork)
    assert isinstance(player.model, LearnedGame)
    with pytest.raises(InvalidInputError, match="model = 'learned'"):
        train(replace(config, model="game"), tmp_path / "parts", resume=True, told=rows.append)


@pytest.mark.slow
def test_training_keeps_the_network_of_the_best_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tierplan.rl.agent import training
    from tierplan.rl.agent.checkpoint import read_checkpoint

    shares = iter((0.5, 0.9, 0.1))

    def evaluated(*_: object) -> float:
        return next(shares)

    def told(_: object) -> None:
        pass

    monkeypatch.setattr(training, "_evaluated", evaluated)
    config = Training((SMALL,), evaluate=(SMALL,), teachers=(), plays=2, simulations=2, updates=1, batch=8, replay=200,
                      width=8, blocks=1, slots=16, checkpoint_every=1, evaluate_every=1, rounds=3)  # fmt: skip
    training.train(config, tmp_path, resume=False, told=told)
    assert read_checkpoint(tmp_path / training.AGENT).about["round"] == 2
    state = read_checkpoint(tmp_path / training.STATE).about
    assert (state["round"], state["evaluated"]) == (3, 0.9)
