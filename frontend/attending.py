"""The attention of a layer: queries, keys and values, their norms and rotation, the cache, and the output."""

from tierplan.frontend import operators
from tierplan.frontend.forward import Forward
from tierplan.frontend.operators import AttentionShape, causal_scores, chunked_scores
from tierplan.frontend.weights import Layer
from tierplan.frontend.workload import Phase
from tierplan.ir.graph import TensorKind


def attention(model: Forward, layer: Layer, index: int, x: str) -> str:
    """Attend with the heads of a layer.

    Prefill attends to the keys and values that were just computed, not to the caches.
    """
    tape, arch = model.tape, model.arch
    q, k, v = _queries_keys_values(model, layer, index, x)
    if layer.qk_norms:
        q, k = (operators.norm(tape, norm, y, layer=index) for norm, y in zip(layer.qk_norms, (q, k), strict=True))
    if arch.rotary_dims and index not in arch.plain_layers:
        heads = (arch.n_heads, arch.n_kv_heads)
        q, k = operators.rotary(tape, layer.prefix, q, k, heads=heads, dims=arch.rotary_dims, layer=index)
    if model.work.phase is not Phase.TRAIN and arch.causal:
        caches = _append(model, layer, index, k, v)
        if model.work.from_cache:
            k, v = caches
    keep = model.work.phase is Phase.TRAIN
    shape = _attention_shape(model, index)
    attended = operators.attention(tape, layer.prefix, q, k, v, shape, keep=keep, layer=index)
    return model.linear(layer.out, attended, layer=index)


def scores_of(model: Forward, layer: int) -> tuple[int, int]:
    """Keys that a layer holds for each sequence, and query-key pairs of one head of one sequence."""
    arch, work = model.arch, model.work
    if work.phase is Phase.DECODE:
        keys = arch.cached_rows(work.context, layer)
        return keys, keys
    keys, window = work.context, arch.window(layer)
    if not arch.causal:
        return keys, keys * keys
    scores = chunked_scores if arch.chunked else causal_scores
    pairs = scores(keys, window) - scores(keys - work.new_tokens, window)
    return arch.cached_rows(keys, layer) if work.from_cache else keys, pairs


def _queries_keys_values(model: Forward, layer: Layer, index: int, x: str) -> tuple[str, str, str]:
    widths = (model.arch.query_width, model.arch.kv_width, model.arch.kv_width)
    if len(layer.qkv) == 3:
        q, k, v = (model.linear(linear, x, layer=index) for linear in layer.qkv)
        return q, k, v
    fused = layer.qkv[0]
    pairs = zip("qkv", widths, strict=True)
    results = [model.tape.tensor(f"{fused.name}.output.{name}", model.shape(width)) for name, width in pairs]
    operators.linear(model.tape, fused, x, results, model.work.rows, layer=index)
    return results[0], results[1], results[2]


def _append(model: Forward, layer: Layer, index: int, k: str, v: str) -> tuple[str, str]:
    """Append to the caches; of a prompt that is longer than a sliding window, the last rows are kept."""
    tape, arch, work = model.tape, model.arch, model.work
    cached = arch.cached_rows(work.context, index)
    shape = (work.batch, arch.n_kv_heads, cached, arch.head_dim)
    names = (f"{layer.prefix}.{name}" for name in ("k_cache", "v_cache"))
    k_cache, v_cache = (tape.tensor(name, shape, TensorKind.STATE) for name in names)
    rows = work.batch * min(work.new_tokens, cached)
    operators.cache_append(tape, layer.prefix, k, v, (k_cache, v_cache), rows, layer=index)
    return k_cache, v_cache


def _attention_shape(model: Forward, index: int) -> AttentionShape:
    arch, work = model.arch, model.work
    keys, scores = scores_of(model, index)
    return AttentionShape(
        batch=work.batch,
        heads=arch.n_heads,
        kv_heads=arch.n_kv_heads,
        queries=work.new_tokens,
        keys=keys,
        head_dim=arch.head_dim,
        scores=scores,
        causal=arch.causal,
        window=arch.window(index),
        alibi=arch.alibi,
        chunked=arch.chunked,
        cap=arch.score_cap,
    )
