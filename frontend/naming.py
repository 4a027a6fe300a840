"""What each family calls its parts in the checkpoints of the transformers library, and what a GGUF file calls them.

`{}` in the name of a layer stands for its index, and in the names of experts for the index of the expert.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class FeedForwardNames:
    """Names of the matrices of one feed-forward part; no gate where it is empty."""

    up: str
    down: str
    gate: str = ""


@dataclass(frozen=True, slots=True)
class LatentNames:
    """Names of the parts of a latent attention; `kv_b` is one matrix, or two: for keys and for values."""

    q_a: str = "self_attn.q_a_proj"
    q_a_norm: str = "self_attn.q_a_layernorm"
    q_b: str = "self_attn.q_b_proj"
    kv_a: str = "self_attn.kv_a_proj_with_mqa"
    kv_norm: str = "self_attn.kv_a_layernorm"
    kv_b: tuple[str, ...] = ("self_attn.kv_b_proj",)


@dataclass(frozen=True, slots=True)
class Names:
    """How a family calls its parts; those of a layer stand behind its prefix.

    `stack` names the matrices into which the experts of a layer are stacked: those before the activation, then the
    one after it. `transposed`: matrices are [inputs, outputs]; `stack_transposed`: those of a stack are.
    """

    layer: str
    tokens: str
    qkv: tuple[str, ...]
    out: str
    attention_norm: str
    mlp_norm: str
    mlp: FeedForwardNames
    final_norm: str = ""
    head: str = "lm_head"
    positions: str = ""
    token_types: str = ""
    embedding_norm: str = ""
    pooler: str = ""
    qk_norms: tuple[str, str] = ("self_attn.q_norm", "self_attn.k_norm")
    post_attention_norm: str = ""
    post_mlp_norm: str = ""
    two_norms: tuple[str, str] | None = None
    router: str = "mlp.gate"
    correction: str = "mlp.gate.e_score_correction_bias"
    expert: FeedForwardNames | None = None
    stack: tuple[str, ...] = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
    stack_transposed: bool = False
    shared: FeedForwardNames = FeedForwardNames(
        "mlp.shared_experts.up_proj", "mlp.shared_experts.down_proj", "mlp.shared_experts.gate_proj"
    )
    shared_gate: str = "mlp.shared_expert_gate"
    latent: LatentNames = field(default_factory=LatentNames)
    transposed: bool = False


_SPLIT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_GATED = FeedForwardNames("mlp.up_proj", "mlp.down_proj", "mlp.gate_proj")

_LLAMA = Names(
    "model.layers.{}", "model.embed_tokens.weight", _SPLIT, "self_attn.o_proj", "input_layernorm",
    "post_attention_layernorm", _GATED, "model.norm",
)  # fmt: skip

_GEMMA2 = replace(
    _LLAMA,
    post_attention_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    post_mlp_norm="post_feedforward_layernorm",
)

_SHARED_EXPERT = FeedForwardNames(
    "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj", "mlp.shared_expert.gate_proj"
)

NAMES: Mapping[str, Names] = MappingProxyType(
    {
        "llama": _LLAMA,
        "mistral": _LLAMA,
        "mixtral": replace(
            _LLAMA,
            router="block_sparse_moe.gate",
            expert=FeedForwardNames(
                "block_sparse_moe.experts.{}.w3", "block_sparse_moe.experts.{}.w2", "block_sparse_moe.experts.{}.w1"
            ),
        ),
        "gemma": _LLAMA,
        "gemma2": _GEMMA2,
        "gemma3_text": _GEMMA2,
        "qwen2": _LLAMA,
        "qwen2_moe": replace(_LLAMA, shared=_SHARED_EXPERT),
        "qwen3": _LLAMA,
        "qwen3_moe": _LLAMA,
        "deepseek_v2": _LLAMA,
        "deepseek_v3": _LLAMA,
        "llama4_text": replace(
            _LLAMA,
            mlp=FeedForwardNames("feed_forward.up_proj", "feed_forward.down_proj", "feed_forward.gate_proj"),
            router="feed_forward.router",
            stack=("feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"),
            stack_transposed=True,
            shared=FeedForwardNames(
                "feed_forward.shared_expert.up_proj",
                "feed_forward.shared_expert.down_proj",
                "feed_forward.shared_expert.gate_proj",
            ),
        ),
        "phi": Names(
            "model.layers.{}", "model.embed_tokens.weight", _SPLIT, "self_attn.dense", "input_layernorm",
            "", FeedForwardNames("mlp.fc1", "mlp.fc2"), "model.final_layernorm",
            qk_norms=("self_attn.q_layernorm", "self_attn.k_layernorm"),
        ),
        "opt": Names(
            "model.decoder.layers.{}", "model.decoder.embed_tokens.weight", _SPLIT, "self_attn.out_proj",
            "self_attn_layer_norm", "final_layer_norm", FeedForwardNames("fc1", "fc2"),
            "model.decoder.final_layer_norm", positions="model.decoder.embed_positions.weight",
        ),
        "falcon": Names(
            "transformer.h.{}", "transformer.word_embeddings.weight", ("self_attention.query_key_value",),
            "self_attention.dense", "input_layernorm", "post_attention_layernorm",
            FeedForwardNames("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), "transformer.ln_f",
            two_norms=("ln_attn", "ln_mlp"),
        ),
        "gpt2": Names(
            "transformer.h.{}", "transformer.wte.weight", ("attn.c_attn",), "attn.c_proj", "ln_1", "ln_2",
            FeedForwardNames("mlp.c_fc", "mlp.c_proj"), "transformer.ln_f", positions="transformer.wpe.weight",
            transposed=True,
        ),
        "bert": Names(
            "bert.encoder.layer.{}", "bert.embeddings.word_embeddings.weight",
            ("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense",
            "attention.output.LayerNorm", "output.LayerNorm",
            FeedForwardNames("intermediate.dense", "output.dense"),
            positions="bert.embeddings.position_embeddings.weight",
            token_types="bert.embeddings.token_type_embeddings.weight",
            embedding_norm="bert.embeddings.LayerNorm", pooler="bert.pooler.dense",
        ),
        "vit": Names(
            "vit.encoder.layer.{}", "vit.embeddings.patch_embeddings.projection",
            ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
            "attention.output.dense", "layernorm_before", "layernorm_after",
            FeedForwardNames("intermediate.dense", "output.dense"), "vit.layernorm",
            head="classifier", positions="vit.embeddings.position_embeddings", token_types="vit.embeddings.cls_token",
            pooler="vit.pooler.dense",
        ),
    }
)  # fmt: skip
"""Names in the checkpoints of the transformers library.

The experts of a layer that stand one by one in a checkpoint are stacked under the names that the library gives the
stacks in memory (version 5).
"""

GGUF = Names(
    "blk.{}", "token_embd.weight", ("attn_q", "attn_k", "attn_v"), "attn_output", "attn_norm", "ffn_norm",
    FeedForwardNames("ffn_up", "ffn_down", "ffn_gate"), "output_norm", head="output",
    positions="position_embd.weight", token_types="token_types.weight", embedding_norm="token_embd_norm",
    qk_norms=("attn_q_norm", "attn_k_norm"), post_attention_norm="post_attention_norm",
    post_mlp_norm="post_ffw_norm", router="ffn_gate_inp", correction="exp_probs_b.bias",
    stack=("ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"),
    shared=FeedForwardNames("ffn_up_shexp", "ffn_down_shexp", "ffn_gate_shexp"), shared_gate="ffn_gate_inp_shexp",
    latent=LatentNames("attn_q_a", "attn_q_a_norm", "attn_q_b", "attn_kv_a_mqa", "attn_kv_a_norm", ("attn_kv_b",)),
)  # fmt: skip
"""Names in GGUF files, the same for all families but for what `gguf_names` changes.

Source: the tensor names of llama.cpp's gguf-py, `constants.py`.
"""
