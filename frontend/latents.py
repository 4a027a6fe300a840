"""Latent attention: what is cached of a token is one compressed row, shared by all heads.

Decoding never expands the cache: the matrix that makes keys is moved to the queries, and the one that makes values
to the result, so that all heads attend over the compressed rows as over one key-value head ("absorbed"). Prefill and
training expand the rows of their own tokens into keys and values of each head, which costs less arithmetic there;
a checkpoint that holds the two matrices apart, as GGUF files do, is absorbed everywhere.

| kind | reads | writes | attributes |
|---|---|---|---|
| head_matmul | x, one matrix per head | result | heads, m, n, k |
| latent_append | rows, rotary keys | cache | rows |
| latent_attention | absorbed queries, queries (their rotary part), cache | result | heads, queries, keys, scores |
| expanded_attention | queries, keys and values, rotary keys | result, log-sum-exp (training) | the same |

Source: DeepSeek-V2, 2024, section 2.1.2 and appendix C.
Assumes: the rotary dimensions stand first in each head, which is a permutation of the rows of a matrix; 5 vector
operations per score and one per element of the result, as in any attention.
"""

from tierplan.frontend import operators
from tierplan.frontend.architecture import Latent
from tierplan.frontend.attending import scores_of
from tierplan.frontend.forward import Forward
from tierplan.frontend.parts import LatentAttention, Linear
from tierplan.frontend.weights import Layer
from tierplan.frontend.workload import Phase
from tierplan.ir.graph import Attribute, TensorKind

_SCORE_OPS = 5


def latent_attention(model: Forward, layer: Layer, index: int, x: str) -> str:
    """Attend with the heads of a layer, over compressed rows or expanded ones."""
    tape, arch, work = model.tape, model.arch, model.work
    parts, latent = layer.latent, arch.latent
    assert parts is not None
    assert latent is not None
    q = _queries(model, parts, x, index)
    row = tape.tensor(f"{parts.kv_a.name}.output.row", model.shape(latent.kv_rank))
    key = tape.tensor(f"{parts.kv_a.name}.output.rotary", model.shape(latent.rotary))
    operators.linear(tape, parts.kv_a, x, [row, key], work.rows, layer=index)
    row = operators.norm(tape, parts.kv_norm, row, layer=index)
    heads = (arch.n_heads, 1)
    q, key = operators.rotary(tape, layer.prefix, q, key, heads=heads, dims=latent.rotary, layer=index)
    cache = "" if work.phase is Phase.TRAIN else _append(model, latent, layer.prefix, row, key, index)
    if not work.from_cache and len(parts.kv_b) == 1:
        attended = _expanded(model, latent, layer, q, row, key, index)
    else:
        attended = _absorbed(model, latent, layer, q, cache, index)
    return model.linear(layer.out, attended, layer=index)


def _queries(model: Forward, parts: LatentAttention, x: str, index: int) -> str:
    if parts.q_a is not None and parts.q_a_norm is not None:
        x = operators.norm(model.tape, parts.q_a_norm, model.linear(parts.q_a, x, layer=index), layer=index)
    return model.linear(parts.q, x, layer=index)


def _append(model: Forward, latent: Latent, prefix: str, row: str, key: str, index: int) -> str:
    tape, work = model.tape, model.work
    rows = model.arch.cached_rows(work.context, index)
    cache = tape.tensor(f"{prefix}.kv_cache", (work.batch, rows, latent.cached), TensorKind.STATE)
    written = work.batch * min(work.new_tokens, rows)
    reads = [tape.part(row, written * latent.kv_rank), tape.part(key, written * latent.rotary)]
    writes = [tape.part(cache, written * latent.cached)]
    attributes: dict[str, Attribute] = {"rows": written, "layer": index}
    tape.op(f"{prefix}.cache_append", "latent_append", reads, writes, attributes=attributes)
    return cache


def _attributes(model: Forward, latent: Latent, index: int) -> tuple[int, dict[str, Attribute]]:
    keys, scores = scores_of(model, index)
    arch, work = model.arch, model.work
    return work.batch * arch.n_heads * scores, {
        "batch": work.batch, "heads": arch.n_heads, "queries": work.new_tokens, "keys": keys, "scores": scores,
        "kv_rank": latent.kv_rank, "plain": latent.plain, "rotary": latent.rotary, "value": latent.value,
        "causal": True, "layer": index,
    }  # fmt: skip


def _expanded(model: Forward, latent: Latent, layer: Layer, q: str, row: str, key: str, index: int) -> str:
    """Keys and values of each head, out of the rows of these very tokens."""
    tape, arch, work = model.tape, model.arch, model.work
    assert layer.latent is not None
    kv = model.linear(layer.latent.kv_b[0], row, layer=index)
    pairs, attributes = _attributes(model, latent, index)
    result = tape.tensor(f"{layer.prefix}.attention.output", model.shape(arch.n_heads * latent.value))
    writes = [result]
    if work.phase is Phase.TRAIN:
        extents = (work.batch, arch.n_heads, work.new_tokens)
        writes.append(tape.tensor(f"{layer.prefix}.attention.log_sum_exp", extents, dtype="float32"))
    tape.op(
        f"{layer.prefix}.attention",
        "expanded_attention",
        [q, kv, key],
        writes,
        matrix_ops=2 * pairs * (latent.key + latent.value),
        vector_ops=_SCORE_OPS * pairs + tape.tensors[result].n_elements,
        attributes=attributes,
    )
    return result


def _absorbed(model: Forward, latent: Latent, layer: Layer, q: str, cache: str, index: int) -> str:
    """Attend over the compressed rows; queries go through the keys' matrix, the result through the values'."""
    tape, arch, work = model.tape, model.arch, model.work
    assert layer.latent is not None
    rank = model.shape(arch.n_heads * latent.kv_rank)
    absorbed = tape.tensor(f"{layer.prefix}.absorbed_q", rank)
    _head_matmul(model, layer.latent.kv_b, 0, q, absorbed, (latent.plain, latent.kv_rank), index)
    pairs, attributes = _attributes(model, latent, index)
    mixed = tape.tensor(f"{layer.prefix}.attention.output", rank)
    rotary = tape.part(q, work.rows * arch.n_heads * latent.rotary)
    tape.op(
        f"{layer.prefix}.attention",
        "latent_attention",
        [absorbed, rotary, cache],
        [mixed],
        matrix_ops=2 * pairs * (latent.cached + latent.kv_rank),
        vector_ops=_SCORE_OPS * pairs + tape.tensors[mixed].n_elements,
        attributes=attributes,
    )
    result = tape.tensor(f"{layer.prefix}.attention.values", model.shape(arch.n_heads * latent.value))
    _head_matmul(model, layer.latent.kv_b, 1, mixed, result, (latent.kv_rank, latent.value), index)
    return result


def _head_matmul(
    model: Forward,
    kv_b: tuple[Linear, ...],
    half: int,
    x: str,
    result: str,
    extents: tuple[int, int],
    index: int,
) -> None:
    """Multiply each head by its own matrix: half of the one for keys and values, or one of two."""
    tape, heads, rows = model.tape, model.arch.n_heads, model.work.rows
    inputs, outputs = extents
    matrix = kv_b[half if len(kv_b) == 2 else 0]
    name = f"{matrix.name}.{('keys', 'values')[half]}"
    attributes: dict[str, Attribute] = {"heads": heads, "m": rows, "n": outputs, "k": inputs, "layer": index}
    tape.op(
        name,
        "head_matmul",
        [tape.part(x, rows * heads * inputs), tape.part(matrix.weight, heads * inputs * outputs)],
        [result],
        matrix_ops=2 * rows * heads * inputs * outputs,
        attributes=attributes,
    )
