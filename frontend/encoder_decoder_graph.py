"""A model of an encoder and a decoder: an architecture and a workload to a graph.

- prefill: the encoder reads its whole input, the keys and values of it that the decoder attends to are computed and
  cached, and the decoder reads its first token.
- decode: the decoder gains one token for each sequence, which attends over `context` positions, itself included, and
  over the cached input. The encoder has no part in it.
- train: the encoder reads its input, the decoder `context` tokens; loss, backward, optimizer step.

Text has as many tokens of input as `context` says; sound has the length that the model fixes.

Assumes: what the operators of other models assume; a convolution is a matrix multiplication that reads its input
once; sequences stand at the same positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tierplan.frontend import operators
from tierplan.frontend.encoder_decoder import EncoderDecoder, Side
from tierplan.frontend.encoder_decoder_weights import Attention, Block, Halves, halves
from tierplan.frontend.experts import feed_forward
from tierplan.frontend.operators import AttentionShape, causal_scores
from tierplan.frontend.parts import Linear
from tierplan.frontend.tape import Tape
from tierplan.frontend.training import train
from tierplan.frontend.workload import Phase, Workload
from tierplan.ir.graph import Attribute, Graph, Stored, Tensor, TensorKind


@dataclass(frozen=True, slots=True)
class _Pass:
    """What every part of the forward pass needs; the decoder reads `tokens` of each sequence."""

    arch: EncoderDecoder
    weights: Halves
    work: Workload
    tape: Tape
    tokens: int

    def linear(self, linear: Linear, x: str) -> str:
        """Multiply every row of x by a matrix."""
        batch, rows, _ = self.tape.tensors[x].shape
        result = self.tape.tensor(f"{linear.name}.output", (batch, rows, linear.outputs))
        operators.linear(self.tape, linear, x, [result], batch * rows)
        return result


def encoder_decoder_graph(
    arch: EncoderDecoder, work: Workload, *, stored: Mapping[str, Stored] | None, notes: tuple[str, ...]
) -> Graph:
    """The graph of one turn."""
    parts, tape = halves(arch), Tape(work.dtype)
    how = stored or {}
    for name, shape in parts.shapes():
        tape.tensors[name] = Tensor(name, shape, work.dtype, TensorKind.WEIGHT, "", how.get(name))
    model = _Pass(arch, parts, work, tape, work.context if work.phase is Phase.TRAIN else 1)
    encoded = "" if work.phase is Phase.DECODE else _encode(model)
    x = _embed(model)
    for block in parts.decoder.blocks:
        x = _block(model, block, arch.decoder, x, encoded)
    x = operators.norm(tape, parts.decoder.norm, x)
    kind = TensorKind.ACTIVATION if work.phase is Phase.TRAIN else TensorKind.OUTPUT
    logits = tape.tensor("logits", (work.batch, model.tokens, arch.vocab), kind)
    operators.linear(tape, parts.head, x, [logits], work.batch * model.tokens)
    if work.phase is Phase.TRAIN:
        train(tape, [logits], causal=True)
    return tape.graph(f"{arch.name} {work.phase.value}", _tokens(model), notes)


def _tokens(model: _Pass) -> int:
    """Tokens that a turn yields (decode, train), or reads (prefill)."""
    source = model.arch.source(model.work.context)
    return model.work.batch * (source if model.work.phase is Phase.PREFILL else model.tokens)


def _encode(model: _Pass) -> str:
    x = _hear(model) if model.arch.mels else _read(model)
    for block in model.weights.encoder.blocks:
        x = _block(model, block, model.arch.encoder, x, "")
    return operators.norm(model.tape, model.weights.encoder.norm, x)


def _read(model: _Pass) -> str:
    shape = (model.work.batch, model.arch.source(model.work.context))
    ids = model.tape.tensor("input_ids", shape, TensorKind.INPUT, "int64")
    return operators.embedding(
        model.tape, model.weights.tokens, ids, shape[0] * shape[1], (*shape, model.arch.hidden), name="encoder.embed"
    )


def _hear(model: _Pass) -> str:
    """Two convolutions of width 3, of which the second takes every other step, and positions."""
    tape, arch, batch = model.tape, model.arch, model.work.batch
    steps = 2 * arch.source_positions
    x = tape.tensor("input_features", (batch, steps, arch.mels), TensorKind.INPUT)
    for convolution, stride in zip(model.weights.convolutions, (1, 2), strict=True):
        steps //= stride
        rows = batch * steps
        result = tape.tensor(f"{convolution.name}.output", (batch, steps, arch.hidden))
        attributes: dict[str, Attribute] = {"m": rows, "n": convolution.outputs, "k": convolution.inputs}
        tape.op(
            convolution.name,
            "conv1d",
            [x, convolution.weight, f"{convolution.name}.bias"],
            [result],
            matrix_ops=2 * rows * convolution.inputs * convolution.outputs,
            vector_ops=rows * convolution.outputs,
            attributes=attributes,
        )
        x = operators.activation(tape, f"{convolution.name}.activation", arch.activation, [result])
    table = model.weights.encoder.positions
    assert table is not None
    return operators.add_positions(tape, x, [(table, table.rows)], name="encoder.embed_positions")


def _embed(model: _Pass) -> str:
    tape, shape = model.tape, (model.work.batch, model.tokens)
    ids = tape.tensor("decoder_input_ids", shape, TensorKind.INPUT, "int64")
    rows, width = shape[0] * shape[1], model.arch.hidden
    x = operators.embedding(tape, model.weights.tokens, ids, rows, (*shape, width), name="decoder.embed")
    table = model.weights.decoder.positions
    if table is None:
        return x
    return operators.add_positions(tape, x, [(table, model.tokens)], name="decoder.embed_positions")


def _block(model: _Pass, block: Block, side: Side, x: str, encoded: str) -> str:
    """One layer; of a decoder, `encoded` is what the encoder returned, or empty where that is cached."""
    tape, decodes = model.tape, block.cross is not None
    x = _add(model, f"{block.prefix}.own.add", x, _own(model, block.own, side, x, causal=decodes))
    if block.cross is not None:
        x = _add(model, f"{block.prefix}.cross.add", x, _cross(model, block.cross, side, x, encoded))
    batch, rows, _ = tape.tensors[x].shape
    returned = feed_forward(
        tape,
        block.mlp,
        operators.norm(tape, block.mlp_norm, x),
        model.arch.activation,
        name=f"{block.prefix}.mlp",
        rows=batch * rows,
        shape=lambda extent: (batch, rows, extent),
        layer=0,
    )
    return _add(model, f"{block.prefix}.add", x, returned)


def _add(model: _Pass, name: str, x: str, y: str) -> str:
    return operators.add(model.tape, name, [x, y])


def _own(model: _Pass, weights: Attention, side: Side, x: str, *, causal: bool) -> str:
    """Attention to the tokens of the same side; a decoder that does not train has a cache."""
    tape, work = model.tape, model.work
    y = operators.norm(tape, weights.norm, x)
    q, k, v = (model.linear(linear, y) for linear in (weights.q, weights.k, weights.v))
    tokens = keys = tape.tensors[x].shape[1]
    if causal and work.phase is not Phase.TRAIN:
        caches = _caches(model, weights.prefix, side, work.context)
        operators.cache_append(tape, weights.prefix, k, v, caches, work.batch, layer=0)
        if work.phase is Phase.DECODE:
            (k, v), keys = caches, work.context
    scores = causal_scores(keys, None) if causal and tokens == keys else tokens * keys
    return _attend(model, weights, side, (q, k, v), (tokens, keys, scores), causal=causal)


def _cross(model: _Pass, weights: Attention, side: Side, x: str, encoded: str) -> str:
    """Attention to what the encoder returned, or to its keys and values that lie in the cache."""
    tape, work = model.tape, model.work
    source = model.arch.source(work.context)
    q = model.linear(weights.q, operators.norm(tape, weights.norm, x))
    caches = None if work.phase is Phase.TRAIN else _caches(model, weights.prefix, side, source)
    if encoded:
        k, v = (model.linear(linear, encoded) for linear in (weights.k, weights.v))
        if caches is not None:
            operators.cache_append(tape, weights.prefix, k, v, caches, work.batch * source, layer=0)
    else:
        assert caches is not None
        k, v = caches
    tokens = tape.tensors[x].shape[1]
    return _attend(model, weights, side, (q, k, v), (tokens, source, tokens * source), causal=False)


def _caches(model: _Pass, prefix: str, side: Side, rows: int) -> tuple[str, str]:
    shape = (model.work.batch, side.n_heads, rows, side.head_dim)
    k, v = (model.tape.tensor(f"{prefix}.{name}", shape, TensorKind.STATE) for name in ("k_cache", "v_cache"))
    return k, v


def _attend(
    model: _Pass,
    weights: Attention,
    side: Side,
    operands: tuple[str, str, str],
    extents: tuple[int, int, int],
    *,
    causal: bool,
) -> str:
    tokens, keys, scores = extents
    shape = AttentionShape(
        batch=model.work.batch,
        heads=side.n_heads,
        kv_heads=side.n_heads,
        queries=tokens,
        keys=keys,
        head_dim=side.head_dim,
        scores=scores,
        causal=causal,
        window=None,
        alibi=False,
    )
    keep = model.work.phase is Phase.TRAIN
    q, k, v = operands
    prefix = weights.prefix
    attended = operators.attention(model.tape, prefix, q, k, v, shape, keep=keep, layer=0, bias=weights.bias)
    return model.linear(weights.out, attended)
