"""Qwen 2 and 3, dense and with experts.

Source: Qwen2Config, Qwen2MoeConfig, Qwen3Config and Qwen3MoeConfig of the transformers library.
"""

from dataclasses import replace

from tierplan.frontend import values
from tierplan.frontend.architecture import Architecture, Experts
from tierplan.frontend.fields import Fields
from tierplan.frontend.gated import gated


def qwen2(fields: Fields) -> Architecture:
    """Qwen 2 and 2.5: biases on queries, keys and values."""
    arch = gated(fields, family="qwen2", kv_default=32, positions=32768)
    return _windowed(fields, replace(arch, qkv_bias=True))


def qwen2_moe(fields: Fields) -> Architecture:
    """Qwen 1.5 and 2 with experts, and one that all tokens use, behind a gate."""
    arch = gated(fields, family="qwen2_moe", kv_default=16, positions=32768)
    arch = replace(arch, qkv_bias=fields.flag("qkv_bias", True))
    shared = fields.count("shared_expert_intermediate_size", default=5632)
    return _windowed(fields, replace(arch, experts=_experts(fields, arch, (60, 4), shared)))


def qwen3(fields: Fields) -> Architecture:
    """Qwen 3: norms on queries and keys."""
    arch = gated(fields, family="qwen3", kv_default=32, positions=32768, biases=True, head_default=128)
    return _windowed(fields, replace(arch, qk_norm=True, mlp_bias=False))


def qwen3_moe(fields: Fields) -> Architecture:
    """Qwen 3 with experts; none is shared."""
    arch = gated(fields, family="qwen3_moe", kv_default=4, positions=32768, biases=True)
    arch = replace(arch, qk_norm=True, mlp_bias=False)
    return _windowed(fields, replace(arch, experts=_experts(fields, arch, (128, 8), 0)))


def _experts(fields: Fields, arch: Architecture, defaults: tuple[int, int], shared: int) -> Experts:
    """Every `decoder_sparse_step`-th layer has experts, but for the `mlp_only_layers`."""
    n_experts = fields.count("num_experts", "num_local_experts", default=defaults[0])
    step = fields.count("decoder_sparse_step", default=1)
    dense = values.layer_list(fields, "mlp_only_layers") or frozenset()
    return Experts(
        n=n_experts,
        per_token=values.experts_per_token(fields, n_experts, defaults[1]),
        ffn=fields.count("moe_intermediate_size"),
        layers=frozenset(i for i in range(arch.n_layers) if i not in dense and (i + 1) % step == 0),
        shared=shared,
        shared_gate=bool(shared),
    )


def _windowed(fields: Fields, arch: Architecture) -> Architecture:
    """Where the window is used at all, the first `max_window_layers` attend to everything."""
    fields.asked.update(("sliding_window", "max_window_layers", "layer_types"))
    used = fields.flag("use_sliding_window", False)
    window = values.window(fields, 4096) if used else None
    if window is None:
        return arch
    first = fields.count("max_window_layers", default=28)
    full = values.full_layers(fields, arch.n_layers, lambda layer: layer < first)
    return replace(arch, sliding_window=window, full_layers=full)
