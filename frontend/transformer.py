"""A transformer language model: an architecture and a workload to a graph.

- decode: each sequence gains one token, which attends over `context` positions, itself included. Its keys and values
  are appended to the caches, and the caches are read whole.
- prefill: `context` tokens per sequence are read and the caches filled; the head runs on the last token alone.
  Attention reads the keys and values that were just computed, not the caches. Where a turn reads a chunk of a prompt,
  attention reads the caches, to which the chunk has been appended.
- train: forward, loss, backward, optimizer step (see `training`). No cache.

All three are cyclic: they repeat, token after token, prompt after prompt, batch after batch.

Weights, inputs and caches exist before the program; a cache of one layer is a state of shape
[batch, key-value heads, cached rows, head dimension].

Assumes: no dropout; weights in one element type, or as a checkpoint stores them, and then widened to the element type
of the computation where they are used, at no cost in time or memory. One device, or one of several with its shard
(see `parallel`), which then has collectives between its operations.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from tierplan.frontend import operators
from tierplan.frontend.architecture import Architecture, Block
from tierplan.frontend.attending import attention
from tierplan.frontend.collectives import all_gather, all_reduce, receive, send
from tierplan.frontend.experts import feed_forward, mixture
from tierplan.frontend.forward import Forward
from tierplan.frontend.latents import latent_attention
from tierplan.frontend.naming import Names
from tierplan.frontend.parallel import ALONE, Shard
from tierplan.frontend.parts import Linear
from tierplan.frontend.shards import own_architecture, own_weights, own_work
from tierplan.frontend.tape import Tape
from tierplan.frontend.training import train
from tierplan.frontend.weights import Layer, Mixture
from tierplan.frontend.workload import Phase, workload
from tierplan.ir.graph import Graph, Stored, TensorKind


def language_model(
    arch: Architecture,
    *,
    phase: str,
    batch: int,
    context: int,
    dtype: str | None,
    names: Names | None = None,
    stored: Mapping[str, Stored] | None = None,
    notes: tuple[str, ...] = (),
    shard: Shard = ALONE,
    layers: Sequence[int] | None = None,
    chunk: int | None = None,
) -> Graph:
    """The graph of one turn of a language model; `dtype` of None takes the configuration's own.

    With a `chunk`, a prefill turn reads only so many of the `context` positions, the last ones.
    With a `shard`, the graph of one device of several; `layers` are those to write down, all of its stage if None.

    `names` are those of its weights where they are not its family's, and `stored` says how a checkpoint stores them.
    `tokens` of the graph is the number of tokens that a turn yields (decode) or reads (prefill, train), on all devices.

    Raises: InvalidInputError: the architecture cannot run this, or a number is impossible.
    """
    work = workload(arch, phase=phase, batch=batch, context=context, dtype=dtype, chunk=chunk)
    own = own_work(arch, work, shard)
    indices = shard.layers(arch.n_layers) if layers is None else layers
    parts = own_weights(arch, names, shard, tuple(indices))
    model = Forward(own_architecture(arch, shard), parts, own, Tape(work.dtype), shard, arch.vocab)
    for tensor in model.weights.tensors(work.dtype, stored):
        model.tape.tensors[tensor.name] = tensor
    x = _embed(model) if shard.first else _received(model)
    for index, layer in zip(indices, model.weights.layers, strict=True):
        x = _layer(model, layer, index, x)
    if not shard.last:
        send(model.tape, "activations", x, shard.parallel.stage_devices)
        return model.tape.graph(f"{arch.name} {phase}", work.rows, notes)
    outputs = _outputs(model, x)
    if work.phase is Phase.TRAIN:
        train(model.tape, outputs, causal=arch.causal)
    return model.tape.graph(f"{arch.name} {phase}", work.rows, notes)


def _received(model: Forward) -> str:
    return receive(model.tape, "activations", model.shape(model.arch.hidden), model.shard.parallel.stage_devices)


def _reduced(model: Forward, about: str, x: str, index: int | None) -> str:
    """The sum of what the devices that share a layer hold of an array."""
    return all_reduce(model.tape, about, x, model.shard.parallel.tp, layer=index)


def _embed(model: Forward) -> str:
    tape, parts, work = model.tape, model.weights, model.work
    if parts.tokens is None:
        return _embed_image(model)
    ids = tape.tensor("input_ids", (work.batch, work.new_tokens), TensorKind.INPUT, "int64")
    tp = model.shard.parallel.tp
    rows = work.rows if tp == 1 else Fraction(work.rows, tp)
    x = operators.embedding(tape, parts.tokens, ids, rows, model.shape(parts.tokens.width))
    x = _reduced(model, "embed_tokens", x, None)
    if parts.project_in is not None:
        x = model.linear(parts.project_in, x)
    tables = [(table, work.new_tokens) for table in (parts.positions,) if table is not None]
    tables += [(table, table.rows) for table in (parts.token_types,) if table is not None]
    if tables:
        x = operators.add_positions(tape, x, tables)
    return x if parts.embedding_norm is None else operators.norm(tape, parts.embedding_norm, x)


def _embed_image(model: Forward) -> str:
    """Patches through a matrix, one more token in front, and positions.

    Assumes: the pixels of a patch lie together.
    """
    tape, parts, work, patches = model.tape, model.weights, model.work, model.arch.patches
    assert patches is not None
    assert parts.patches is not None
    assert parts.positions is not None
    assert parts.token_types is not None
    pixels = tape.tensor("pixel_values", (work.batch, patches.n, parts.patches.inputs), TensorKind.INPUT)
    x = tape.tensor(f"{parts.patches.name}.output", (work.batch, patches.n, model.arch.hidden))
    operators.linear(tape, parts.patches, pixels, [x], work.batch * patches.n)
    result = tape.tensor("embeddings.output", model.shape(model.arch.hidden))
    reads = [x, parts.positions.name, parts.token_types.name]
    vector_ops = tape.tensors[result].n_elements
    tape.op("embeddings", "prepend_and_add", reads, [result], vector_ops=vector_ops)
    return result


def _attend(model: Forward, layer: Layer, index: int, x: str) -> str:
    part = attention if layer.latent is None else latent_attention
    attended = part(model, layer, index, x)
    if model.arch.block is Block.PARALLEL:
        return attended
    return _reduced(model, f"{layer.prefix}.attention", attended, index)


def _layer(model: Forward, layer: Layer, index: int, x: str) -> str:
    if model.arch.block is Block.POST_NORM:
        return _post_norm_layer(model, layer, index, x)
    tape, attention_in = model.tape, operators.norm(model.tape, layer.attention_norm, x, layer=index)
    attended = _attend(model, layer, index, attention_in)
    if model.arch.block is Block.PARALLEL:
        mlp_in = attention_in if layer.mlp_norm is None else operators.norm(tape, layer.mlp_norm, x, layer=index)
        parts = [attended, _part_of_feed_forward(model, layer, index, mlp_in)]
        if model.shard.parallel.tp > 1:  # one sum over the devices for both
            both = operators.add(tape, f"{layer.prefix}.both", parts, layer=index)
            parts = [_reduced(model, layer.prefix, both, index)]
        return operators.add(tape, f"{layer.prefix}.add", [x, *parts], layer=index)
    if layer.post_attention_norm is not None:
        attended = operators.norm(tape, layer.post_attention_norm, attended, layer=index)
    x = operators.add(tape, f"{layer.prefix}.attention.add", [x, attended], layer=index)
    mlp_in = x if layer.mlp_norm is None else operators.norm(tape, layer.mlp_norm, x, layer=index)
    returned = _feed_forward(model, layer, index, mlp_in)
    if layer.post_mlp_norm is not None:
        returned = operators.norm(tape, layer.post_mlp_norm, returned, layer=index)
    return operators.add(tape, f"{layer.prefix}.add", [x, returned], layer=index)


def _post_norm_layer(model: Forward, layer: Layer, index: int, x: str) -> str:
    tape = model.tape
    attended = _attend(model, layer, index, x)
    x = operators.add(tape, f"{layer.prefix}.attention.add", [x, attended], layer=index)
    x = operators.norm(tape, layer.attention_norm, x, layer=index)
    x = operators.add(tape, f"{layer.prefix}.add", [x, _feed_forward(model, layer, index, x)], layer=index)
    return x if layer.mlp_norm is None else operators.norm(tape, layer.mlp_norm, x, layer=index)


def _feed_forward(model: Forward, layer: Layer, index: int, x: str) -> str:
    returned = _part_of_feed_forward(model, layer, index, x)
    if isinstance(layer.mlp, Mixture) and model.shard.parallel.groups > 1:
        return returned
    return _reduced(model, f"{layer.prefix}.mlp", returned, index)


def _part_of_feed_forward(model: Forward, layer: Layer, index: int, x: str) -> str:
    function = model.arch.activation
    if isinstance(layer.mlp, Mixture):
        prefix = layer.mlp.router.name.rpartition(".")[0]
        prefix = prefix if prefix != layer.prefix else f"{prefix}.ffn"
        per_token = model.arch.experts_per_token
        return mixture(model.tape, layer.mlp, prefix, x, function, per_token=per_token, layer=index, shard=model.shard)
    return feed_forward(
        model.tape,
        layer.mlp,
        x,
        function,
        name=f"{layer.prefix}.mlp",
        rows=model.work.rows,
        shape=model.shape,
        layer=index,
    )


def _outputs(model: Forward, x: str) -> Sequence[str]:
    """The end of the forward pass: logits, or what an encoder returns."""
    tape, parts, work = model.tape, model.weights, model.work
    kind = TensorKind.ACTIVATION if work.phase is Phase.TRAIN else TensorKind.OUTPUT
    if parts.final_norm is not None:
        x = operators.norm(tape, parts.final_norm, x)
    if parts.project_out is not None:
        x = model.linear(parts.project_out, x)
    if parts.head is not None and model.arch.causal:
        shape = model.shape(parts.head.outputs) if work.phase is Phase.TRAIN else (work.batch, 1, parts.head.outputs)
        if model.shard.parallel.tp > 1:
            return [_gathered_logits(model, parts.head, x, shape)]
        logits = tape.tensor("logits", shape, kind)
        operators.linear(tape, parts.head, x, [logits], shape[0] * shape[1])
        return [logits]
    if parts.head is not None:  # a classifier reads the first token
        logits = tape.tensor("logits", (work.batch, parts.head.outputs), kind)
        operators.linear(tape, parts.head, x, [logits], work.batch)
        return [logits]
    tape.tensor(x, tape.tensors[x].shape, kind)
    if parts.pooler is None:
        return [x]
    pooled = tape.tensor(f"{parts.pooler.name}.output", (work.batch, parts.pooler.outputs))
    operators.linear(tape, parts.pooler, x, [pooled], work.batch)
    result = operators.activation(tape, "pooler_output", "tanh", [pooled])
    tape.tensor(result, tape.tensors[result].shape, kind)
    return [x, result]


def _gathered_logits(model: Forward, head: Linear, x: str, shape: tuple[int, ...]) -> str:
    """The logits of the whole vocabulary, of which each device makes those of its rows."""
    tape, tp = model.tape, model.shard.parallel.tp
    own = tape.tensor("logits.own", shape)
    operators.linear(tape, head, x, [own], shape[0] * shape[1])
    logits = tape.tensor("logits", (*shape[:-1], model.vocab), TensorKind.OUTPUT)
    return all_gather(tape, "logits", own, tp, logits)
