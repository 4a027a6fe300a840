"""Decisions per second of mallocGame beside other environments, on one core, in one run; as CSV.

    taskset -c 0 python benchmarks/mallocgame_env.py
    taskset -c 0 python benchmarks/mallocgame_env.py --programs suite://train/lstm-16x48 --seconds 2

Rates are per second of processor time, the best of several rounds, so that other work on the machine matters little.
Jumanji's BinPack and Pgx's 2048 are measured where they are installed; their compilation is not counted. JAX is held to
one thread, as the others are.
"""

import argparse
import csv
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator

import gymnasium
import numpy as np

import tierplan.rl.env
from tierplan.rl.game import Game
from tierplan.rl.program import program_of
from tierplan.rl.programs import read_program

_ROUNDS = 5
_MANY = 64
Row = tuple[str, str, float]


def rate(work: Callable[[], int], seconds: float) -> float:
    """Decisions per second of processor time; `work` returns how many decisions it made."""
    work()
    best = 0.0
    for _ in range(_ROUNDS):
        began, made = time.process_time(), 0
        while time.process_time() - began < seconds / _ROUNDS:
            made += work()
        best = max(best, made / (time.process_time() - began))
    return best


def gym_steps(env: gymnasium.Env, n: int = 2000) -> Callable[[], int]:
    """Steps with actions drawn before; a legal one where there is a mask."""
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, int(env.action_space.n), n).tolist()

    def work() -> int:
        for action in actions:
            _, _, over, cut, _ = env.step(action)
            if over or cut:
                env.reset()
        return n

    return work


def vector_steps(env: gymnasium.vector.VectorEnv, n: int = 200) -> Callable[[], int]:
    """Steps of all environments."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.integers(0, int(env.single_action_space.n), (n, env.num_envs))

    def work() -> int:
        for row in actions:
            env.step(row)
        return n * env.num_envs

    return work


def replays(game: Game) -> Callable[[], int]:
    """Whole plays of strings of actions that were drawn before."""
    rng = np.random.default_rng(0)
    strings = rng.integers(0, game.program.n_actions, (8, game.program.n_visits))

    def work() -> int:
        for actions in strings:
            game.replay(actions)
        return strings.size

    return work


def ours(name: str, seconds: float) -> Iterator[Row]:
    """One program: replay, Gymnasium's step, many at once, and what a reset and a fork take."""
    program = program_of(read_program(name))
    title = f"{name} ({program.n_visits} decisions)"
    game = Game(program)
    yield "mallocGame", f"{title}: replay", rate(replays(game), seconds)
    env = gymnasium.make(tierplan.rl.env.ENVIRONMENT, program=program)
    yield "mallocGame", f"{title}: step", rate(gym_steps(env.unwrapped), seconds)
    yield "mallocGame", f"{title}: make().step", rate(gym_steps(env), seconds)
    many = gymnasium.make_vec(tierplan.rl.env.ENVIRONMENT, num_envs=_MANY, program=program)
    yield "mallocGame", f"{title}: make_vec {_MANY}", rate(vector_steps(many), seconds)
    yield "mallocGame", f"{title}: resets", rate(lambda: (game.reset(), 1)[1], seconds)
    game.replay(np.zeros(program.n_visits, dtype=np.int64))
    yield "mallocGame", f"{title}: forks", rate(lambda: (game.fork(), 1)[1], seconds)


def twin_of(name: str, seconds: float) -> Iterator[Row]:
    """The JAX twin of one program, where it knows it: random legal steps of 64 plays in one compiled scan."""
    import jax

    from tierplan.rl.agent import twin
    from tierplan.rl.agent.twin_tables import board_of

    with jax.enable_x64(True):
        program = program_of(read_program(name))
        board = jax.tree.map(jax.numpy.asarray, board_of(program))
        play = jax.jit(twin.begin, static_argnums=(1, 2, 3))(board, 64, 64, 8)
        plays = jax.tree.map(lambda x: jax.numpy.broadcast_to(x, (_MANY, *x.shape)), play)

        def one(plays, key):
            drawn = jax.random.uniform(key, plays.legal.shape, jax.numpy.float32)
            action = jax.numpy.argmax(jax.numpy.where(plays.legal, drawn, -1.0), axis=1)
            return jax.vmap(twin.act, in_axes=(None, 0, 0))(board, plays, action)

        keys = jax.random.split(jax.random.key(1), 100)
        began = time.process_time()
        run = jax.jit(lambda plays, keys: jax.lax.scan(one, plays, keys)[0]).lower(plays, keys).compile()
        compile_s = time.process_time() - began

        def work() -> int:
            jax.block_until_ready(run(plays, keys))
            return _MANY * len(keys)

        yield "mallocGame in JAX", f"{name}: scan {_MANY}", rate(work, seconds)
        yield "mallocGame in JAX", f"{name}: compilations", 1.0 / compile_s


def cart_pole(seconds: float) -> Iterator[Row]:
    """Gymnasium's own environment, as a measure."""
    env = gymnasium.make("CartPole-v1")
    yield "CartPole-v1", "step", rate(gym_steps(env.unwrapped), seconds)
    yield "CartPole-v1", "make().step", rate(gym_steps(env), seconds)
    many = gymnasium.make_vec("CartPole-v1", num_envs=_MANY, vectorization_mode="vector_entry_point")
    yield "CartPole-v1", f"make_vec {_MANY}", rate(vector_steps(many), seconds)


def in_jax(programs: list[str], seconds: float) -> Iterator[Row]:
    """Our twin, Jumanji and Pgx, where they are installed: random legal steps of 64 environments in a compiled scan."""
    if importlib.util.find_spec("jax") is None:
        print("jax is not installed: left out, and all that needs it", file=sys.stderr)
        return
    for name in programs:
        yield from twin_of(name, seconds)
    for package, measure in (("jumanji", _jumanji), ("pgx", _pgx)):
        try:
            importlib.import_module(package)
        except ImportError:
            print(f"{package} is not installed: left out", file=sys.stderr)
            continue
        yield measure(seconds)


def _jumanji(seconds: float) -> Row:
    import jax
    import jumanji

    env = jumanji.make("BinPack-v2")
    state, _ = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), _MANY))

    def one(carry, key):
        state, mask = carry
        flat = mask.reshape(_MANY, -1)
        chosen = jax.random.categorical(key, jax.numpy.where(flat, 0.0, -1e9))
        action = jax.numpy.stack(jax.numpy.unravel_index(chosen, mask.shape[1:]), axis=-1)
        state, step = jax.vmap(env.step)(state, action)
        return (state, step.observation.action_mask), step.reward

    run = jax.jit(lambda carry, keys: jax.lax.scan(one, carry, keys)[0])
    carry = (state, state.action_mask)
    keys = jax.random.split(jax.random.PRNGKey(1), 50)

    def work() -> int:
        jax.block_until_ready(run(carry, keys))
        return _MANY * len(keys)

    return "Jumanji BinPack-v2", f"scan {_MANY}", rate(work, seconds)


def _pgx(seconds: float) -> Row:
    import jax
    import pgx

    env = pgx.make("2048")
    state = jax.jit(jax.vmap(env.init))(jax.random.split(jax.random.PRNGKey(0), _MANY))

    def one(state, key):
        act, go = jax.random.split(key)
        action = jax.random.categorical(act, jax.numpy.where(state.legal_action_mask, 0.0, -1e9))
        return jax.vmap(env.step)(state, action, jax.random.split(go, _MANY)), None

    run = jax.jit(lambda state, keys: jax.lax.scan(one, state, keys)[0])
    keys = jax.random.split(jax.random.PRNGKey(1), 200)

    def work() -> int:
        jax.block_until_ready(run(state, keys))
        return _MANY * len(keys)

    return "Pgx 2048", f"scan {_MANY}", rate(work, seconds)


def main() -> None:
    """Measure and print."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", default="suite://train/bert-8x512,suite://train/vit-16")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    arguments = parser.parse_args()
    writer = csv.writer(sys.stdout)
    writer.writerow(("environment", "what", "per_s"))

    def rows() -> Iterator[Row]:
        programs = arguments.programs.split(",")
        for name in programs:
            yield from ours(name, arguments.seconds)
        yield from cart_pole(arguments.seconds)
        yield from in_jax(programs, arguments.seconds)

    for environment, what, per_s in rows():
        writer.writerow((environment, what, f"{per_s:.3g}" if per_s < 10 else f"{per_s:.0f}"))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
