"""A mixture of experts: a router, and feed-forward parts of which each token uses a few.

Assumes: the router spreads tokens evenly and independently. With T tokens, E experts and k per token, an expert gets
T k / E rows, and at least one row - so that its weights are read - with probability 1 - (1 - k / E)^T; over the
experts of a layer that is an expectation of E (1 - (1 - k / E)^T) experts read. Buffers hold the expected rows.
"""

from collections.abc import Callable
from fractions import Fraction
from math import ceil

from tierplan.frontend import operators
from tierplan.frontend.tape import Tape
from tierplan.frontend.weights import FeedForward, Layer


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


def mixture(tape: Tape, weights: Layer, x: str, function: str, *, per_token: int, layer: int) -> str:
    """Route, send each token to its experts, run these one after another, and add up what they return."""
    assert weights.router is not None
    prefix, n_experts = f"{weights.prefix}.block_sparse_moe", len(weights.experts)
    batch, tokens, width = tape.tensors[x].shape
    n_tokens = batch * tokens
    rows = Fraction(n_tokens * per_token, n_experts)
    share = chance_of_use(n_experts, per_token, n_tokens)

    logits = tape.tensor(f"{weights.router.name}.output", (batch, tokens, n_experts))
    operators.linear(tape, weights.router, x, [logits], n_tokens, layer=layer)
    routing, chosen = _top_k(tape, prefix, logits, per_token, layer)

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
    result = tape.tensor(f"{prefix}.output", (batch, tokens, width))
    tape.op(
        f"{prefix}.combine",
        "combine",
        [*(tape.part(part, rows * width) for part in outputs), routing, chosen],
        [result],
        vector_ops=2 * n_tokens * per_token * width,
        attributes={"layer": layer},
    )
    return result


def _top_k(tape: Tape, prefix: str, logits: str, per_token: int, layer: int) -> tuple[str, str]:
    """Softmax over the experts, the best few, and their weights scaled to sum to 1."""
    batch, tokens, n_experts = tape.tensors[logits].shape
    routing = tape.tensor(f"{prefix}.routing_weights", (batch, tokens, per_token))
    chosen = tape.tensor(f"{prefix}.chosen_experts", (batch, tokens, per_token), dtype="int32")
    vector_ops = batch * tokens * (5 * n_experts + per_token * n_experts + 2 * per_token)
    tape.op(
        f"{prefix}.top_k",
        "top_k",
        [logits],
        [routing, chosen],
        vector_ops=vector_ops,
        attributes={"experts": n_experts, "per_token": per_token, "layer": layer},
    )
    return routing, chosen
