"""Lower the placement suite for tpu-v4i and write rl/suite.npz, the real programs that come with the game.

    python benchmarks/mallocgame_programs.py        # needs JAX; a minute or two

What is kept of a program is numbers: seconds of compute per step, which step reads and writes how many bytes of which
tensor, sizes, homes. A program in which nothing is to be chosen is left out.
"""

from pathlib import Path

import numpy as np
from suite import problems

from tierplan.ir.errors import InvalidInputError
from tierplan.rl.program import program_of
from tierplan.rl.programs import DEFAULT_HARDWARE, pack

_FILE = Path(__file__).resolve().parent.parent / "rl" / "suite.npz"


def main() -> None:
    """Write the file."""
    found: dict[str, np.ndarray] = {}
    for entry in problems():
        name, machine = entry.name.split("@")
        if machine != DEFAULT_HARDWARE:
            continue
        problem = entry.lower()
        try:
            n_visits = program_of(problem).n_visits
        except InvalidInputError as error:
            print(f"{name:24} left out: {error}")
            continue
        print(f"{name:24} {problem.n_steps:5} steps {n_visits:5} visits", flush=True)
        for column, values in pack(problem).items():
            small = (
                values.astype(np.int32) if values.dtype == np.int64 and abs(values).max(initial=0) < 2**31 else values
            )
            found[f"{name}/{column}"] = small
    np.savez_compressed(_FILE, **found)
    print(f"{_FILE.name}: {_FILE.stat().st_size} B")


if __name__ == "__main__":
    main()
