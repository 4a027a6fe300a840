"""Make tight offset-allocation problems whose least height is known: a rectangle cut up without waste.

    python benchmarks/tight_instances.py --kind guillotine --n 1000 --seed 0 -o g1000.csv

A rectangle of steps by bytes is cut until it has n tiles; each tile is a buffer. At every step the load is the
height of the rectangle, so that the least height equals the load, and nothing may be wasted to reach it.
`guillotine` cuts tiles right through; `pinwheel` also cuts tiles into five around a middle, which no through cut makes.
"""

import argparse
import heapq
import random
from pathlib import Path

Tile = tuple[int, int, int, int]
"""First step, last step (exclusive), first byte, last byte (exclusive)."""


def cut_through(tile: Tile, rng: random.Random, grain: int) -> list[Tile]:
    """Two tiles, cut in time or in bytes; one where the tile is too small to cut."""
    start, stop, low, high = tile
    wide, tall = stop - start >= 2, high - low >= 2 * grain
    if wide and (not tall or rng.random() < 0.5):
        at = rng.randrange(start + 1, stop)
        return [(start, at, low, high), (at, stop, low, high)]
    if tall:
        at = low + grain * rng.randrange(1, (high - low) // grain)
        return [(start, stop, low, at), (start, stop, at, high)]
    return [tile]


def cut_around(tile: Tile, rng: random.Random, grain: int) -> list[Tile]:
    """Five tiles around a middle one; a through cut where the tile is too small."""
    start, stop, low, high = tile
    if stop - start < 3 or high - low < 3 * grain:
        return cut_through(tile, rng, grain)
    a, b = sorted(rng.sample(range(start + 1, stop), 2))
    c, d = (low + grain * k for k in sorted(rng.sample(range(1, (high - low) // grain), 2)))
    return [
        (start, b, low, c),
        (b, stop, low, d),
        (a, stop, d, high),
        (start, a, c, high),
        (a, b, c, d),
    ]


def tiles(kind: str, n: int, steps: int, height: int, grain: int, seed: int) -> list[Tile]:
    """Cut the rectangle, always one of the largest tiles, until there are at least n."""
    rng = random.Random(seed)
    cut = {"guillotine": cut_through, "pinwheel": cut_around}[kind]
    heap: list[tuple[float, Tile]] = [(0.0, (0, steps, 0, height))]
    done: list[Tile] = []
    while heap and len(heap) + len(done) < n:
        _, tile = heapq.heappop(heap)
        parts = cut(tile, rng, grain)
        if len(parts) == 1:
            done.append(tile)
            continue
        for part in parts:
            area = (part[1] - part[0]) * (part[3] - part[2])
            heapq.heappush(heap, (-area * rng.uniform(0.2, 1.0), part))
    found = done + [tile for _, tile in heap]
    rng.shuffle(found)
    return found


def table(found: list[Tile]) -> str:
    """The buffers as CSV, without the offsets that solve them."""
    rows = [f"{k},{start},{stop},{high - low}" for k, (start, stop, low, high) in enumerate(found)]
    return "\n".join(["id,lower,upper,size", *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("guillotine", "pinwheel"), default="guillotine")
    parser.add_argument("--n", type=int, default=1000, help="buffers")
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--height", type=int, default=1 << 20, help="bytes")
    parser.add_argument("--grain", type=int, default=1024, help="bytes; all sizes are multiples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.write_text(table(tiles(args.kind, args.n, args.steps, args.height, args.grain, args.seed)))


if __name__ == "__main__":
    main()
