"""Graphs of language models: bytes, operation counts and order, against formulas written for the test alone."""

import json
from collections import Counter

import pytest
from config_oracle import matrix_parameters, parameters
from config_strategies import Config, configs
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.frontend.config import read_config
from tierplan.frontend.operators import causal_scores
from tierplan.frontend.transformer import language_model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, Op, TensorKind
from tierplan.models import load


def build(
    name: str, phase: str, batch: int = 1, context: int = 64, dtype: str | None = "bf16", **fields: object
) -> Graph:
    config = json.loads(load(name)) | fields
    return language_model(read_config(json.dumps(config), name), phase=phase, batch=batch, context=context, dtype=dtype)


def read_bytes(graph: Graph, *kinds: TensorKind) -> int:
    wanted = {tensor.name for tensor in graph.tensors if tensor.kind in kinds}
    return sum(access.bytes for op in graph.ops for access in op.reads if access.tensor in wanted)


def matrix_ops(graph: Graph, kind: str) -> int:
    return sum(op.matrix_ops for op in graph.ops if op.kind == kind)


def op_of(graph: Graph, name: str) -> Op:
    return next(op for op in graph.ops if op.name == name)


def test_llama_decode_reads_its_weights_and_its_cache() -> None:
    graph = build("llama2-7b", "decode", context=4096)
    row = 4096 * 2
    unread = 32000 * row - row
    weights = 6_738_415_616 * 2 - unread
    cache = 2 * 32 * 32 * 4096 * 128 * 2
    assert read_bytes(graph, TensorKind.WEIGHT) == weights
    assert read_bytes(graph, TensorKind.STATE) == cache
    assert round((weights + cache) / 1e9, 2) == 15.36
    assert (graph.cyclic, graph.tokens) == (True, 1)


def test_decode_appends_one_row_per_sequence_and_reads_the_whole_cache() -> None:
    graph = build("llama2-70b", "decode", batch=3, context=100)
    cache = graph.tensor("model.layers.7.k_cache")
    assert (cache.shape, cache.kind) == ((3, 8, 100, 128), TensorKind.STATE)
    append = op_of(graph, "model.layers.7.cache_append")
    assert {access.tensor: access.bytes for access in append.writes} == {
        "model.layers.7.k_cache": 3 * 8 * 128 * 2,
        "model.layers.7.v_cache": 3 * 8 * 128 * 2,
    }
    assert not any(access.tensor.endswith("_cache") for access in append.reads)
    attention = op_of(graph, "model.layers.7.attention")
    assert [access.bytes for access in attention.reads] == [3 * 64 * 128 * 2, cache.size, cache.size]
    assert graph.ops.index(append) < graph.ops.index(attention)
    assert graph.tokens == 3


def test_a_sliding_window_bounds_the_cache() -> None:
    graph = build("mistral-7b", "decode", context=10_000)
    assert graph.tensor("model.layers.0.k_cache").shape == (1, 8, 4096, 128)
    assert op_of(graph, "model.layers.0.attention").matrix_ops == 4 * 32 * 4096 * 128
    graph = build("mistral-7b", "prefill", context=10_000)
    assert op_of(graph, "model.layers.0.attention").attributes["scores"] == causal_scores(10_000, 4096)
    append = op_of(graph, "model.layers.0.cache_append")
    assert [a.bytes for a in (*append.reads, *append.writes)] == [8 * 4096 * 128 * 2] * 4
    assert build("mistral-7b", "decode", context=10_000, sliding_window=None).tensor(
        "model.layers.0.k_cache"
    ).shape == (1, 8, 10_000, 128)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 60), st.none() | st.integers(1, 70))
def test_causal_scores_count_the_pairs(context: int, window: int | None) -> None:
    reach = window or context
    pairs = sum(1 for query in range(context) for key in range(context) if 0 <= query - key < reach)
    assert causal_scores(context, window) == pairs


def test_prefill_fills_the_cache_and_runs_the_head_once() -> None:
    graph = build("llama2-7b", "prefill", batch=2, context=512)
    append = op_of(graph, "model.layers.0.cache_append")
    assert [a.bytes for a in append.writes] == [graph.tensor("model.layers.0.k_cache").size] * 2
    assert op_of(graph, "model.layers.0.attention").matrix_ops == 4 * 2 * 32 * (512 * 513 // 2) * 128
    head = op_of(graph, "lm_head")
    assert head.matrix_ops == 2 * 2 * 4096 * 32000
    assert head.reads[0].bytes == 2 * 4096 * 2
    assert graph.tensor("logits").shape == (2, 1, 32000)
    assert graph.tokens == 1024
    assert op_of(graph, "embed_tokens").reads[1].bytes == 1024 * 4096 * 2


def test_an_embedding_never_reads_more_than_its_table() -> None:
    graph = build("gpt2", "prefill", batch=100, context=1024)
    assert op_of(graph, "embed_tokens").reads[1].bytes == 50257 * 768 * 2
    assert op_of(graph, "embed_positions").reads[1].bytes == 1024 * 768 * 2


def test_a_tied_head_reads_the_token_table() -> None:
    graph = build("gpt2", "decode")
    assert op_of(graph, "lm_head").reads[1].tensor == "transformer.wte.weight"
    assert op_of(graph, "lm_head").reads[1].bytes == 50257 * 768 * 2


def test_bert_sees_both_ways_and_returns_its_outputs() -> None:
    graph = build("bert-base-uncased", "prefill", batch=2, context=128)
    assert op_of(graph, "bert.encoder.layer.0.attention").matrix_ops == 4 * 2 * 12 * 128 * 128 * 64
    assert [t.shape for t in graph.tensors if t.kind is TensorKind.OUTPUT] == [(2, 128, 768), (2, 768)]
    assert not any(t.kind is TensorKind.STATE for t in graph.tensors)


@pytest.mark.parametrize(("batch", "expected"), [(1, 2.0), (2, 3.5), (4, 8 * (1 - 0.75**4)), (200, 8.0)])
def test_mixtral_reads_the_experts_that_its_tokens_are_expected_to_use(batch: int, expected: float) -> None:
    graph = build("mixtral-8x7b", "decode", batch=batch)
    read = Counter[str]()
    for op in graph.ops:
        for access in op.reads:
            read[access.tensor] += access.bytes
    prefix = "model.layers.5.block_sparse_moe.experts"
    for matrix in ("w1", "w2", "w3"):
        total = sum(read[f"{prefix}.{e}.{matrix}.weight"] for e in range(8))
        assert total == pytest.approx(expected * 4096 * 14336 * 2, rel=1e-6)
    assert graph.n_parameters == 46_702_792_704
    work = sum(op.matrix_ops for op in graph.ops if op.name.startswith(prefix))
    assert work == batch * 2 * 3 * 2 * 4096 * 14336


def test_dtype_comes_from_the_configuration_unless_asked_for() -> None:
    assert {t.dtype for t in build("llama2-7b", "decode", dtype=None).tensors if t.kind is TensorKind.WEIGHT} == {
        "float16"
    }
    graph = build("llama2-7b", "decode", dtype="int4")
    assert graph.tensor("model.layers.0.k_cache").dtype == "int4"
    assert graph.tensor("lm_head.weight").size == 32000 * 4096 // 2


def test_how_layers_add_to_the_residual() -> None:
    def terms(graph: Graph, name: str) -> list[str]:
        return [access.tensor.removesuffix(".output") for access in op_of(graph, name).reads]

    falcon = build("falcon-7b", "decode")
    layer = "transformer.h.1"
    assert terms(falcon, f"{layer}.add") == [
        "transformer.h.0.add",
        f"{layer}.self_attention.dense",
        f"{layer}.mlp.dense_4h_to_h",
    ]
    assert terms(falcon, f"{layer}.mlp.dense_h_to_4h")[0] == f"{layer}.input_layernorm"
    falcon = build("falcon-40b", "decode")
    assert terms(falcon, f"{layer}.ln_mlp")[0] == terms(falcon, f"{layer}.ln_attn")[0] == "transformer.h.0.add"
    assert terms(falcon, f"{layer}.mlp.dense_h_to_4h")[0] == f"{layer}.ln_mlp"
    llama, layer = build("llama2-7b", "decode"), "model.layers.1"
    assert terms(llama, f"{layer}.attention.add") == ["model.layers.0.add", f"{layer}.self_attn.o_proj"]
    assert terms(llama, f"{layer}.add") == [f"{layer}.attention.add", f"{layer}.mlp.down_proj"]
    bert, layer = build("bert-base-uncased", "prefill"), "bert.encoder.layer.1"
    assert terms(bert, f"{layer}.attention.add")[0] == "bert.encoder.layer.0.output.LayerNorm"
    assert terms(bert, f"{layer}.attention.output.LayerNorm")[0] == f"{layer}.attention.add"
    assert terms(bert, f"{layer}.intermediate.dense")[0] == f"{layer}.attention.output.LayerNorm"


def test_training_keeps_the_activations_that_the_backward_pass_reads() -> None:
    """Bytes of forward results that are read after the loss, against the list of what each derivative needs."""
    batch, context = 2, 256
    graph = build("llama2-7b", "train", batch=batch, context=context)
    loss = graph.ops.index(op_of(graph, "loss"))
    written = {a.tensor for op in graph.ops[:loss] for a in op.writes}
    kept = {a.tensor for op in graph.ops[loss + 1 :] for a in op.reads} & written
    hidden, ffn, rows = 4096, 11008, batch * context
    # x, its norm, q, k, v, attention's result, x again, its norm; gate, up and their product
    layer = 8 * hidden + 3 * ffn
    expected = rows * (32 * layer + 2 * hidden + 32000) * 2 + 32 * batch * 32 * context * 4
    assert sum(graph.tensor(name).size for name in kept) == expected


def test_training_updates_every_weight_from_master_copies() -> None:
    graph = build("mixtral-8x7b", "train", context=256)
    weights = [t for t in graph.tensors if t.kind is TensorKind.WEIGHT]
    steps = {op.name: op for op in graph.ops if op.kind == "adamw"}
    assert len(steps) == len(weights)
    for weight in weights:
        step = steps[f"optimizer.{weight.name}"]
        gradient, *states = (graph.tensor(access.tensor) for access in step.reads)
        assert (gradient.shape, gradient.dtype, gradient.kind) == (weight.shape, "bfloat16", TensorKind.ACTIVATION)
        assert [(t.kind, t.dtype, t.shape) for t in states] == [(TensorKind.STATE, "float32", weight.shape)] * 3
        assert [a.tensor for a in step.writes] == [*(t.name for t in states), weight.name]
    assert not any(t.name.endswith("_cache") for t in graph.tensors)
    first_step = min(graph.ops.index(op) for op in steps.values())
    assert all(op.kind == "adamw" for op in graph.ops[first_step:])


def test_float32_training_has_no_master_copies() -> None:
    graph = build("gpt2", "train", dtype="float32")
    assert not any(t.name.endswith(".master") for t in graph.tensors)
    step = next(op for op in graph.ops if op.kind == "adamw")
    assert step.name.removeprefix("optimizer.") in [a.tensor for a in step.reads]


def test_the_gradient_of_a_tied_table_gathers_both_uses() -> None:
    graph = build("gpt2", "train", context=32)
    name = "transformer.wte.weight.grad"
    writers = [op for op in graph.ops if name in [a.tensor for a in op.writes]]
    assert [op.name for op in writers] == ["lm_head.grad_weight", "embed_tokens.grad"]
    assert [a.bytes for a in writers[1].reads if a.tensor == name] == [32 * 768 * 2]
    untied = build("gpt2", "train", context=32, tie_word_embeddings=False)
    scatter = op_of(untied, "embed_tokens.grad")
    assert scatter.writes[0].bytes == 50257 * 768 * 2
    assert name not in [a.tensor for a in scatter.reads]


def test_every_matrix_has_two_derivatives() -> None:
    graph = build("phi-2", "train", context=8)
    name = "model.layers.4.self_attn.k_proj"
    of_weight, of_input = op_of(graph, f"{name}.grad_weight"), op_of(graph, f"{name}.grad_input")
    assert [a.tensor for a in of_weight.reads] == ["model.layers.4.input_layernorm.output", f"{name}.output.grad"]
    assert [a.tensor for a in of_weight.writes] == [f"{name}.weight.grad", f"{name}.bias.grad"]
    assert [a.tensor for a in of_input.reads] == [f"{name}.output.grad", f"{name}.weight"]
    assert of_weight.matrix_ops == of_input.matrix_ops == op_of(graph, name).matrix_ops == 2 * 8 * 2560 * 2560
    assert (of_weight.attributes["m"], of_weight.attributes["n"], of_weight.attributes["k"]) == (2560, 2560, 8)


def test_a_residual_adds_up_the_gradients_of_its_two_readers() -> None:
    graph = build("llama2-7b", "train", context=32)
    add = op_of(graph, "model.layers.3.add.output.grad")
    assert (add.kind, len(add.reads)) == ("add", 2)


@settings(deadline=None, max_examples=150)
@given(configs(), st.sampled_from(["prefill", "decode", "train"]), st.integers(1, 3), st.integers(1, 16))
def test_any_model_makes_a_sound_graph(config: Config, phase: str, batch: int, context: int) -> None:
    arch = read_config(json.dumps(config), "random")
    if phase == "decode" and not arch.causal:
        return
    graph = language_model(arch, phase=phase, batch=batch, context=context, dtype="bfloat16")
    assert graph.n_parameters == parameters(config)
    assert graph.cyclic
    assert graph.tokens == (batch if phase == "decode" else batch * context)
    read = {access.tensor for op in graph.ops for access in op.reads}
    written = {access.tensor for op in graph.ops for access in op.writes}
    sizes = {tensor.name: tensor.size for tensor in graph.tensors}
    for tensor in graph.tensors:
        if tensor.kind in (TensorKind.WEIGHT, TensorKind.INPUT, TensorKind.ACTIVATION):
            assert tensor.name in read, f"{tensor.name} is never read"
        if not tensor.kind.exists_at_start or tensor.kind is TensorKind.STATE:
            assert tensor.name in written, f"{tensor.name} is never written"
    for op in graph.ops:
        names = [access.tensor for access in op.reads]
        assert len(names) == len(set(names)), op.name
        assert all(access.bytes <= sizes[access.tensor] for access in (*op.reads, *op.writes)), op.name


@settings(deadline=None, max_examples=150)
@given(configs(), st.integers(1, 3), st.integers(1, 16))
def test_matrix_operations_equal_the_closed_formula(config: Config, batch: int, context: int) -> None:
    arch = read_config(json.dumps(config), "random")
    layers = config.get("num_hidden_layers") or config["n_layer"]
    heads = config.get("num_attention_heads") or config["n_head"]
    head_dim = config.get("head_dim") or (config.get("hidden_size") or config["n_embd"]) // heads
    window = config.get("sliding_window") or context
    per_score = 4 * batch * layers * heads * head_dim
    matrices = _used_per_token(config)
    train = language_model(arch, phase="train", batch=batch, context=context, dtype="float32")
    if config["model_type"] != "bert":
        decode = language_model(arch, phase="decode", batch=batch, context=context, dtype="float32")
        assert abs(matrix_ops(decode, "matmul") - 2 * matrices * batch) <= _rounding(decode)
        assert matrix_ops(decode, "attention") == per_score * min(window, context)
        pairs = sum(min(i + 1, window) for i in range(context))
        forward = 2 * matrices * batch * context
    else:
        pairs = context * context
        pooler = config["hidden_size"] ** 2
        forward = 2 * batch * (context * (matrices - pooler) + pooler)
    assert abs(matrix_ops(train, "matmul") - 3 * forward) <= _rounding(train)
    assert matrix_ops(train, "attention") == per_score * pairs
    assert matrix_ops(train, "attention_grad") == per_score * pairs * 5 // 2


def _rounding(graph: Graph) -> int:
    """At most one operation per expert's matrix, because each has a whole number of them."""
    return sum(1 for op in graph.ops if op.kind == "matmul" and ".experts." in op.name)


def _used_per_token(config: Config) -> int:
    """Elements of the matrices that one token meets: of the experts, those that it is sent to."""
    matrices = matrix_parameters(config)
    if config["model_type"] != "mixtral":
        return matrices
    unused = config["num_local_experts"] - config["num_experts_per_tok"]
    return matrices - config["num_hidden_layers"] * unused * 3 * config["hidden_size"] * config["intermediate_size"]


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("llama2-7b", {"phase": "decod"}, "unknown phase 'decod'; did you mean 'decode'?"),
        ("llama2-7b", {"batch": 0}, "batch is 0; write a whole number from 1 to 1000000"),
        ("llama2-7b", {"batch": 10**7}, "batch is 10000000"),
        ("llama2-7b", {"context": -5}, "context is -5"),
        ("llama2-7b", {"context": 10**10}, "context is 10000000000"),
        ("llama2-7b", {"context": True}, "context is True"),
        ("llama2-7b", {"context": 1.5}, "context is 1.5"),
        ("llama2-7b", {"context": 10**9, "batch": 10**6}, "choose a smaller batch or context"),
        ("llama2-7b", {"dtype": "bf61"}, "did you mean 'bf16'?"),
        ("llama2-7b", {"dtype": "bool"}, "unknown dtype for decode 'bool'"),
        ("llama2-7b", {"dtype": "int8", "phase": "train"}, "unknown dtype for train 'int8'"),
        ("bert-base-uncased", {}, "has no decode phase"),
        ("gpt2", {"context": 1025}, "its position table has 1024 rows"),
        ("opt-6.7b", {"context": 2049, "phase": "train"}, "its position table has 2048 rows"),
        ("bert-base-uncased", {"context": 513, "phase": "prefill"}, "its position table has 512 rows"),
    ],
)
def test_what_a_model_cannot_run_is_refused(name: str, arguments: dict[str, object], part: str) -> None:
    asked: dict[str, object] = {"phase": "decode", "batch": 1, "context": 64, "dtype": None} | arguments
    with pytest.raises(InvalidInputError) as caught:
        language_model(read_config(load(name), name), **asked)  # pyright: ignore[reportArgumentType]
    assert part in str(caught.value)


def test_rotary_models_go_beyond_their_trained_positions() -> None:
    assert build("llama2-7b", "decode", context=100_000).tensor("model.layers.0.k_cache").shape[2] == 100_000
