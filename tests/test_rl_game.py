"""mallocGame: every play ends in a legal plan, and saves exactly the simulated time that it says."""

import numpy as np
import pytest
import small
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.rl.game import Game
from tierplan.rl.program import Rules, program_of
from tierplan.sim.timeline import cost_s

RULES = (Rules(), Rules(window=2), Rules(fit="best"), Rules(slots=3, pending=1))


def games(data: st.DataObject, problem: Problem) -> Game | None:
    """The game of a problem under drawn rules; None where there is nothing to play."""
    try:
        return Game(program_of(problem, data.draw(st.sampled_from(RULES))))
    except InvalidInputError:
        return None


def check_end(game: Game, problem: Problem, returned_s: float) -> None:
    plan = game.plan()
    assert list(violations(problem, plan)) == []
    assert game.slow_s - returned_s == pytest.approx(cost_s(problem, plan), rel=1e-9, abs=1e-15)
    assert game.saved_s == pytest.approx(returned_s, rel=1e-9, abs=1e-9 * game.slow_s)


def play_at_random(game: Game, rng: np.random.Generator) -> float:
    """Play legal actions at random; the sum of the rewards."""
    game.reset()
    returned_s = 0.0
    while not game.is_over:
        mask = game.legal()
        assert mask.any()
        returned_s += game.step(int(rng.choice(np.flatnonzero(mask))))
    return returned_s


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_every_play_of_a_drawn_program_is_legal_and_saves_what_it_says(data: st.DataObject) -> None:
    machine = data.draw(strategies.machines(capacity=data.draw(st.sampled_from((500_000, 2_000_000, 10**8)))))
    problem = data.draw(strategies.problems(machine))
    game = games(data, problem)
    if game is not None:
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        check_end(game, problem, play_at_random(game, rng))


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("tiers", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_every_play_of_a_training_step_is_legal_and_saves_what_it_says(tiers: int, cyclic: bool, seed: int) -> None:
    problem = small.training(4, seed, cyclic=cyclic, tiers=tiers)
    game = Game(program_of(problem, RULES[seed]))
    rng = np.random.default_rng(seed)
    for _ in range(3):
        check_end(game, problem, play_at_random(game, rng))
