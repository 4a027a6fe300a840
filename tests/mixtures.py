"""A mixture of experts that is small enough for tests, and a machine with two tiers on which it does not fit whole."""

import json
from typing import Any

from tierplan.frontend.config import read_config
from tierplan.frontend.transformer import language_model
from tierplan.ir.graph import Graph
from tierplan.ir.machine import Link, Machine, Tier, Unit

N_LAYERS, N_EXPERTS, TOP_K = 3, 4, 2
CONFIG: dict[str, Any] = {
    "model_type": "mixtral", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": N_EXPERTS, "num_experts_per_tok": TOP_K,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip
EXPERT = 3 * 32 * 64 * 2


def graph(*, phase: str = "decode", batch: int = 1, context: int = 8, **changes: object) -> Graph:
    arch = read_config(json.dumps(CONFIG | changes), "small")
    return language_model(arch, phase=phase, batch=batch, context=context, dtype=None)


def machine(near: int = 100_000, far: int = 1_000_000) -> Machine:
    """`near` at 10 GB/s and `far`, which operations read over a link of 1 GB/s."""
    unit = Unit("unit", {"bfloat16": 1e12})
    tiers = (
        Tier("near", near, 10e9, 10e9, alignment=8),
        Tier("far", far, 2e9, 2e9, read_link="up", write_link="down"),
    )
    links = (Link("up", "far", "near", 1e9), Link("down", "near", "far", 1e9))
    return Machine("two", unit, unit, tiers, links, "far")
