"""The operations of language models, by kind, and the function that lowers each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_attention import (
    lower_attention,
    lower_attention_grad,
    lower_cache_append,
    lower_rotary,
    lower_rotary_grad,
)
from tierplan.einsum.lower_latent import (
    lower_expanded_attention,
    lower_head_matmul,
    lower_latent_append,
    lower_latent_attention,
)
from tierplan.einsum.lower_layers import (
    lower_activation,
    lower_activation_grad,
    lower_add,
    lower_add_positions,
    lower_add_positions_grad,
    lower_embedding,
    lower_embedding_grad,
)
from tierplan.einsum.lower_matmul import lower_matmul
from tierplan.einsum.lower_norm import (
    lower_layer_norm,
    lower_layer_norm_grad,
    lower_rms_norm,
    lower_rms_norm_grad,
)
from tierplan.einsum.lower_routing import (
    lower_combine,
    lower_combine_grad,
    lower_dispatch,
    lower_dispatch_grad,
    lower_top_k,
    lower_top_k_grad,
)
from tierplan.einsum.lower_stacked import (
    lower_conv1d,
    lower_expert_matmul,
    lower_gate_rows,
    lower_gated_halves,
    lower_prepend_and_add,
    lower_weighted_sum,
)
from tierplan.einsum.lower_training import (
    lower_adamw,
    lower_cross_entropy,
    lower_cross_entropy_grad,
    lower_loss,
    lower_loss_grad,
)
from tierplan.ir.graph import Op, Tensor

Lowering = Callable[[Op, Mapping[str, Tensor]], Cascade]

_ACTIVATIONS = ("relu", "relu2", "tanh", "sigmoid", "silu", "gelu")

MODEL: Mapping[str, Lowering] = {
    "matmul": lower_matmul,
    "rms_norm": lower_rms_norm,
    "rms_norm_grad": lower_rms_norm_grad,
    "layer_norm": lower_layer_norm,
    "layer_norm_grad": lower_layer_norm_grad,
    "attention": lower_attention,
    "attention_grad": lower_attention_grad,
    "rotary": lower_rotary,
    "rotary_grad": lower_rotary_grad,
    "cache_append": lower_cache_append,
    "embedding": lower_embedding,
    "embedding_grad": lower_embedding_grad,
    "add_positions": lower_add_positions,
    "add_positions_grad": lower_add_positions_grad,
    "add": lower_add,
    **{f"{name}{gate}": lower_activation for name in _ACTIVATIONS for gate in ("", "_mul")},
    **{f"{name}{gate}_grad": lower_activation_grad for name in _ACTIVATIONS for gate in ("", "_mul")},
    "expanded_attention": lower_expanded_attention,
    "latent_attention": lower_latent_attention,
    "latent_append": lower_latent_append,
    "head_matmul": lower_head_matmul,
    "expert_matmul": lower_expert_matmul,
    "weighted_sum": lower_weighted_sum,
    "gated_halves": lower_gated_halves,
    "gate_rows": lower_gate_rows,
    "conv1d": lower_conv1d,
    "prepend_and_add": lower_prepend_and_add,
    "top_k": lower_top_k,
    "top_k_grad": lower_top_k_grad,
    "dispatch": lower_dispatch,
    "dispatch_grad": lower_dispatch_grad,
    "combine": lower_combine,
    "combine_grad": lower_combine_grad,
    "cross_entropy": lower_cross_entropy,
    "cross_entropy_grad": lower_cross_entropy_grad,
    "loss": lower_loss,
    "loss_grad": lower_loss_grad,
    "adamw": lower_adamw,
}
"""How each kind of operation of a language model is lowered."""
