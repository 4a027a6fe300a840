"""The JAX twin of mallocGame plays exactly as the kernels do."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import small

from tierplan.ir.errors import InvalidInputError
from tierplan.rl.game import Game
from tierplan.rl.program import Program, Rules, program_of
from tierplan.rl.programs import read_program

jax = pytest.importorskip("jax")
RULES = Rules(slots=16, window=16)
TASTES = ((0.45, 0.45, 0.1), (0.1, 0.8, 0.1), (0.96, 0.02, 0.02))  # how often to copy, keep and drop
QUICK = ("generator://training-v0/2?level=1", "generator://transformer-v0/0?level=1")
LONG = ("suite://train/adam-vit", "suite://train/lstm-16x16", "suite://test/experts-16")


@pytest.fixture(scope="module", autouse=True)
def _wide() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def twin() -> Any:
    from tierplan.rl.agent import twin

    return jax.jit(twin.begin, static_argnums=(1, 2, 3)), jax.jit(twin.act)


def check_same_play(program: Program, twin: Any, seed: int) -> int:
    """Play both at random, mask by mask and reward by reward; how many visits until the end, or drop-backup."""
    from tierplan.rl.agent.twin_tables import board_of, sizes_of

    sizes = sizes_of([program])._replace(visits=256, steps=128, tensors=128) if program.n_visits < 250 else None
    board = jax.tree.map(jax.numpy.asarray, board_of(program, sizes))
    begin, act = twin
    rules = program.rules
    play, game, rng = begin(board, rules.window, rules.slots, rules.pending), Game(program), np.random.default_rng(seed)
    while not game.is_over:
        legal = game.legal()
        assert np.array_equal(np.asarray(play.legal), legal > 0) or bool(play.stuck)
        chance = np.array(TASTES[seed % len(TASTES)]) * legal
        action, backups = int(rng.choice(3, p=chance / chance.sum())), game.n_backups
        saved = game.step(action)
        stuck = bool(play.stuck)
        play, told = act(board, play, np.int32(action))
        if game.n_backups > backups:
            assert stuck or bool(play.stuck)
            return game.at
        assert float(told) == pytest.approx(saved, rel=1e-9, abs=1e-12 * game.slow_s)
    assert not bool(play.stuck)
    assert float(play.total_s) == pytest.approx(game.saved_s, rel=1e-9)
    return game.at


@pytest.mark.parametrize("name", QUICK)
def test_plays_of_a_generated_program_are_the_same(name: str, twin: Any) -> None:
    program = program_of(read_program(name), RULES)
    assert sum(check_same_play(program, twin, seed) for seed in range(3)) == 3 * program.n_visits


@pytest.mark.parametrize("cyclic", [False, True])
def test_plays_of_a_training_step_are_the_same(cyclic: bool, twin: Any) -> None:
    program = program_of(small.training(4, 1, cyclic=cyclic, tiers=2), RULES)
    assert sum(check_same_play(program, twin, seed) for seed in range(6)) > program.n_visits


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_plays_of_a_long_program_are_the_same(name: str, twin: Any) -> None:
    program = program_of(read_program(name), Rules(slots=64))
    assert check_same_play(program, twin, 0) == program.n_visits


def test_what_the_twin_does_not_know_is_refused() -> None:
    from tierplan.rl.agent.twin_tables import board_of

    with pytest.raises(InvalidInputError, match="two tiers, not 3"):
        board_of(program_of(small.training(2, 0, tiers=3)))
    with pytest.raises(InvalidInputError, match="fit 'lowest'"):
        board_of(program_of(small.training(2, 0, tiers=2), Rules(fit="best")))
