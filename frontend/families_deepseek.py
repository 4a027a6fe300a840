"""DeepSeek V2 and V3 (and Kimi K2, which is built like V3): latent attention, shared experts, first layers dense.

Source: DeepseekV2Config and DeepseekV3Config of the transformers library; DeepSeek-V2, 2024; DeepSeek-V3, 2024.
Assumes: the layers that predict a second token ahead take no part in decoding; they are left out.
"""

from dataclasses import replace

from tierplan.frontend import values
from tierplan.frontend.architecture import Architecture, Experts, Latent
from tierplan.frontend.fields import Fields
from tierplan.frontend.gated import gated


def deepseek_v2(fields: Fields) -> Architecture:
    """DeepSeek V2: each token uses the experts with the highest softmax."""
    return _deepseek(fields, "deepseek_v2", corrected=fields.string("topk_method") == "noaux_tc")


def deepseek_v3(fields: Fields) -> Architecture:
    """DeepSeek V3: a bias per expert, learnt for balance, takes part in the choice."""
    return _deepseek(fields, "deepseek_v3", corrected=fields.string("topk_method") in (None, "noaux_tc"))


def _deepseek(fields: Fields, family: str, *, corrected: bool) -> Architecture:
    latent = Latent(
        query_rank=_query_rank(fields),
        kv_rank=fields.count("kv_lora_rank"),
        plain=fields.count("qk_nope_head_dim"),
        rotary=fields.count("qk_rope_head_dim"),
        value=fields.count("v_head_dim"),
    )
    fields = replace(fields, values={**fields.values, "head_dim": latent.rotary, "partial_rotary_factor": None})
    arch = gated(fields, family=family, kv_default=None, positions=4096, biases=True)
    return replace(
        arch, n_kv_heads=arch.n_heads, head_dim=latent.key, rotary_dims=latent.rotary, latent=latent,
        experts=_experts(fields, arch.n_layers, corrected=corrected),
    )  # fmt: skip


def _query_rank(fields: Fields) -> int:
    fields.asked.add("q_lora_rank")
    if "q_lora_rank" in fields.values and fields.values["q_lora_rank"] is None:
        return 0
    return fields.count("q_lora_rank")


def _experts(fields: Fields, n_layers: int, *, corrected: bool) -> Experts | None:
    n_experts = fields.optional_count("n_routed_experts", "num_local_experts")
    if n_experts is None:
        return None
    ffn = fields.count("moe_intermediate_size")
    first, step = _first_dense(fields), fields.count("moe_layer_freq", default=1)
    return Experts(
        n=n_experts,
        per_token=values.experts_per_token(fields, n_experts),
        ffn=ffn,
        layers=frozenset(i for i in range(n_layers) if i >= first and i % step == 0),
        shared=ffn * (fields.optional_count("n_shared_experts") or 0),
        corrected=corrected,
    )


def _first_dense(fields: Fields) -> int:
    fields.asked.add("first_k_dense_replace")
    value = fields.values.get("first_k_dense_replace")
    return 0 if value is None or (value == 0 and value is not False) else fields.count("first_k_dense_replace")
