"""Spoilt files of a format: each is read, or refused in one line, quickly and in bounded memory.

python tests/fuzz.py FORMAT [COUNT] [SEED] [FOLDER]

Prints how many were read and refused, and exits 1 if anything else came of one: its files are then kept in FOLDER (a
new one in the temporary folder if none is given), with the traceback beside them. The tests run a short one.
"""

import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fuzz_formats import FORMATS, Format

from tierplan.ir.errors import InvalidInputError

_LONGEST_LINE = 1000
_PATIENCE_S = 5.0
_MOST_MEMORY_MIB = 4096
_MOST_GROWTH_MIB = 400.0
_MOST_KEPT = 20


@dataclass
class Fates:
    """What became of the files: how many were read and refused, what went wrong with which, the slowest."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)
    slowest_s: float = 0.0


def fate(files: Format) -> str:
    """What becomes of the files in a folder: read, refused, or what went wrong."""
    try:
        files.read()
    except InvalidInputError as error:
        told = str(error)
        if not told.isprintable() or len(told) > _LONGEST_LINE:
            return f"an error that is not one short line: {told[:2000]!r}"
        return "refused"
    except Exception:
        return traceback.format_exc()
    return "read"


def fuzz(kind: str, n: int, seed: int, keep: Path | None = None) -> Fates:
    """Read so many mutants; those that go wrong are kept, each in a folder of its own."""
    fates = Fates()
    with tempfile.TemporaryDirectory() as folder:
        files = FORMATS[kind](Path(folder))
        for number in range(n):
            name = f"{kind}-{seed}-{number}"
            files.spoil(random.Random(name))
            began, held = time.process_time(), peak_mib()
            told = fate(files)
            seconds, growth = time.process_time() - began, peak_mib() - held
            fates.slowest_s = max(fates.slowest_s, seconds)
            if told in ("read", "refused") and (seconds > _PATIENCE_S or growth > _MOST_GROWTH_MIB):
                told = f"{told}, but after {seconds:.1f} s and {growth:.0f} MiB"
            if told not in ("read", "refused"):
                fates.wrong[name] = told
                if keep is not None and len(fates.wrong) <= _MOST_KEPT:
                    shutil.copytree(folder, keep / name)
                    (keep / name / "traceback.txt").write_text(told, encoding="utf-8")
                told = "wrong"
            fates.ends[told] += 1
    return fates


def peak_mib() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Fuzz as the command line says."""
    if not sys.argv[1:] or sys.argv[1] not in FORMATS:
        sys.exit(f"usage: python tests/fuzz.py {{{','.join(FORMATS)}}} [COUNT] [SEED] [FOLDER]")
    kind, *rest = sys.argv[1:]
    n, seed = int(rest[0]) if rest else 10_000, int(rest[1]) if len(rest) > 1 else 0
    keep = Path(rest[2] if len(rest) > 2 else tempfile.mkdtemp(prefix="fuzz-"))
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY_MIB << 20, _MOST_MEMORY_MIB << 20))
    began = time.process_time()
    fates = fuzz(kind, n, seed, keep)
    ends, seconds, peak = dict(fates.ends), time.process_time() - began, peak_mib()
    print(f"{kind}, seed {seed}: {ends}, slowest {fates.slowest_s:.2f} s, {seconds:.0f} CPU s, peak {peak:.0f} MiB")
    for name, told in fates.wrong.items():
        print(f"{keep / name}: {told.strip().splitlines()[-1]}")
    sys.exit(1 if fates.wrong else 0)


if __name__ == "__main__":
    main()
