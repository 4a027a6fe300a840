"""mallocGame: every play ends in a legal plan, and saves exactly the simulated time that it says."""

import numpy as np
import pytest
import small
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Link, Tier
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.rl.game import Game
from tierplan.rl.program import Rules, program_of
from tierplan.rl.programs import read_program
from tierplan.rl.tables import N_LIVE, N_RECTS
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


FLASH = small.machine(
    tiers=(Tier("sram", 1000, 100.0, 100.0, alignment=10), Tier("flash", 100_000, 10.0, 10.0, direct=False)),
    links=(Link("load", "flash", "sram", 10.0), Link("store", "sram", "flash", 10.0)),
    home="flash",
)
WEIGHTS = {f"w{i}": 250 for i in range(6)}


def flash_game() -> Game:
    """Six weights in flash, of which the fast tier holds three beside what the steps produce."""
    steps = ["produce y", *(f"read y, read {w}" for w in WEIGHTS), *(f"read y, read {w}" for w in WEIGHTS)]
    on = FLASH
    problem = small.problem(steps, {"y": 200, **WEIGHTS}, home=list(WEIGHTS), cyclic=True, on=on, compute_s=[9.0] * 13)
    return Game(program_of(problem))


def test_what_blocks_a_forced_placement_is_turned_into_drops() -> None:
    game = flash_game()
    keep, first_weights = 1, 3
    for _ in range(first_weights):
        assert game.legal()[keep]
        game.step(keep)  # the first visit of each: throughout, which leaves too little room for the fourth
    assert game.n_backups == 0
    before = game.played().tolist()
    game.step(2)
    assert game.n_backups > 0
    assert game.played()[:first_weights].tolist() != before
    while not game.is_over:
        game.step(2)
    check_end(game, game.program.problem, game.saved_s)


@pytest.mark.parametrize("seed", range(20))
def test_plays_with_forced_placements_are_legal(seed: int) -> None:
    game = flash_game()
    check_end(game, game.program.problem, play_at_random(game, np.random.default_rng(seed)))


def test_what_was_played_ends_in_the_same_plan_again() -> None:
    rng = np.random.default_rng(0)
    for game in (flash_game(), Game(program_of(small.training(4, 1)))):
        for _ in range(5):
            play_at_random(game, rng)
            plan, saved_s = game.plan(), game.saved_s
            assert game.replay(game.played()) == pytest.approx(saved_s)
            assert game.n_backups == 0
            assert game.plan() == plan


def test_any_string_of_actions_is_a_play() -> None:
    problem = small.training(5, 2)
    game = Game(program_of(problem))
    rng = np.random.default_rng(0)
    for _ in range(20):
        saved_s = game.replay(rng.integers(-1, game.program.n_actions, game.program.n_visits))
        check_end(game, problem, saved_s)


def test_leaving_all_in_its_base_saves_nothing() -> None:
    game = Game(program_of(small.training(4, 0)))
    assert game.replay(np.full(game.program.n_visits, -1)) == 0.0
    assert game.plan().copies == ()


def test_a_fork_goes_its_own_way() -> None:
    game = Game(program_of(small.training(4, 0)))
    for _ in range(10):
        game.step(int(np.flatnonzero(game.legal())[0]))
    twin, saved_s = game.fork(), game.saved_s
    while not twin.is_over:
        twin.step(1)
    assert (game.at, game.saved_s) == (10, saved_s)
    assert twin.is_over


def test_a_fork_has_all_that_the_play_has() -> None:
    game = Game(program_of(small.training(6, 1)))
    rng = np.random.default_rng(3)
    for _ in range(game.program.n_visits // 2):
        game.step(int(rng.choice(np.flatnonzero(game.legal()))))
    twin = game.fork()
    while not game.is_over:
        assert np.array_equal(game.legal(), twin.legal())
        action = int(rng.integers(game.program.n_actions))
        assert game.step(action) == twin.step(action)
    assert game.plan() == twin.plan()
    assert np.array_equal(game.played(), twin.played())


def test_what_lay_somewhere_long_ago_is_forgotten_and_nothing_else() -> None:
    """A long play takes residencies out of sight; one that it forgets too early would be laid over."""
    problem = read_program("generator://convnet-v0/3?level=2")
    game = Game(program_of(problem))
    rng = np.random.default_rng(1)
    saved_s = game.replay(rng.choice([0, 0, 1], game.program.n_visits))
    check_end(game, problem, saved_s)
    n_live, n_rects = int(game.memory.array("room")[0, N_LIVE]), int(game.memory.head[N_RECTS])
    assert n_live < n_rects


def test_a_copy_takes_the_latest_steps_that_suffice() -> None:
    """sram reads 100 B/s, dram and the link 10 B/s; a step of 10 s that does not touch dram leaves 100 B."""
    steps = ["produce y", "read y", "read y", "read y", "read w, read y"]
    on = small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2])
    problem = small.problem(steps, {"y": 100, "w": 150}, home=["w"], on=on, compute_s=[10.0] * 5)
    game = Game(program_of(problem))
    copy, keep = 0, 1
    while not game.is_over:
        w = game.program.visits["tensor"][game.at] == 1
        game.step(copy if w else keep)
    (moved,) = game.plan().copies
    assert (moved.start, moved.done) == (2, 4)
    assert game.saved_s == pytest.approx(25.0 - 10.0)  # the last step alone is shorter: w and y take dram 25 s
    check_end(game, problem, game.saved_s)


def test_what_cannot_be_played_is_refused() -> None:
    one_tier = small.machine(tiers=(small.DRAM,), links=())
    with pytest.raises(InvalidInputError, match="one tier"):
        program_of(small.problem(["read w"], {"w": 10}, home=["w"], on=one_tier))
    two = small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2])
    with pytest.raises(InvalidInputError, match="no choice"):
        program_of(small.problem([""], {"w": 10}, home=["w"], on=two))
    with pytest.raises(InvalidInputError, match="does not fit: no room for 'w'"):
        program_of(small.problem(["read w"], {"w": 20_000}, home=["w"], on=two, cyclic=True))
    with pytest.raises(InvalidInputError, match="step 0 needs 'w'"):
        program_of(small.problem(["read w"], {"w": 10}, home=["w"], on=FLASH))
    game = Game(program_of(small.problem(["", "read w"], {"w": 10}, home=["w"], on=two)))
    with pytest.raises(InvalidInputError, match="action 3: need 0 to 2"):
        game.step(3)
    with pytest.raises(InvalidInputError, match="visit 0 of 1"):
        game.plan()
    game.step(2)
    with pytest.raises(InvalidInputError, match="over"):
        game.step(2)
    with pytest.raises(InvalidInputError, match="no fit is named 'tightest'"):
        Rules(fit="tightest")
