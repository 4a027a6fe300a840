"""The operators of a transformer, as operations on a tape.

Operands stand in a fixed order, and each kind has fixed attributes; the backward pass and later stages rely on both.

| kind | reads | writes | attributes |
|---|---|---|---|
| embedding | ids, table | rows | rows, width |
| add_positions | x, position table, token type table | sum | rows, width |
| matmul | x, matrix, bias | one or more results, side by side | batch, m, n, k, share |
| rms_norm, layer_norm | x, scale, shift | result | rows, width |
| rotary | q, k | q, k | heads, kv_heads, dims |
| attention | q, k, v | result, log-sum-exp (training only) | the fields of AttentionShape |
| biased_attention | q, k, v, relative positions | the same | the same |
| cache_append | k, v | k cache, v cache | rows |
| expert_matmul | x, chosen experts, stacked matrices | one row for each token and expert | experts, n, k, share |
| silu, gelu, relu, ... | x | result | function, gated |
| silu_mul, gelu_mul, ... | gate, x | result | function, gated |
| gated_halves | x, of twice the width | result | function, gated |
| gate_rows | x, one number per row | result | |
| add | terms | sum | |

Assumes: an operation streams each operand once; where it gathers rows of a table, those rows alone.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

from tierplan.frontend.architecture import VECTOR_OPS
from tierplan.frontend.parts import Linear, Norm, Stack, Table
from tierplan.frontend.tape import Tape
from tierplan.ir.graph import Access, Attribute

_NORM_OPS = {"rms_norm": 4, "layer_norm": 7}
_SCORE_OPS = 5
_CAP_OPS = 3
_ROTARY_OPS = 3


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """The extents of an attention; `scores` counts the query-key pairs of one head of one sequence."""

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    scores: int
    causal: bool
    window: int | None
    alibi: bool
    chunked: bool = False
    cap: float | None = None


def chunked_scores(context: int, chunk: int | None) -> int:
    """Query-key pairs when each of `context` tokens sees itself and those before it in its own chunk.

    >>> chunked_scores(5, 2), chunked_scores(5, None)
    (7, 15)
    """
    whole, rest = (0, context) if chunk is None else divmod(context, chunk)
    return whole * causal_scores(chunk or 0, None) + causal_scores(rest, None)


def causal_scores(context: int, window: int | None) -> int:
    """Query-key pairs when each of `context` tokens sees itself and those before it, `window` at most.

    >>> causal_scores(4, None), causal_scores(4, 2)
    (10, 7)
    """
    reach = context if window is None else min(context, window)
    return reach * (reach + 1) // 2 + (context - reach) * reach


def embedding(
    tape: Tape, table: Table, ids: str, rows: int | Fraction, shape: tuple[int, ...], *, name: str = "embed_tokens"
) -> str:
    """Gather one row of the table per token; only these rows are read."""
    result = tape.tensor(f"{name}.output", shape)
    reads = [tape.whole(ids), tape.part(table.name, rows * table.width)]
    tape.op(name, "embedding", reads, [result], attributes={"rows": _number(rows), "width": table.width})
    return result


def add_positions(tape: Tape, x: str, tables: Sequence[tuple[Table, int]], *, name: str = "embed_positions") -> str:
    """Add rows of position and token type tables; of each, so many rows are read.

    Assumes: all sequences stand at the same positions, so that a row is read once for the whole batch.
    """
    tensor = tape.tensors[x]
    result = tape.tensor(f"{name}.output", tensor.shape)
    reads = [tape.whole(x), *(tape.part(table.name, rows * table.width) for table, rows in tables)]
    width = tensor.shape[-1]
    tape.op(
        name,
        "add_positions",
        reads,
        [result],
        vector_ops=len(tables) * tensor.n_elements,
        attributes={"rows": tensor.n_elements // width, "width": width},
    )
    return result


def linear(
    tape: Tape,
    weights: Linear,
    x: str,
    results: Sequence[str],
    rows: int | Fraction,
    *,
    share: float = 1.0,
    layer: int | None = None,
) -> None:
    """Multiply `rows` rows of x by a matrix, add the bias, and leave the result in one or more tensors.

    `share` is the expected share of runs that need the matrix at all (an expert); its bytes count so often.
    """
    reads = [tape.part(x, rows * weights.inputs), tape.share(weights.weight, share)]
    if weights.bias_name is not None:
        reads.append(tape.share(weights.bias_name, share))
    attributes: dict[str, Attribute] = {
        "batch": 1,
        "m": _number(rows),
        "n": weights.outputs,
        "k": weights.inputs,
        "share": share,
        "layer": layer,
    }
    tape.op(
        weights.name,
        "matmul",
        reads,
        [tape.part(result, rows * tape.tensors[result].shape[-1]) for result in results],
        matrix_ops=round(2 * rows * weights.inputs * weights.outputs),
        vector_ops=round(rows * weights.outputs) if weights.bias else 0,
        attributes=attributes,
    )


def _number(rows: int | Fraction) -> int | float:
    return rows if isinstance(rows, int) else float(rows)


def expert_matmul(
    tape: Tape, weights: Stack, x: str, chosen: str, per_token: int, *, share: float, layer: int | None = None
) -> str:
    """Multiply each token by the matrices of its experts, out of a stack of them; x has a row per token, or per pair.

    `share` is the expected share of the stack that is needed at all.
    """
    batch, tokens = tape.tensors[x].shape[:2]
    result = tape.tensor(f"{weights.name}.output", (batch, tokens, per_token, weights.outputs))
    rows = batch * tokens * per_token
    attributes: dict[str, Attribute] = {
        "experts": weights.n, "m": rows, "n": weights.outputs, "k": weights.inputs, "share": share, "layer": layer,
    }  # fmt: skip
    tape.op(
        weights.name,
        "expert_matmul",
        [x, chosen, tape.share(weights.name, share)],
        [result],
        matrix_ops=2 * rows * weights.inputs * weights.outputs,
        attributes=attributes,
    )
    return result


def grouped_matmul(
    tape: Tape, weights: Stack, x: str, reads: Access, rows: Fraction, *, share: float, layer: int | None = None
) -> str:
    """Multiply `rows` expected rows, grouped by expert, by the matrices of these experts; it reads so much of x.

    `share` is the expected share of the stack that is needed at all.
    """
    result = tape.tensor(f"{weights.name}.output", (1, math.ceil(rows), weights.outputs), dtype=tape.tensors[x].dtype)
    attributes: dict[str, Attribute] = {
        "experts": weights.n, "m": float(rows), "n": weights.outputs, "k": weights.inputs, "share": share,
        "layer": layer,
    }  # fmt: skip
    tape.op(
        weights.name,
        "grouped_matmul",
        [reads, tape.share(weights.name, share)],
        [tape.part(result, rows * weights.outputs)],
        matrix_ops=round(2 * rows * weights.inputs * weights.outputs),
        attributes=attributes,
    )
    return result


def norm(tape: Tape, weights: Norm, x: str, *, layer: int | None = None) -> str:
    """Normalise each row.

    Assumes: 4 vector operations per element for an RMS norm (square, sum, scale by the root, scale by the weight),
        7 for a layer norm (mean, subtract, square, sum, scale by the root, scale, shift).
    """
    tensor = tape.tensors[x]
    kind = "rms_norm" if weights.rms else "layer_norm"
    result = tape.tensor(f"{weights.name}.output", tensor.shape)
    tape.op(
        weights.name,
        kind,
        [x, *weights.parameters],
        [result],
        vector_ops=_NORM_OPS[kind] * tensor.n_elements,
        attributes={"rows": tensor.n_elements // weights.width, "width": weights.width, "layer": layer},
    )
    return result


def rotary(
    tape: Tape, prefix: str, q: str, k: str, *, heads: tuple[int, int], dims: int, layer: int
) -> tuple[str, str]:
    """Rotate `dims` dimensions of each query and key head by its position.

    Assumes: the sines and cosines are computed or lie near compute; 3 vector operations per rotated element.
    Source: Su et al., RoFormer, 2021, equation 34.
    """
    rotated = tuple(tape.tensor(f"{prefix}.rotary.{name}", tape.tensors[x].shape) for name, x in (("q", q), ("k", k)))
    tokens = tape.tensors[q].shape[0] * tape.tensors[q].shape[1]
    tape.op(
        f"{prefix}.rotary",
        "rotary",
        [q, k],
        rotated,
        vector_ops=_ROTARY_OPS * tokens * sum(heads) * dims,
        attributes={"heads": heads[0], "kv_heads": heads[1], "dims": dims, "layer": layer},
    )
    return rotated[0], rotated[1]


def attention(
    tape: Tape, prefix: str, q: str, k: str, v: str, shape: AttentionShape, *, keep: bool, layer: int, bias: str = ""
) -> str:
    """Attend: softmax(q k / sqrt d) v, fused; `keep` also writes the log-sum-exp that a backward pass reads.

    `bias` names a table of relative positions, of which each score gets one entry.

    Assumes: one fused kernel that never writes the scores, skips masked ones, and reads q, k and v once (heads that
        share keys and values share their reads); 5 vector operations per score (scale, running maximum, subtract,
        exponential, sum), one more where ALiBi or a table adds a bias, 3 more where a cap bounds it (divide, tanh,
        multiply), and one per element of the result for the division.
    Source: Dao et al., FlashAttention, 2022, algorithm 1; Dao, FlashAttention-2, 2023, section 3.1.
    """
    result = tape.tensor(f"{prefix}.attention.output", tape.tensors[q].shape)
    writes = [result]
    if keep:
        extents = (shape.batch, shape.heads, shape.queries)
        writes.append(tape.tensor(f"{prefix}.attention.log_sum_exp", extents, dtype="float32"))
    n_heads = shape.batch * shape.heads
    per_score = _SCORE_OPS + (1 if shape.alibi or bias else 0) + (_CAP_OPS if shape.cap else 0)
    tape.op(
        f"{prefix}.attention",
        "biased_attention" if bias else "attention",
        [q, k, v, bias] if bias else [q, k, v],
        writes,
        matrix_ops=4 * n_heads * shape.scores * shape.head_dim,
        vector_ops=n_heads * (per_score * shape.scores + shape.queries * shape.head_dim),
        attributes={**asdict(shape), "layer": layer},
    )
    return result


def cache_append(tape: Tape, prefix: str, k: str, v: str, caches: tuple[str, str], rows: int, *, layer: int) -> None:
    """Write the keys and values of `rows` tokens into the caches; no other byte of these is touched."""
    width = tape.tensors[k].shape[-1]
    reads: list[Access] = [tape.part(x, rows * width) for x in (k, v)]
    writes = [tape.part(cache, rows * width) for cache in caches]
    tape.op(f"{prefix}.cache_append", "cache_append", reads, writes, attributes={"rows": rows, "layer": layer})


def activation(
    tape: Tape,
    name: str,
    function: str,
    inputs: Sequence[str],
    *,
    rows: int | Fraction | None = None,
    layer: int | None = None,
) -> str:
    """Apply an activation function, to one tensor or, gated, to the first and multiply by the second."""
    tensor = tape.tensors[inputs[0]]
    n_elements = tensor.n_elements if rows is None else rows * tensor.shape[-1]
    result = tape.tensor(f"{name}.output", tensor.shape)
    gated = len(inputs) == 2
    tape.op(
        name,
        f"{_kind(function)}_mul" if gated else _kind(function),
        [tape.part(x, n_elements) for x in inputs],
        [tape.part(result, n_elements)],
        vector_ops=round(n_elements * (VECTOR_OPS[function] + gated)),
        attributes={"function": function, "gated": gated, "layer": layer},
    )
    return result


def fused_gate(
    tape: Tape, name: str, function: str, x: str, *, rows: Fraction | None = None, layer: int | None = None
) -> str:
    """Apply an activation function to the first half of each row, and multiply by the second."""
    tensor = tape.tensors[x]
    width = tensor.shape[-1] // 2
    n_elements = tensor.n_elements if rows is None else rows * tensor.shape[-1]
    result = tape.tensor(f"{name}.output", (*tensor.shape[:-1], width))
    tape.op(
        name,
        "gated_halves",
        [tape.part(x, n_elements)],
        [tape.part(result, Fraction(n_elements) / 2)],
        vector_ops=round(Fraction(n_elements) / 2 * (VECTOR_OPS[function] + 1)),
        attributes={"function": function, "gated": True, "layer": layer},
    )
    return result


def scaled_by(tape: Tape, name: str, x: str, gate: str, *, layer: int | None = None) -> str:
    """Multiply each row by the sigmoid of its one number."""
    tensor = tape.tensors[x]
    result = tape.tensor(f"{name}.output", tensor.shape)
    vector_ops = tensor.n_elements + VECTOR_OPS["sigmoid"] * tape.tensors[gate].n_elements
    tape.op(name, "gate_rows", [x, gate], [result], vector_ops=vector_ops, attributes={"layer": layer})
    return result


def _kind(function: str) -> str:
    if function == "swish":
        return "silu"
    return "gelu" if function.startswith(("gelu", "quick_gelu")) else function


def add(tape: Tape, name: str, terms: Sequence[str], *, layer: int | None = None) -> str:
    """Add tensors of one shape."""
    tensor = tape.tensors[terms[0]]
    result = tape.tensor(f"{name}.output", tensor.shape)
    vector_ops = (len(terms) - 1) * tensor.n_elements
    tape.op(name, "add", terms, [result], vector_ops=vector_ops, attributes={"layer": layer})
    return result
