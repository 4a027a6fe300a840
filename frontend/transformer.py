"""A transformer language model: an architecture and a workload to a graph.

- decode: each sequence gains one token, which attends over `context` positions, itself included. Its keys and values
  are appended to the caches, and the caches are read whole.
- prefill: `context` tokens per sequence are read and the caches filled; the head runs on the last token alone.
  Attention reads the keys and values that were just computed, not the caches.
- train: forward, loss, backward, optimizer step (see `training`). No cache.

All three are cyclic: they repeat, token after token, prompt after prompt, batch after batch.

Weights, inputs and caches exist before the program; a cache of one layer is a state of shape
[batch, key-value heads, cached rows, head dimension].

Assumes: no dropout; dense weights in one element type; one device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tierplan.frontend import operators
from tierplan.frontend.architecture import Architecture, Block
from tierplan.frontend.experts import feed_forward, mixture
from tierplan.frontend.operators import AttentionShape, causal_scores
from tierplan.frontend.tape import Tape
from tierplan.frontend.training import train
from tierplan.frontend.weights import Layer, Linear, Weights, weights
from tierplan.frontend.workload import Phase, Workload, workload
from tierplan.ir.graph import Graph, TensorKind


@dataclass(frozen=True, slots=True)
class _Model:
    """What every part of the forward pass needs."""

    arch: Architecture
    weights: Weights
    work: Workload
    tape: Tape

    def shape(self, width: int) -> tuple[int, int, int]:
        """Shape of an activation of that width."""
        return (self.work.batch, self.work.new_tokens, width)


def language_model(arch: Architecture, *, phase: str, batch: int, context: int, dtype: str | None) -> Graph:
    """The graph of one turn of a language model; `dtype` of None takes the configuration's own.

    `tokens` of the graph is the number of tokens that a turn yields (decode) or reads (prefill, train).

    Raises: InvalidInputError: the architecture cannot run this, or a number is impossible.
    """
    work = workload(arch, phase=phase, batch=batch, context=context, dtype=dtype)
    model = _Model(arch, weights(arch), work, Tape(work.dtype))
    for tensor in model.weights.tensors(work.dtype):
        model.tape.tensors[tensor.name] = tensor
    x = _embed(model)
    for index, layer in enumerate(model.weights.layers):
        x = _layer(model, layer, index, x)
    outputs = _outputs(model, x)
    if work.phase is Phase.TRAIN:
        train(model.tape, outputs, work.batch, work.context)
    return model.tape.graph(f"{arch.name} {phase}", work.rows)


def _embed(model: _Model) -> str:
    tape, parts, work = model.tape, model.weights, model.work
    ids = tape.tensor("input_ids", (work.batch, work.new_tokens), TensorKind.INPUT, "int64")
    x = operators.embedding(tape, parts.tokens, ids, work.rows, model.shape(parts.tokens.width))
    if parts.project_in is not None:
        x = _linear(model, parts.project_in, x)
    tables = [(table, work.new_tokens) for table in (parts.positions,) if table is not None]
    tables += [(table, table.rows) for table in (parts.token_types,) if table is not None]
    if tables:
        x = operators.add_positions(tape, x, tables)
    return x if parts.embedding_norm is None else operators.norm(tape, parts.embedding_norm, x)


def _layer(model: _Model, layer: Layer, index: int, x: str) -> str:
    if model.arch.block is Block.POST_NORM:
        return _post_norm_layer(model, layer, index, x)
    tape, attention_in = model.tape, operators.norm(model.tape, layer.attention_norm, x, layer=index)
    attended = _attention(model, layer, index, attention_in)
    if model.arch.block is Block.PARALLEL:
        mlp_in = attention_in if layer.mlp_norm is None else operators.norm(tape, layer.mlp_norm, x, layer=index)
        terms = [x, attended, _feed_forward(model, layer, index, mlp_in)]
        return operators.add(tape, f"{layer.prefix}.add", terms, layer=index)
    x = operators.add(tape, f"{layer.prefix}.attention.add", [x, attended], layer=index)
    mlp_in = x if layer.mlp_norm is None else operators.norm(tape, layer.mlp_norm, x, layer=index)
    terms = [x, _feed_forward(model, layer, index, mlp_in)]
    return operators.add(tape, f"{layer.prefix}.add", terms, layer=index)


def _post_norm_layer(model: _Model, layer: Layer, index: int, x: str) -> str:
    tape = model.tape
    attended = _attention(model, layer, index, x)
    x = operators.add(tape, f"{layer.prefix}.attention.add", [x, attended], layer=index)
    x = operators.norm(tape, layer.attention_norm, x, layer=index)
    x = operators.add(tape, f"{layer.prefix}.add", [x, _feed_forward(model, layer, index, x)], layer=index)
    return x if layer.mlp_norm is None else operators.norm(tape, layer.mlp_norm, x, layer=index)


def _attention(model: _Model, layer: Layer, index: int, x: str) -> str:
    tape, arch = model.tape, model.arch
    q, k, v = _queries_keys_values(model, layer, index, x)
    if layer.qk_norms:
        q, k = (operators.norm(tape, norm, y, layer=index) for norm, y in zip(layer.qk_norms, (q, k), strict=True))
    if arch.rotary_dims:
        heads = (arch.n_heads, arch.n_kv_heads)
        q, k = operators.rotary(tape, layer.prefix, q, k, heads=heads, dims=arch.rotary_dims, layer=index)
    if model.work.phase is not Phase.TRAIN and arch.causal:
        caches = _append(model, layer, index, k, v)
        if model.work.phase is Phase.DECODE:
            k, v = caches
    keep = model.work.phase is Phase.TRAIN
    attended = operators.attention(tape, layer.prefix, q, k, v, _attention_shape(model), keep=keep, layer=index)
    return _linear(model, layer.out, attended, layer=index)


def _queries_keys_values(model: _Model, layer: Layer, index: int, x: str) -> tuple[str, str, str]:
    widths = (model.arch.query_width, model.arch.kv_width, model.arch.kv_width)
    if len(layer.qkv) == 3:
        q, k, v = (_linear(model, linear, x, layer=index) for linear in layer.qkv)
        return q, k, v
    fused = layer.qkv[0]
    pairs = zip("qkv", widths, strict=True)
    results = [model.tape.tensor(f"{fused.name}.output.{name}", model.shape(width)) for name, width in pairs]
    operators.linear(model.tape, fused, x, results, model.work.rows, layer=index)
    return results[0], results[1], results[2]


def _append(model: _Model, layer: Layer, index: int, k: str, v: str) -> tuple[str, str]:
    """Append to the caches; of a prompt that is longer than a sliding window, the last rows are kept."""
    tape, arch, work = model.tape, model.arch, model.work
    cached = arch.cached_rows(work.context)
    shape = (work.batch, arch.n_kv_heads, cached, arch.head_dim)
    names = (f"{layer.prefix}.{name}" for name in ("k_cache", "v_cache"))
    k_cache, v_cache = (tape.tensor(name, shape, TensorKind.STATE) for name in names)
    rows = work.batch * min(work.new_tokens, cached)
    operators.cache_append(tape, layer.prefix, k, v, (k_cache, v_cache), rows, layer=index)
    return k_cache, v_cache


def _attention_shape(model: _Model) -> AttentionShape:
    arch, work = model.arch, model.work
    if work.phase is Phase.DECODE:
        keys = scores = arch.cached_rows(work.context)
    else:
        keys = work.context
        scores = causal_scores(keys, arch.sliding_window) if arch.causal else keys * keys
    return AttentionShape(
        batch=work.batch,
        heads=arch.n_heads,
        kv_heads=arch.n_kv_heads,
        queries=work.new_tokens,
        keys=keys,
        head_dim=arch.head_dim,
        scores=scores,
        causal=arch.causal,
        window=arch.sliding_window,
        alibi=arch.alibi,
    )


def _feed_forward(model: _Model, layer: Layer, index: int, x: str) -> str:
    function = model.arch.activation
    if layer.router is not None:
        return mixture(model.tape, layer, x, function, per_token=model.arch.experts_per_token, layer=index)
    return feed_forward(
        model.tape,
        layer.experts[0],
        x,
        function,
        name=f"{layer.prefix}.mlp",
        rows=model.work.rows,
        shape=model.shape,
        layer=index,
    )


def _outputs(model: _Model, x: str) -> Sequence[str]:
    """The end of the forward pass: logits, or what an encoder returns."""
    tape, parts, work = model.tape, model.weights, model.work
    kind = TensorKind.ACTIVATION if work.phase is Phase.TRAIN else TensorKind.OUTPUT
    if parts.final_norm is not None:
        x = operators.norm(tape, parts.final_norm, x)
    if parts.project_out is not None:
        x = _linear(model, parts.project_out, x)
    if parts.head is not None:
        shape = model.shape(parts.head.outputs) if work.phase is Phase.TRAIN else (work.batch, 1, parts.head.outputs)
        logits = tape.tensor("logits", shape, kind)
        operators.linear(tape, parts.head, x, [logits], shape[0] * shape[1])
        return [logits]
    assert parts.pooler is not None
    tape.tensor(x, tape.tensors[x].shape, kind)
    pooled = tape.tensor(f"{parts.pooler.name}.output", (work.batch, parts.pooler.outputs))
    operators.linear(tape, parts.pooler, x, [pooled], work.batch)
    result = operators.activation(tape, "pooler_output", "tanh", [pooled])
    tape.tensor(result, tape.tensors[result].shape, kind)
    return [x, result]


def _linear(model: _Model, linear: Linear, x: str, *, layer: int | None = None) -> str:
    result = model.tape.tensor(f"{linear.name}.output", model.shape(linear.outputs))
    operators.linear(model.tape, linear, x, [result], model.work.rows, layer=layer)
    return result
