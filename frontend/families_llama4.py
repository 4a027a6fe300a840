"""Llama 4 (the language model alone): chunked attention, layers without positions, experts beside a shared one.

Source: Llama4TextConfig of the transformers library.
"""

from dataclasses import replace
from typing import cast

from tierplan.frontend import values
from tierplan.frontend.architecture import Architecture, Experts
from tierplan.frontend.fields import Fields
from tierplan.frontend.gated import gated

_PLAIN_EVERY = 4


def llama4_text(fields: Fields) -> Architecture:
    """Every fourth layer has no rotary positions and attends to everything; the others to their chunk."""
    arch = gated(fields, family="llama4_text", kv_default=8, positions=131072, biases=True)
    plain = _plain_layers(fields, arch.n_layers)
    return replace(
        arch,
        mlp_bias=False,
        ffn=fields.count("intermediate_size_mlp"),
        qk_norm=fields.flag("use_qk_norm", True),
        plain_layers=plain,
        sliding_window=fields.optional_count("attention_chunk_size"),
        full_layers=values.full_layers(fields, arch.n_layers, lambda layer: layer in plain),
        chunked=True,
        experts=_experts(fields, arch.n_layers),
    )


def llama4(fields: Fields) -> Architecture:
    """The language model of a llama 4 that sees images."""
    text = fields.inner("text_config", ("torch_dtype", "dtype"))
    arch = llama4_text(text)
    text.check_spelling()
    return arch


def _plain_layers(fields: Fields, n_layers: int) -> frozenset[int]:
    """Layers without rotary positions: `no_rope_layers` says 0 for each of them."""
    listed = fields.listed("no_rope_layers")
    if listed:
        if len(listed) < n_layers or any(entry not in (0, 1) for entry in listed):
            fields.fail("no_rope_layers", f"needs a 0 or a 1 for each of {n_layers} layers")
        return frozenset(layer for layer in range(n_layers) if not cast("list[int]", listed)[layer])
    every = fields.count("no_rope_layer_interval", default=_PLAIN_EVERY)
    return frozenset(layer for layer in range(n_layers) if (layer + 1) % every == 0)


def _experts(fields: Fields, n_layers: int) -> Experts:
    n_experts = fields.count("num_local_experts")
    ffn = fields.count("intermediate_size")
    step = fields.count("interleave_moe_layer_step", default=1)
    layers = values.layer_list(fields, "moe_layers")
    if layers is None:
        layers = frozenset(range(step - 1, n_layers, step))
    return Experts(n_experts, values.experts_per_token(fields, n_experts, 1), ffn, layers, shared=ffn)
