"""One agent on one program: forks, what they are spliced into, proposals, and the budget that ends it."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tierplan.rl.agent.config import Training
from tierplan.rl.agent.repeats import period_of
from tierplan.rl.game import Game
from tierplan.rl.methods.clock import stop_after
from tierplan.rl.methods.contract import Best, Effort
from tierplan.rl.program import Rules, program_of
from tierplan.rl.programs import read_program

SMALL = "generator://convnet-v0/1?level=1"
LAYERS = "generator://transformer-v0/0?level=1"


def _trace(n: int) -> Any:
    from tierplan.rl.agent.forks import Trace

    nothing: Any = None
    return Trace(
        nothing, np.zeros((n, 1), np.float32), np.ones((n, 3), np.bool_), np.zeros(n, np.float32),
        np.ones(n, np.bool_), np.zeros((n, 3), np.float32), np.zeros(n, np.float32),
    )  # fmt: skip


def _episodes(actions: list[int], live: list[bool]) -> Any:
    from tierplan.rl.agent.episodes import Episodes

    n = len(actions)
    column = np.arange(n, dtype=np.float32)[:, None]
    return Episodes(
        np.zeros((n, 1, 1), np.float32), np.ones((n, 1, 3), np.bool_), np.full((n, 1, 3), 1 / 3, np.float32),
        column + 1, np.array(actions, np.int32)[:, None], column + 1, np.array(live)[:, None], np.zeros(1),
    )  # fmt: skip


def test_a_fork_takes_the_place_of_what_was_played_there_and_of_nothing_else() -> None:
    from tierplan.rl.agent.solo import spliced

    played = np.zeros(6, dtype=np.int64)
    assert spliced(played, 2, _episodes([1, 2, 1], [True, True, True]), 0).tolist() == [0, 0, 1, 2, 1, 0]
    assert spliced(played, 2, _episodes([1, 2, 1], [True, False, False]), 0).tolist() == [0, 0, 1, 0, 0, 0]
    assert spliced(played, 4, _episodes([1, 2, 1], [True, True, False]), 0).tolist() == [0, 0, 0, 0, 1, 2]
    assert played.tolist() == [0] * 6


def test_a_play_that_goes_on_is_worth_its_last_value() -> None:
    whole = _episodes([0, 0, 0], [True, True, True])
    assert whole.returns(0.5).ravel().tolist() == [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3]
    assert whole.returns(0.5, tail=True).ravel().tolist() == [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3]
    ended = _episodes([0, 0, 0], [True, True, False])
    assert ended.returns(0.5, tail=True).ravel().tolist() == [2.0, 2.0, 0.0]


def test_proposals_change_all_repetitions_of_a_layer_together() -> None:
    from tierplan.rl.agent.solo import Proposals, Ways

    game = Game(program_of(read_program(LAYERS), Rules(slots=64)))
    first, period, times = period_of(game.program)
    n = game.program.n_visits
    ways = Ways(guided=0.0, macros=1.0)
    lost = np.ones(n)
    drawn = [Proposals(game, _trace(n), ways, np.random.default_rng(seed), lost) for seed in range(20)]
    played = np.full(n, 7)
    together = 0
    for proposals in drawn:
        tried = proposals.draw(played)
        changed = np.flatnonzero(tried != played)
        blocks = tried[first : first + period * times].reshape(times, period)
        together += bool((blocks == blocks[0]).all()) and len(changed) >= times
    assert together >= 10
    assert (played == 7).all()


def test_guided_proposals_are_those_of_the_policy_where_time_is_lost() -> None:
    from tierplan.rl.agent.solo import Proposals, Ways

    game = Game(program_of(read_program(SMALL), Rules(slots=64)))
    n = game.program.n_visits
    lost = np.zeros(n)
    lost[3] = 1.0
    found = _trace(n)
    found.logits[:, 2] = 20.0
    counts = {}
    for guided in (0.0, 1.0):
        proposals = Proposals(game, found, Ways(guided=guided, macros=0.0), np.random.default_rng(0), lost)
        tried = np.stack([proposals.draw(np.full(n, 7)) for _ in range(400)])
        counts[guided] = (int((tried[:, 3] != 7).sum()), float((tried[tried != 7] == 2).mean()))
    assert counts[1.0][0] > 3 * counts[0.0][0]
    assert counts[1.0][1] > counts[0.0][1] + 0.2


def test_a_stop_is_set_by_processor_time() -> None:
    with stop_after(0.05) as stop:
        assert not stop.is_set()
        time.sleep(0.1)
        slept = stop.is_set()
        until = time.process_time() + 5.0
        while not stop.is_set() and time.process_time() < until:
            pass
        assert stop.is_set()
    assert not slept
    with stop_after(3600.0) as stop:
        pass
    assert not stop.is_set()


def test_annealing_teaches_no_worse_than_the_heuristics() -> None:
    from tierplan.rl.agent.pupils import pupils_of

    config = Training((SMALL,), teachers=("msa",))
    (by_msa,), (by_annealing,) = (pupils_of((SMALL,), replace(config, teachers=t)) for t in (("msa",), ("anneal",)))
    assert by_annealing.reference_s == by_msa.reference_s
    assert by_annealing.game.replay(by_annealing.taught) >= by_msa.game.replay(by_msa.taught) * (1 - 1e-12)
    assert by_annealing.game.replay(by_annealing.taught) > 0.99 * by_annealing.reference_s


@pytest.mark.slow
def test_an_agent_on_one_program_never_loses_its_best_play_and_learns() -> None:
    import jax

    from tierplan.rl.agent.player import Player, board_for, empty_network
    from tierplan.rl.agent.search import Searching
    from tierplan.rl.agent.solo import Solo, Ways

    program = program_of(read_program(SMALL), Rules(slots=16))
    game = Game(program)
    start = game.replay(np.full(program.n_visits, 1)), game.played()
    found: list[tuple[float, list[int]]] = []
    for _ in range(2):
        best = Best(game, Effort(200), *start)
        player = Player(empty_network(8, 1, 0), board_for(program, start[0]), program, Searching(2))
        agent = Solo(player, best, np.random.default_rng(0), Ways(forks=4, searching=0.5, updates=2, batch=16))
        agent.warm()
        best.decisions = 0
        agent.run()
        assert best.saved_s > start[0]
        assert game.replay(best.actions) == pytest.approx(best.saved_s)
        changed = jax.tree.leaves(agent.player.network)[0] - jax.tree.leaves(player.network)[0]
        assert float(abs(changed).max()) > 0
        found.append((best.saved_s, best.actions.tolist()))
    assert found[0] == found[1]
