"""Mutated HLO files: every one is read, or refused in one line; none takes long.

python benchmarks/hlo_fuzz.py [count] [seed]

Bytes are flipped, cut, doubled, and words exchanged between places of real modules. What is read is also made into a
graph, and its lifespans found. Anything but `InvalidInputError` is printed with its file.
"""

import random
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from hlo_samples import SAMPLES

from tierplan.frontend.hlo_graph import graph_of_hlo
from tierplan.frontend.hlo_lifespans import slots_of
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.hlo_values import values_of
from tierplan.ir.errors import InvalidInputError

_WORDS = re.compile(r"[\w.\-]+|[\[\]{}(),=%]")


def mutated(text: str, draw: random.Random) -> str:
    """The text with one to four mutations."""
    for _ in range(draw.randint(1, 4)):
        if not text:
            return text
        place, kind = draw.randrange(len(text)), draw.randrange(7)
        if kind == 0:
            text = text[:place]
        elif kind == 1:
            text = text[:place] + chr(draw.choice([0, 10, 34, 37, 40, 41, 44, 91, 93, 123, 125, 955])) + text[place:]
        elif kind == 2:
            text = text[:place] + text[place + draw.randint(1, 40) :]
        elif kind == 3:
            stop = min(len(text), place + draw.randint(1, 200))
            text = text[:stop] + text[place:stop] + text[stop:]
        elif kind == 4:
            words = list(_WORDS.finditer(text))
            if len(words) > 1:
                one, other = draw.sample(words, 2)
                text = text[: one.start()] + other.group() + text[one.end() :]
        elif kind == 5:
            number = draw.choice(["0", "-1", str(2**31), str(2**63), "9" * 400, "9" * 5000, "1e9", "nan"])
            found = list(re.finditer(r"\d+", text))
            if found:
                hit = draw.choice(found)
                text = text[: hit.start()] + number + text[hit.end() :]
        else:
            lines = text.splitlines(keepends=True)
            i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
            lines[i], lines[j] = lines[j], lines[i]
            text = "".join(lines)
    return text


def fate(text: str) -> str:
    """What becomes of a file: read, refused, or the traceback of what went wrong."""
    try:
        graph_of_hlo(text, "fuzzed")
        module = read_hlo(text, "fuzzed")
        if module.scheduled:
            slots_of(values_of(module))
    except InvalidInputError as error:
        return "refused" if "\n" not in str(error) else f"two lines: {error}"
    except Exception:
        return traceback.format_exc()
    return "read"


def main() -> None:
    """Fuzz; exits 1 if anything went wrong."""
    count, seed = (int(sys.argv[1]) if len(sys.argv) > 1 else 10_000), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    draw = random.Random(seed)
    fates: Counter[str] = Counter()
    slowest = 0.0
    began = time.perf_counter()
    for number in range(count):
        text = mutated(draw.choice(SAMPLES), draw)
        start = time.perf_counter()
        told = fate(text)
        slowest = max(slowest, time.perf_counter() - start)
        if told not in ("read", "refused"):
            if fates["wrong"] < 5:
                print(f"file {number} of seed {seed}:\n{told}\n{text[:1000]}")
            told = "wrong"
        fates[told] += 1
    print(f"{count} files of seed {seed}: {dict(fates)}, slowest {slowest:.3f} s, {time.perf_counter() - began:.0f} s")
    sys.exit(1 if fates["wrong"] else 0)


if __name__ == "__main__":
    main()
