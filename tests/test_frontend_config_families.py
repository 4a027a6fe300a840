"""The families beside the first eight: parameter counts, windows, latent attention, experts, encoders and decoders."""

import json
from math import prod
from typing import Any

import pytest

from tierplan.frontend.config import READERS, read_config
from tierplan.frontend.experts import chance_of_use
from tierplan.frontend.operators import causal_scores, chunked_scores
from tierplan.frontend.program import model_graph, weight_shapes
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, Op, TensorKind
from tierplan.models import load

# Built-in models: counted by building them from these fields on torch's meta device with transformers 5.24.0 (and
# torch 2.13.0), plus, for deepseek-v3, the corrections of its routers (58 x 256), which are no parameters there.
# flan-t5-base: the card and the checkpoint, which holds a head of its own.
COUNTED = {
    "qwen2-7b": 7_615_616_512,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "gemma2-9b": 9_241_705_984,
    "gemma3-4b": 3_880_263_168,
    "deepseek-v2-lite": 15_706_484_224,
    "deepseek-v3": 671_026_404_352 + 58 * 256,
    "llama4-scout": 107_769_861_120,
    "t5-base": 222_903_552,
    "flan-t5-base": 247_577_856,
    "whisper-tiny": 37_760_640,
    "whisper-large-v3": 1_543_490_560,
    "vit-base-patch16-224": 86_567_656,
}

# The same way, from the configurations that the PyPI package aiconfigurator-core 0.12.0 carries; the fields in which
# each differs from a built-in one.
RELATIVES: dict[str, tuple[str, dict[str, Any], int]] = {
    "Qwen3-0.6B": ("qwen3-8b", {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16,
        "num_hidden_layers": 28, "tie_word_embeddings": True}, 596_049_920),
    "Qwen3-32B": ("qwen3-8b", {"hidden_size": 5120, "intermediate_size": 25600, "num_attention_heads": 64,
        "num_hidden_layers": 64}, 32_762_123_264),
    "Qwen3-235B-A22B": ("qwen3-30b-a3b", {"hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 64,
        "num_hidden_layers": 94, "moe_intermediate_size": 1536}, 235_093_634_560),
    "Kimi-K2-Instruct": ("deepseek-v3", {"model_type": "kimi_k2", "first_k_dense_replace": 1, "n_routed_experts": 384,
        "num_attention_heads": 64, "num_key_value_heads": 64, "vocab_size": 163840}, 1_026_408_209_408 + 60 * 384),
    "Meta-Llama-3.1-405B": ("llama3-70b", {"hidden_size": 16384, "intermediate_size": 53248,
        "num_attention_heads": 128, "num_hidden_layers": 126}, 405_853_388_800),
    "Mixtral-8x22B-v0.1": ("mixtral-8x7b", {"hidden_size": 6144, "intermediate_size": 16384, "num_attention_heads": 48,
        "num_hidden_layers": 56}, 140_620_634_112),
    "t5-small": ("t5-base", {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": 6,
        "num_heads": 8}, 60_506_624),
    "whisper-medium": ("whisper-tiny", {"d_model": 1024, "encoder_layers": 24, "decoder_layers": 24,
        "encoder_attention_heads": 16, "decoder_attention_heads": 16, "encoder_ffn_dim": 4096,
        "decoder_ffn_dim": 4096}, 763_857_920),
    "vit-base-patch16-224-in21k": ("vit-base-patch16-224", {"architectures": ["ViTModel"]}, 86_389_248),
}  # fmt: skip

# Small ones with every option turned, counted by transformers 5.24.0 in the same way.
_SMALL = {"hidden_size": 16, "num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": 2}
_LATENT = {"kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "n_routed_experts": 4,
           "num_experts_per_tok": 2, "moe_intermediate_size": 11}  # fmt: skip
SMALL: list[tuple[str, dict[str, Any], int]] = [
    ("qwen2_moe", _SMALL | {"vocab_size": 99, "intermediate_size": 40, "num_hidden_layers": 7, "num_experts": 5,
        "tie_word_embeddings": True, "decoder_sparse_step": 2, "moe_intermediate_size": 12, "mlp_only_layers": [0],
        "shared_expert_intermediate_size": 20, "num_experts_per_tok": 2}, 28_816),
    ("qwen2_moe", _SMALL | {"vocab_size": 50, "intermediate_size": 40, "mlp_only_layers": [0], "num_experts": 2,
        "moe_intermediate_size": 12, "shared_expert_intermediate_size": 20, "num_experts_per_tok": 2}, 7_904),
    ("qwen3_moe", _SMALL | {"vocab_size": 50, "intermediate_size": 24, "num_hidden_layers": 3, "attention_bias": True,
        "decoder_sparse_step": 2, "moe_intermediate_size": 12, "num_experts_per_tok": 2, "num_local_experts": 2,
        "mlp_only_layers": [0], "head_dim": 8}, 6_904),
    ("deepseek_v2", _SMALL | _LATENT | {"vocab_size": 99, "intermediate_size": 24, "num_hidden_layers": 3,
        "attention_bias": True, "first_k_dense_replace": 1, "q_lora_rank": 12, "n_shared_experts": 1}, 12_210),
    ("deepseek_v2", _SMALL | _LATENT | {"vocab_size": 50, "intermediate_size": 40, "num_hidden_layers": 7,
        "first_k_dense_replace": 1, "q_lora_rank": None, "n_shared_experts": 2}, 27_240),
    ("deepseek_v3", _LATENT | {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50,
        "num_hidden_layers": 2, "intermediate_size": 24, "first_k_dense_replace": 1, "q_lora_rank": None,
        "n_shared_experts": 1}, 32_520),
    ("llama4_text", _SMALL | {"vocab_size": 50, "intermediate_size": 24, "intermediate_size_mlp": 33, "head_dim": 16,
        "num_hidden_layers": 7, "num_local_experts": 3, "interleave_moe_layer_step": 2}, 29_312),
    ("t5", {"vocab_size": 70, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 3, "num_decoder_layers": 2,
        "num_heads": 2, "feed_forward_proj": "gated-gelu"}, 27_296),
    ("whisper", {"vocab_size": 99, "num_mel_bins": 20, "encoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 24, "encoder_ffn_dim": 40, "d_model": 32,
        "max_source_positions": 30, "max_target_positions": 20}, 54_360),
]  # fmt: skip


def n_parameters(text: str) -> int:
    return sum(prod(shape) for _, shape in weight_shapes(read_config(text, "x")))


def build(name: str, phase: str = "decode", batch: int = 1, context: int | None = 64, **fields: Any) -> Graph:
    config = json.loads(load(name))
    config |= fields
    return model_graph(read_config(json.dumps(config), name), phase=phase, batch=batch, context=context, dtype="bf16")


def op_of(graph: Graph, name: str) -> Op:
    return next(op for op in graph.ops if op.name == name)


def states(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in graph.tensors if tensor.kind is TensorKind.STATE}


@pytest.mark.parametrize(("name", "count"), COUNTED.items())
def test_parameters_are_those_that_transformers_counts(name: str, count: int) -> None:
    assert n_parameters(load(name)) == count


@pytest.mark.parametrize("name", RELATIVES)
def test_relatives_of_the_builtins_have_their_counts(name: str) -> None:
    base, fields, count = RELATIVES[name]
    assert n_parameters(json.dumps(json.loads(load(base)) | fields)) == count


@pytest.mark.parametrize(("family", "fields", "count"), SMALL)
def test_small_models_have_the_counts_of_transformers(family: str, fields: dict[str, Any], count: int) -> None:
    assert n_parameters(json.dumps({"model_type": family, **fields})) == count


@pytest.mark.parametrize("name", sorted(COUNTED))
@pytest.mark.parametrize("phase", ["decode", "prefill", "train"])
def test_every_family_makes_a_sound_graph_in_every_phase(name: str, phase: str) -> None:
    context = None if name.startswith("vit") else 64
    if name.startswith("vit") and phase == "decode":
        return
    graph = build(name, phase, batch=2, context=context)
    assert graph.n_parameters == COUNTED[name]
    read = {access.tensor for op in graph.ops for access in op.reads}
    written = {access.tensor for op in graph.ops for access in op.writes}
    sizes = {tensor.name: tensor.size for tensor in graph.tensors}
    decoder = phase == "decode" and name.startswith(("t5", "flan", "whisper"))
    for tensor in graph.tensors:
        if tensor.kind in (TensorKind.WEIGHT, TensorKind.INPUT, TensorKind.ACTIVATION):
            assert tensor.name in read or (decoder and "enc" in tensor.name.lower()), f"{tensor.name} is never read"
        if tensor.kind in (TensorKind.OUTPUT, TensorKind.STATE):
            assert tensor.name in written or (decoder and "cache" in tensor.name), f"{tensor.name} is never written"
    for op in graph.ops:
        names = [access.tensor for access in op.reads]
        assert len(names) == len(set(names)), op.name
        assert all(access.bytes <= sizes[access.tensor] for access in (*op.reads, *op.writes)), op.name


@pytest.mark.parametrize("name", ["qwen3-8b", "gemma3-4b", "deepseek-v2-lite", "llama4-scout", "t5-base"])
def test_a_training_step_costs_three_forward_passes_and_the_scores_once_more(name: str) -> None:
    train = build(name, "train", context=32)
    forward = sum(op.matrix_ops for op in train.ops if not op.name.endswith((".grad", ".grad_weight", ".grad_input")))
    backward = sum(op.matrix_ops for op in train.ops) - forward
    scores = sum(op.matrix_ops for op in train.ops if op.kind.endswith("attention"))
    assert backward == 2 * (forward - scores) + scores * 5 // 2


def test_gemma_windows_bound_the_caches_of_their_layers() -> None:
    rows = {name: shape[2] for name, shape in states(build("gemma2-9b", context=8192)).items()}
    assert [rows[f"model.layers.{layer}.k_cache"] for layer in range(4)] == [4096, 8192, 4096, 8192]
    rows = {name: shape[2] for name, shape in states(build("gemma3-4b", context=5000)).items()}
    assert [layer for layer in range(34) if rows[f"model.layers.{layer}.v_cache"] == 5000] == [5, 11, 17, 23, 29]
    assert set(rows.values()) == {1024, 5000}
    prefill = build("gemma3-4b", "prefill", context=5000)
    assert op_of(prefill, "model.layers.0.attention").attributes["scores"] == causal_scores(5000, 1024)
    assert op_of(prefill, "model.layers.5.attention").attributes["scores"] == causal_scores(5000, None)


def test_gemma_normalises_before_and_after_each_part() -> None:
    graph = build("gemma2-9b")
    reads = [access.tensor for access in op_of(graph, "model.layers.0.add").reads]
    assert reads == ["model.layers.0.attention.add.output", "model.layers.0.post_feedforward_layernorm.output"]
    capped, free = (build("gemma2-9b", attn_logit_softcapping=cap) for cap in (50.0, None))
    name = "model.layers.1.attention"
    assert op_of(capped, name).vector_ops - op_of(free, name).vector_ops == 3 * 16 * 64


def test_qwen_windows_begin_at_the_layer_that_the_configuration_names() -> None:
    fields = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 3}
    rows = [shape[2] for name, shape in states(build("qwen3-8b", **fields)).items() if name.endswith("k_cache")]
    assert rows == [64] * 3 + [32] * 33
    listed = ["sliding_attention"] + ["full_attention"] * 35
    rows = [shape[2] for shape in states(build("qwen3-8b", **fields, layer_types=listed)).values()]
    assert rows == [32] * 2 + [64] * 70
    assert set(states(build("qwen3-8b", sliding_window=32)).values()) == {(1, 8, 64, 128)}


def test_llama_4_attends_in_chunks_but_for_every_fourth_layer() -> None:
    graph = build("llama4-scout", "prefill", context=20_000)
    assert op_of(graph, "model.layers.0.attention").attributes["scores"] == chunked_scores(20_000, 8192)
    assert op_of(graph, "model.layers.3.attention").attributes["scores"] == causal_scores(20_000, None)
    assert states(graph)["model.layers.0.k_cache"] == (1, 8, 8192, 128)
    assert states(graph)["model.layers.3.k_cache"] == (1, 8, 20_000, 128)
    names = {op.name for op in graph.ops}
    assert "model.layers.0.rotary" in names
    assert "model.layers.3.rotary" not in names
    assert "model.layers.3.self_attn.q_norm" not in names
    assert chunked_scores(10, 4) == sum(1 for i in range(10) for j in range(i + 1) if i // 4 == j // 4)


def test_latent_attention_caches_one_compressed_row_per_token() -> None:
    decode = build("deepseek-v3", batch=3, context=100)
    assert set(states(decode).values()) == {(3, 100, 512 + 64)}
    prefix = "model.layers.7"
    attention = op_of(decode, f"{prefix}.attention")
    assert attention.matrix_ops == 2 * 3 * 128 * 100 * (576 + 512)
    assert attention.reads[-1].bytes == decode.tensor(f"{prefix}.kv_cache").size == 3 * 100 * 576 * 2
    keys, values = (op_of(decode, f"{prefix}.self_attn.kv_b_proj.{half}") for half in ("keys", "values"))
    assert keys.reads[1].bytes + values.reads[1].bytes == 512 * 128 * (128 + 128) * 2
    assert keys.matrix_ops == 2 * 3 * 128 * 128 * 512
    prefill = build("deepseek-v3", "prefill", context=100)
    assert op_of(prefill, f"{prefix}.attention").matrix_ops == 2 * 128 * (100 * 101 // 2) * (192 + 128)
    assert states(prefill) == {name: (1, *shape[1:]) for name, shape in states(decode).items()}


def test_experts_of_a_layer_are_one_stack_of_which_the_expected_share_is_read() -> None:
    graph = build("deepseek-v3", batch=4)
    shapes = dict(weight_shapes(read_config(load("deepseek-v3"), "x")))
    assert shapes["model.layers.2.mlp.up_proj.weight"] == (18432, 7168)
    assert "model.layers.2.mlp.gate.weight" not in shapes
    assert shapes["model.layers.3.mlp.experts.gate_up_proj"] == (256, 4096, 7168)
    assert shapes["model.layers.3.mlp.shared_experts.down_proj.weight"] == (7168, 2048)
    down = op_of(graph, "model.layers.3.mlp.experts.down_proj")
    assert down.matrix_ops == 2 * 4 * 8 * 2048 * 7168
    assert down.reads[2].bytes == round(chance_of_use(256, 8, 4) * 256 * 2048 * 7168 * 2)
    shared = op_of(build("qwen3-30b-a3b"), "model.layers.0.mlp.combine")
    assert (shared.kind, len(shared.reads)) == ("weighted_sum", 2)


def test_a_decoder_attends_to_its_own_cache_and_to_the_input() -> None:
    decode = build("whisper-tiny", batch=2, context=100)
    assert states(decode)["model.decoder.layers.0.self_attn.k_cache"] == (2, 6, 100, 64)
    assert states(decode)["model.decoder.layers.0.encoder_attn.v_cache"] == (2, 6, 1500, 64)
    assert op_of(decode, "model.decoder.layers.0.encoder_attn.attention").matrix_ops == 4 * 2 * 6 * 1500 * 64
    assert op_of(decode, "model.decoder.layers.0.self_attn.attention").matrix_ops == 4 * 2 * 6 * 100 * 64
    assert not any(op.name.startswith("model.encoder") for op in decode.ops)
    assert decode.tokens == 2
    prefill = build("whisper-tiny", "prefill", batch=2, context=100)
    assert op_of(prefill, "model.encoder.conv1").matrix_ops == 2 * 2 * 3000 * 3 * 80 * 384
    assert op_of(prefill, "model.encoder.conv2").matrix_ops == 2 * 2 * 1500 * 3 * 384 * 384
    assert op_of(prefill, "model.encoder.layers.0.self_attn.attention").matrix_ops == 4 * 2 * 6 * 1500 * 1500 * 64
    filled = op_of(prefill, "model.decoder.layers.0.encoder_attn.cache_append")
    assert [access.bytes for access in filled.writes] == [2 * 6 * 1500 * 64 * 2] * 2


def test_t5_reads_its_relative_positions_in_every_attention_to_itself() -> None:
    prefill = build("t5-base", "prefill", context=128)
    table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    biased = [op for op in prefill.ops if op.kind == "biased_attention"]
    assert len(biased) == 24
    assert sum(1 for op in biased if op.reads[3].tensor == table) == 12
    assert op_of(prefill, "encoder.embed").reads[1].bytes == 128 * 768 * 2


def test_vit_reads_images_in_patches() -> None:
    graph = build("vit-base-patch16-224", "prefill", batch=2, context=None)
    assert graph.tensor("pixel_values").shape == (2, 196, 768)
    assert op_of(graph, "vit.encoder.layer.0.attention").matrix_ops == 4 * 2 * 12 * 197 * 197 * 64
    assert graph.tensor("logits").shape == (2, 1000)
    with pytest.raises(InvalidInputError, match="197 tokens each; leave the context out"):
        build("vit-base-patch16-224", "prefill", context=64)
    with pytest.raises(InvalidInputError, match="reads all of its input at once"):
        build("vit-base-patch16-224", "decode", context=None)


@pytest.mark.parametrize(
    ("name", "fields", "part"),
    [
        ("gemma2-9b", {"layer_types": ["full_attention"]}, "has 1 entries for 42 layers"),
        ("gemma2-9b", {"layer_types": ["linear_attention"] * 42}, "'linear_attention'; supported: full_attention"),
        ("gemma2-9b", {"attn_logit_softcapping": -1}, "write a number above 0"),
        ("gemma3-4b", {"text_config": 3}, "'text_config' is not an object"),
        ("gemma3-4b", {"text_config": {"num_key_value_heads": 3}}, "text_config: 'num_key_value_heads' is 3"),
        ("gemma3-4b", {"text_config": {"num_hiden_layers": 3}}, "did you mean 'num_hidden_layers'"),
        ("qwen3-30b-a3b", {"mlp_only_layers": [True]}, "write indices of layers"),
        ("qwen3-30b-a3b", {"num_experts_per_tok": 129}, "there are only 128 experts"),
        ("deepseek-v3", {"kv_lora_rank": None}, "'kv_lora_rank' is missing"),
        ("deepseek-v3", {"qk_rope_head_dim": 63}, "even number of rotary dimensions"),
        ("deepseek-v3", {"v_head_dim": 10**6}, "value of a latent attention is 1000000"),
        ("llama4-scout", {"text_config": {"num_local_experts": 0}}, "text_config: 'num_local_experts' is 0"),
        ("t5-base", {"feed_forward_proj": "gated-gilu"}, "did you mean"),
        ("t5-base", {"num_layers": 10**8}, "absurd"),
        ("whisper-tiny", {"encoder_attention_heads": 7}, "not a multiple of the 7"),
        ("vit-base-patch16-224", {"patch_size": 15}, "not cut into patches of 15"),
    ],
)
def test_impossible_values_are_refused(name: str, fields: dict[str, Any], part: str) -> None:
    config = json.loads(load(name))
    for key, value in fields.items():
        both = isinstance(value, dict) and isinstance(config.get(key), dict)
        config[key] = config[key] | value if both else value
    if fields == {"text_config": {"num_hiden_layers": 3}}:
        del config["text_config"]["num_hidden_layers"]
    with pytest.raises(InvalidInputError) as caught:
        read_config(json.dumps(config), "some/config.json")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_family_says_which_are_known_and_how_to_add_one() -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_config('{"model_type": "qwen4"}', "some/config.json")
    assert "the architecture 'qwen4' is not supported (did you mean 'qwen" in str(caught.value)
    assert all(family in str(caught.value) for family in READERS)
    assert str(caught.value).endswith("docs/frontends.md says how to add one")
    nameless = {key: value for key, value in json.loads(load("qwen3-30b-a3b")).items() if key != "model_type"}
    assert read_config(json.dumps(nameless), "x").family == "qwen3_moe"
