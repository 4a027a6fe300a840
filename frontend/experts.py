"""A mixture of experts: a router, and feed-forward parts of which each token uses a few.

Assumes: the router spreads tokens evenly and independently. With T tokens, E experts and k per token, an expert gets
T k / E rows, and at least one row - so that its weights are read - with probability 1 - (1 - k / E)^T; over the
experts of a layer that is an expectation of E (1 - (1 - k / E)^T) experts read. Buffers hold the expected rows.
"""

from collections.abc import Callable
from fractions import Fraction
from math import ceil

from tierplan.frontend import expert_parallel, operators
from tierplan.frontend.collectives import all_reduce
from tierplan.frontend.parallel import ALONE, Shard
from tierplan.frontend.parts import FeedForward, Vector
from tierplan.frontend.tape import Tape
from tierplan.frontend.weights import Mixture
from tierplan.ir.graph import Access


def chance_of_use(n_experts: int, per_token: int, n_tokens: int) -> float:
    """Probability that at least one of `n_tokens` tokens uses a given expert.

    >>> chance_of_use(8, 2, 1), chance_of_use(8, 2, 2)
    (0.25, 0.4375)
    """
    return 1.0 - (1.0 - per_token / n_experts) ** n_tokens


def feed_forward(
    tape: Tape,
    weights: FeedForward,
    x: str,
    function: str,
    *,
    name: str,
    rows: int | Fraction,
    shape: Callable[[int], tuple[int, ...]],
    layer: int,
    share: float = 1.0,
) -> str:
    """The feed-forward part on `rows` rows of x; `shape` tells the shape of a result by its width."""
    inner: list[str] = []
    for linear in (weights.gate, weights.up):
        if linear is not None:
            inner.append(tape.tensor(f"{linear.name}.output", shape(linear.outputs)))
            operators.linear(tape, linear, x, inner[-1:], rows, share=share, layer=layer)
    hidden = operators.activation(tape, f"{name}.activation", function, inner, rows=rows, layer=layer)
    result = tape.tensor(f"{weights.down.name}.output", shape(weights.down.outputs))
    operators.linear(tape, weights.down, hidden, [result], rows, share=share, layer=layer)
    return result


def mixture(
    tape: Tape,
    weights: Mixture,
    prefix: str,
    x: str,
    function: str,
    *,
    per_token: int,
    layer: int,
    shard: Shard = ALONE,
) -> str:
    """Route each token to its experts, and add up what they return, and what the shared expert does.

    Of several devices, the result of one is a part of a sum, unless groups of them have sequences of their own.
    """
    n_experts = weights.router.outputs
    batch, tokens, width = tape.tensors[x].shape
    n_tokens = batch * tokens
    share = chance_of_use(n_experts, per_token, n_tokens)
    logits = tape.tensor(f"{weights.router.name}.output", (batch, tokens, n_experts))
    operators.linear(tape, weights.router, x, [logits], n_tokens, layer=layer)
    routing, chosen = _top_k(tape, prefix, logits, weights.correction, per_token, layer)
    if shard.parallel.ep > 1 or shard.parallel.groups > 1:
        routed = _spread(tape, weights, prefix, x, (routing, chosen), function, per_token, layer, shard)
        return _with_shared(tape, weights, prefix, x, routed, function, layer, shard)
    if weights.stack:
        returned = _stacked(tape, weights, prefix, x, chosen, function, per_token=per_token, share=share, layer=layer)
        parts, kind = [tape.whole(returned)], "weighted_sum"
        reads = [*parts, routing]
    else:
        rows = Fraction(n_tokens * per_token, n_experts)
        parts = _one_by_one(tape, weights, prefix, x, chosen, function, rows=rows, share=share, layer=layer)
        reads, kind = [*parts, routing, chosen], "combine"
    result = tape.tensor(f"{prefix}.output", (batch, tokens, width))
    vector_ops = 2 * n_tokens * per_token * width
    tape.op(f"{prefix}.combine", kind, reads, [result], vector_ops=vector_ops, attributes={"layer": layer})
    return _with_shared(tape, weights, prefix, x, result, function, layer, shard)


def _spread(
    tape: Tape,
    weights: Mixture,
    prefix: str,
    x: str,
    routed: tuple[str, str],
    function: str,
    per_token: int,
    layer: int,
    shard: Shard,
) -> str:
    """Run the experts of this device alone, on the tokens of all devices that chose them."""
    (routing, chosen), n_experts = routed, weights.router.outputs
    batch, tokens, width = tape.tensors[x].shape
    found = expert_parallel.spread(n_experts, per_token, batch * tokens, shard)
    share = chance_of_use(n_experts, per_token, found.total)
    arrived = expert_parallel.dispatch(tape, prefix, x, found, shard, layer)
    if weights.stack:
        returned = expert_parallel.grouped_experts(
            tape, weights, prefix, arrived, function, found, share=share, layer=layer
        )
        parts = [tape.part(returned, found.pairs * width)]
    else:
        rows = Fraction(found.total * per_token, n_experts)
        parts = _one_by_one(tape, weights, prefix, arrived, chosen, function, rows=rows, share=share, layer=layer)
    return expert_parallel.combine(tape, prefix, x, parts, routing, found, shard, layer)


def _one_by_one(
    tape: Tape,
    weights: Mixture,
    prefix: str,
    x: str,
    chosen: str,
    function: str,
    *,
    rows: Fraction,
    share: float,
    layer: int,
) -> list[Access]:
    """Send each token to the buffers of its experts, and run these one after another."""
    width = tape.tensors[x].shape[-1]
    n_experts = len(weights.experts)
    inputs = [tape.tensor(f"{prefix}.dispatch.{e}", (ceil(rows), width)) for e in range(n_experts)]
    sent = [tape.part(part, rows * width) for part in inputs]
    tape.op(f"{prefix}.dispatch", "dispatch", [x, chosen], sent, attributes={"layer": layer})
    outputs = [
        feed_forward(
            tape,
            expert,
            part,
            function,
            name=f"{prefix}.experts.{e}",
            rows=rows,
            shape=lambda extent: (ceil(rows), extent),
            layer=layer,
            share=share,
        )
        for e, (expert, part) in enumerate(zip(weights.experts, inputs, strict=True))
    ]
    return [tape.part(part, rows * width) for part in outputs]


def _stacked(
    tape: Tape,
    weights: Mixture,
    prefix: str,
    x: str,
    chosen: str,
    function: str,
    *,
    per_token: int,
    share: float,
    layer: int,
) -> str:
    """Run the experts of all tokens at once, out of stacked matrices; a row of each result is a token and expert."""
    *inner, down = weights.stack
    made = [operators.expert_matmul(tape, stack, x, chosen, per_token, share=share, layer=layer) for stack in inner]
    if len(made) == 1:
        hidden = operators.fused_gate(tape, f"{prefix}.experts.activation", function, made[0], layer=layer)
    else:
        hidden = operators.activation(tape, f"{prefix}.experts.activation", function, made, layer=layer)
    return operators.expert_matmul(tape, down, hidden, chosen, per_token, share=share, layer=layer)


def _with_shared(
    tape: Tape, weights: Mixture, prefix: str, x: str, routed: str, function: str, layer: int, shard: Shard
) -> str:
    """Add what the shared expert returns, if there is one, scaled by its gate where it has one."""
    if weights.shared is None:
        return routed
    batch, tokens, _ = tape.tensors[x].shape
    rows = batch * tokens
    shared = feed_forward(
        tape,
        weights.shared,
        x,
        function,
        name=f"{prefix}.shared",
        rows=rows,
        shape=lambda extent: (batch, tokens, extent),
        layer=layer,
    )
    if shard.parallel.groups > 1:
        shared = all_reduce(tape, f"{prefix}.shared", shared, shard.parallel.tp, layer=layer)
    if weights.shared_gate is not None:
        gate = tape.tensor(f"{weights.shared_gate.name}.output", (batch, tokens, 1))
        operators.linear(tape, weights.shared_gate, x, [gate], rows, layer=layer)
        shared = operators.scaled_by(tape, f"{prefix}.shared.scale", shared, gate, layer=layer)
    return operators.add(tape, f"{prefix}.shared.add", [routed, shared], layer=layer)


def _top_k(
    tape: Tape, prefix: str, logits: str, correction: Vector | None, per_token: int, layer: int
) -> tuple[str, str]:
    """Softmax over the experts, the best few, and their weights scaled to sum to 1.

    Assumes: a sigmoid in place of the softmax, and a choice by groups, cost as much. A correction is one more operation
        per expert.
    """
    batch, tokens, n_experts = tape.tensors[logits].shape
    routing = tape.tensor(f"{prefix}.routing_weights", (batch, tokens, per_token))
    chosen = tape.tensor(f"{prefix}.chosen_experts", (batch, tokens, per_token), dtype="int32")
    per_row = 5 * n_experts + per_token * n_experts + 2 * per_token + (n_experts if correction else 0)
    tape.op(
        f"{prefix}.top_k",
        "top_k",
        [logits, correction.name] if correction else [logits],
        [routing, chosen],
        vector_ops=batch * tokens * per_row,
        attributes={"experts": n_experts, "per_token": per_token, "layer": layer},
    )
    return routing, chosen
