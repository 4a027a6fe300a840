"""Gemma 1, 2 and 3 (of the last, the language model alone).

Source: GemmaConfig, Gemma2Config and Gemma3TextConfig of the transformers library.
"""

from dataclasses import replace

from tierplan.frontend import values
from tierplan.frontend.architecture import Architecture, Block
from tierplan.frontend.fields import Fields
from tierplan.frontend.gated import gated

_GELU = "gelu_pytorch_tanh"
_GEMMA3_DEFAULTS = {
    "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8,
}  # fmt: skip
"""Sizes that a gemma 3 with a vision tower leaves out of its `text_config` where they are these."""


def gemma(fields: Fields) -> Architecture:
    """Gemma 1: heads wider than their share, a gelu gate, a tied head."""
    activation = _activation(fields)
    return gated(
        fields, family="gemma", kv_default=16, positions=8192, biases=True, head_default=256, tied=True,
        activation=activation,
    )  # fmt: skip


def gemma2(fields: Fields) -> Architecture:
    """Gemma 2: norms before and after each part; every other layer has a window."""
    arch = gated(
        fields, family="gemma2", kv_default=4, positions=8192, biases=True, head_default=256, tied=True,
        activation=_activation(fields),
    )  # fmt: skip
    full = values.full_layers(fields, arch.n_layers, lambda layer: layer % 2 == 1)
    cap = fields.number("attn_logit_softcapping")
    window = values.window(fields, 4096)
    return replace(arch, block=Block.SANDWICH, sliding_window=window, full_layers=full, score_cap=cap)


def gemma3(fields: Fields) -> Architecture:
    """Gemma 3: norms on queries and keys; every sixth layer attends to everything, the others have a window."""
    arch = gated(
        fields, family="gemma3_text", kv_default=4, positions=131072, biases=True, head_default=256, tied=True,
        activation=_activation(fields),
    )  # fmt: skip
    period = fields.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    full = values.full_layers(fields, arch.n_layers, lambda layer: (layer + 1) % period == 0)
    window, cap = values.window(fields, 4096), fields.number("attn_logit_softcapping")
    return replace(
        arch, block=Block.SANDWICH, qk_norm=True, sliding_window=window, full_layers=full, score_cap=cap
    )  # fmt: skip


def gemma3_with_vision(fields: Fields) -> Architecture:
    """The language model of a gemma 3 that sees images."""
    text = fields.inner("text_config", ("torch_dtype", "dtype"))
    arch = gemma3(replace(text, values={**_GEMMA3_DEFAULTS, **text.values}))
    text.check_spelling()
    return arch


def _activation(fields: Fields) -> tuple[str, str]:
    """Gemma's configurations say `gelu` for what is its tanh form, under one name or the other."""
    name = "hidden_activation" if fields.found("hidden_activation") else "hidden_act"
    return name, _GELU
