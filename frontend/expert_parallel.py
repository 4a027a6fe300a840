"""A mixture of experts of which the device has some: tokens come to it, and what its experts return goes back.

Where all devices of a stage hold all tokens (one group), each runs its experts on those that chose them, and the
result, added up by the all-reduce of the block, is whole. Where groups have sequences of their own, tokens are sent
to the devices that have their experts, and results back. Devices of one group send a share of its tokens each.

| kind | reads | writes | attributes |
|---|---|---|---|
| all_to_all | tokens | tokens that chose experts of the device | bytes, devices, stride |
| grouped_matmul | rows, a stack of matrices | a row per token and expert of the device | experts, m, n, k, share |
| partial_sum | returned rows, routing weights | tokens | rows |
| sum_ranks | what other devices returned | tokens | rows |

Assumes: the router spreads tokens evenly and independently, as in `experts`; a token is sent once to each device that
has any of its experts, and what comes back is summed there first.
Source: Lepikhin et al., GShard, 2020, section 3.2; DeepSeek-AI, DeepEP, 2025 (one copy per rank).
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from tierplan.frontend import operators
from tierplan.frontend.collectives import all_gather, all_to_all
from tierplan.frontend.parallel import Shard, chance_of_rank
from tierplan.frontend.tape import Tape
from tierplan.frontend.weights import Mixture
from tierplan.ir.graph import Access


@dataclass(frozen=True, slots=True)
class Spread:
    """Expected rows: `own` tokens that the device sends, `arrive` that come to it, `pairs` of token and expert."""

    own: Fraction
    arrive: Fraction
    pairs: Fraction
    chance: float
    total: int


def spread(n_experts: int, per_token: int, n_tokens: int, shard: Shard) -> Spread:
    """How the tokens of all groups come to the experts of one device, when each group has `n_tokens`."""
    parallel = shard.parallel
    total = n_tokens * parallel.groups
    chance = chance_of_rank(n_experts, per_token, parallel.ep)
    return Spread(
        own=Fraction(n_tokens, parallel.tp),
        arrive=Fraction(chance * total),
        pairs=Fraction(total * per_token, parallel.ep),
        chance=chance,
        total=total,
    )


def dispatch(tape: Tape, prefix: str, x: str, found: Spread, shard: Shard, layer: int) -> str:
    """Bring the tokens to the device that chose its experts; x itself where it has them all."""
    if shard.parallel.groups == 1:
        return x
    width = tape.tensors[x].shape[-1]
    result = tape.tensor(f"{prefix}.dispatched", (1, ceil(found.arrive), width))
    _exchange(tape, f"{prefix}.dispatch", tape.part(x, found.own * width), result, found, shard, layer)
    return result


def grouped_experts(
    tape: Tape, weights: Mixture, prefix: str, x: str, function: str, found: Spread, *, share: float, layer: int
) -> str:
    """Run the stacked experts of the device on the rows that chose them; a row of the result is a token and expert."""
    *inner, down = weights.stack
    rows = found.pairs

    def multiply(index: int, y: str, reads: Access) -> str:
        return operators.grouped_matmul(tape, weights.stack[index], y, reads, rows, share=share, layer=layer)

    arrived = tape.part(x, found.arrive * tape.tensors[x].shape[-1])
    made = [multiply(index, x, arrived) for index in range(len(inner))]
    name = f"{prefix}.experts.activation"
    if len(made) == 1:
        hidden = operators.fused_gate(tape, name, function, made[0], rows=rows, layer=layer)
    else:
        hidden = operators.activation(tape, name, function, made, rows=rows, layer=layer)
    return multiply(len(inner), hidden, tape.part(hidden, rows * down.inputs))


def combine(
    tape: Tape, prefix: str, x: str, parts: list[Access], routing: str, found: Spread, shard: Shard, layer: int
) -> str:
    """Add up what the experts of the device returned; with several groups, send it back, and add up there."""
    shape, width = tape.tensors[x].shape, tape.tensors[x].shape[-1]
    parallel = shard.parallel
    local = parallel.groups == 1
    summed = tape.tensor(
        f"{prefix}.output" if local else f"{prefix}.summed", shape if local else _rows(found.arrive, width)
    )
    _sum(
        tape,
        f"{prefix}.combine",
        "partial_sum",
        [*parts, tape.whole(routing)],
        summed,
        2 * found.pairs,
        found.arrive,
        layer,
    )
    if local:
        return summed
    returned = found.own * Fraction(found.chance) * parallel.stage_devices
    back = tape.tensor(f"{prefix}.returned", _rows(returned, width))
    _exchange(tape, f"{prefix}.combine", tape.part(summed, found.arrive * width), back, found, shard, layer)
    alone = parallel.tp == 1
    own = tape.tensor(f"{prefix}.output" if alone else f"{prefix}.own", shape if alone else _rows(found.own, width))
    _sum(tape, f"{prefix}.sum_ranks", "sum_ranks", [tape.part(back, returned * width)], own, returned, found.own, layer)
    if alone:
        return own
    result = tape.tensor(f"{prefix}.output", shape)
    return all_gather(tape, f"{prefix}.combine", own, parallel.tp, result, layer=layer)


def _rows(rows: Fraction, width: int) -> tuple[int, int, int]:
    return (1, ceil(rows), width)


def _sum(
    tape: Tape, name: str, kind: str, reads: list[Access], result: str, adds: Fraction, rows: Fraction, layer: int
) -> None:
    width = tape.tensors[result].shape[-1]
    tape.op(
        name,
        kind,
        reads,
        [tape.part(result, rows * width)],
        vector_ops=round(adds * width),
        attributes={"rows": float(rows), "layer": layer},
    )


def _exchange(tape: Tape, about: str, x: Access, result: str, found: Spread, shard: Shard, layer: int) -> None:
    """All devices of the stage exchange tokens; each has one for every device, itself included, with that chance."""
    devices = shard.parallel.stage_devices
    row = tape.tensors[result].size_of(tape.tensors[result].shape[-1])
    n_bytes = float(found.own) * found.chance * devices * row
    all_to_all(tape, about, x, tape.whole(result), devices, n_bytes, layer=layer)
