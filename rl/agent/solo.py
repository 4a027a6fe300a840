# pyright: basic, reportCallIssue=false
"""One agent on one program: it decides anew where its best play loses time, and learns from what it found.

A round follows a good play, forks it where visits are not served by the fastest tier, lets search play on from
each fork, and keeps all forks that together save more. What search did is learned. Between rounds the policy proposes
changes to it one by one, and those are kept as annealing keeps them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np

from tierplan.ir.problem import Floats, Ints
from tierplan.rl.agent.episodes import CHUNK, Episodes
from tierplan.rl.agent.forks import Trace, search_forks, trace
from tierplan.rl.agent.learning import Replay, learn, optimiser
from tierplan.rl.agent.player import Player
from tierplan.rl.agent.repeats import period_of, tied
from tierplan.rl.game import Game
from tierplan.rl.methods.contract import Best
from tierplan.rl.worth import earns

_SURE = 0.8  # what a followed action is given as a policy to learn; the rest is shared by what else is legal
_EVEN = 0.1  # share of forks that do not heed what is lost
_RUNS, _LONGEST, _MOST = 0.25, 12, 4  # share of proposals that set a run of visits to one action; else so many visits


@dataclass(frozen=True, slots=True)
class Ways:
    """How an agent works on one program.

    `forks` are played side by side; `tilt`: what the best play's own actions have over others in the prior, in logits.
    `searching`: the share of the budget for search and learning, the rest is for proposals, in `turns` turns.
    Of the proposals, a share `guided` heeds the policy and what is lost, and of the visits that they change in repeated
    layers, a share `macros` is changed in all repetitions. `hot` and `cold`: temperatures over what a visit saves
    on average.
    """

    forks: int = 32
    tilt: float = 4.0
    searching: float = 0.2
    turns: int = 2
    guided: float = 0.3
    macros: float = 0.2
    learns: bool = True
    updates: int = 8
    batch: int = 128
    rate: float = 1e-3
    hot: float = 0.12
    cold: float = 0.005


@dataclass(slots=True)
class Line:
    """A play that is being improved, and the seconds that it saves."""

    saved_s: float
    actions: Ints


@dataclass(slots=True)
class Solo:
    """An agent at work on one program. `best` keeps the best play, and the budget.

    The first turn improves the best play, the next ones those of `others`, all after them the best play again.
    """

    player: Player
    best: Best
    rng: np.random.Generator
    ways: Ways = field(default_factory=Ways)
    others: Sequence[Ints] = ()
    stopped: Callable[[], bool] = lambda: False
    replay: Replay = field(default_factory=lambda: Replay(8192))
    taught: Any = None

    @property
    def game(self) -> Game:
        """The game that judges whole plays."""
        return self.best.game

    def warm(self) -> None:
        """Compile what it needs."""
        actions = self.best.actions
        found = self._trace(actions)
        searched = self._search(found, np.zeros(self.ways.forks, dtype=np.int64), actions)
        self._remember(found, actions, searched)
        self._learn(keep=False)
        self.replay = Replay(self.replay.capacity)

    def run(self) -> None:
        """Work until the budget is spent."""
        turns = max(self.ways.turns, 1 + len(self.others))
        for turn in range(turns):
            begin, length = turn / turns, 1 / turns
            start = self.others[turn - 1] if 0 < turn <= len(self.others) else self.best.actions
            line = Line(-math.inf, start)
            for actions in (start, *tied(self.game.program, start)):
                self._try(line, actions)
            found = self._trace(line.actions)
            while self.best.done < begin + self.ways.searching * length and not self._over:
                found = self.round(found, line)
            self.propose(found, line, begin + self.ways.searching * length, begin + length)

    def _try(self, line: Line, actions: Ints) -> float:
        """Play; the line goes on with what was played if it saves more."""
        saved = self.best.play(actions)
        if saved > line.saved_s:
            line.saved_s, line.actions = saved, self.game.played()
        return saved

    @property
    def _over(self) -> bool:
        return self.best.is_over or self.stopped()

    def round(self, found: Trace, line: Line) -> Trace:
        """Search from forks of a play; keep what saves more together; learn. The trace of the play after it."""
        actions = line.actions
        at = self._forks(found, actions)
        searched = self._search(found, at, actions)
        self._splice(line, at, searched)
        if self.ways.learns:
            self._remember(found, actions, searched)
            self._learn()
        return self._trace(line.actions)

    def _trace(self, actions: Ints) -> Trace:
        with jax.enable_x64(True):
            player = self.player
            return trace(player.network, player.board, actions, player.how, player.program.rules)

    def _search(self, found: Trace, at: Ints, wish: Ints) -> Episodes:
        player, seed = self.player, int(self.rng.integers(2**31))
        with jax.enable_x64(True):
            return search_forks(
                player.network, player.board, found, at, wish, self.ways.tilt, seed, player.how, player.program.rules
            )

    def _lost(self, actions: Ints) -> Floats:
        """Shape [V]: seconds that visits of a play could still earn, seen one by one."""
        self.game.replay(actions)
        return np.where(self.game.memory.array("served") == 0, 0.0, earns(self.game.program))

    def _forks(self, found: Trace, actions: Ints) -> Ints:
        """Visits to fork at: more often where the visits that follow lose time."""
        lost = np.concatenate([[0.0], np.cumsum(self._lost(actions))])
        n = len(actions)
        ends = np.minimum(np.arange(n) + CHUNK, n)
        weight = lost[ends] - lost[:n]
        weight = np.where(found.live[:n], weight + _EVEN * weight.mean() + 1e-30, 0.0)
        return self.rng.choice(n, size=self.ways.forks, p=weight / weight.sum())

    def _splice(self, line: Line, at: Ints, searched: Episodes) -> None:
        """Try each fork alone, then the good ones one after another on top of each other."""
        gains: list[tuple[float, int]] = []
        actions, before = line.actions, line.saved_s
        for i, first in enumerate(at.tolist()):
            saved = self._try(line, spliced(actions, first, searched, i))
            if saved > before:
                gains.append((saved, i))
        for _, i in sorted(gains, reverse=True)[1:]:
            self._try(line, spliced(line.actions, int(at[i]), searched, i))

    def _remember(self, found: Trace, actions: Ints, searched: Episodes) -> None:
        """Positions of the best play, with its actions as policy, and positions of forks, with what search thought."""
        n = int(found.live.sum())
        own = np.zeros((n, 3), dtype=np.float32)
        own[np.arange(n), actions[:n]] = 1.0
        legal = found.legal[:n]
        policy = _SURE * own + (1 - _SURE) * legal / np.maximum(1, legal.sum(axis=1, keepdims=True))
        rows = (found.features[:n], legal, policy.astype(np.float32), found.values[:n], actions[:n].astype(np.int32))
        along = Episodes(
            *(row[:, None] for row in rows), found.rewards[:n, None], np.ones((n, 1), dtype=np.bool_), np.zeros(1)
        )
        self.replay.add(along, along.policy, self.player.how.discount)
        self.replay.add(searched, searched.policy, self.player.how.discount, tail=True)

    def _learn(self, *, keep: bool = True) -> None:
        network, ways = self.player.network, self.ways
        with jax.enable_x64(True):
            if self.taught is None:
                self.taught = optimiser(ways.rate).init(eqx.filter(network, eqx.is_array))
            rows = self.replay.draw(ways.updates, ways.batch, self.rng)
            network, taught, _ = learn(network, self.taught, rows, ways.rate)
        if keep:
            self.taught = taught
            self.player = Player(network, self.player.board, self.player.program, self.player.how)

    def propose(self, found: Trace, line: Line, begin: float, until: float) -> None:
        """Let the policy propose changes to a play, and keep them as annealing does, from one share of the budget to
        another."""
        ways, best = self.ways, self.best
        actions, saved = line.actions, line.saved_s
        mean = max(saved, self.game.slow_s * 1e-3) / len(actions)
        proposals = Proposals(self.game, found, ways, self.rng, self._lost(actions))
        while not self._over and best.done < until:
            share = max(0.0, min(1.0, (best.done - begin) / max(1e-9, until - begin)))
            heat = ways.hot * mean * (ways.cold / ways.hot) ** share
            after = best.play(proposals.draw(actions))
            if after >= saved or self.rng.random() < math.exp((after - saved) / heat):
                actions, saved = self.game.played(), after


def spliced(actions: Ints, first: int, searched: Episodes, i: int) -> Ints:
    """A play in which fork i of what was searched takes the place of the visits from `first` on."""
    live = searched.live[:, i]
    n = min(int(live.sum()), len(actions) - first)
    whole = actions.copy()
    whole[first : first + n] = searched.actions[:n, i]
    return whole


class Proposals:
    """Changes to a play: where the policy doubts it or time is lost, what the policy would rather play."""

    def __init__(self, game: Game, found: Trace, ways: Ways, rng: np.random.Generator, lost: Floats) -> None:
        self._rng, self._ways = rng, ways
        self._n_actions = game.program.n_actions
        first, self._period, times = period_of(game.program) if ways.macros else (0, 0, 0)
        self._first, self._stop = first, first + self._period * times
        n = game.program.n_visits
        logits = np.where(found.legal, found.logits, -30.0)[:n]
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        self._sums = np.cumsum(0.5 * chances + 0.5 / self._n_actions, axis=1)
        weight = 0.5 * lost / max(lost.mean(), 1e-30) + 1.0
        self._places = np.cumsum(weight / weight.sum())

    def _place(self, guided: bool) -> int:
        n = len(self._places)
        return min(int(np.searchsorted(self._places, self._rng.random())), n - 1) if guided else self._drawn(n)

    def _action(self, v: int, guided: bool) -> int:
        n = self._n_actions
        return min(int(np.searchsorted(self._sums[v], self._rng.random())), n - 1) if guided else self._drawn(n)

    def _drawn(self, below: int) -> int:
        return int(self._rng.integers(below))

    def draw(self, actions: Ints) -> Ints:
        """A changed copy."""
        tried, ways, guided = actions.copy(), self._ways, bool(self._rng.random() < self._ways.guided)
        if self._rng.random() < _RUNS:
            first = self._place(guided)
            tried[first : first + 2 + self._drawn(_LONGEST - 1)] = self._drawn(self._n_actions)
            return tried
        for _ in range(1 + self._drawn(_MOST)):
            v = self._place(guided)
            tried[v] = self._action(v, guided)
            if self._first <= v < self._stop and self._rng.random() < ways.macros:
                tried[self._first + (v - self._first) % self._period : self._stop : self._period] = tried[v]
        return tried
