"""Weights by name and shape, as they stand in the checkpoints."""

import json

import pytest
from config_oracle import parameters
from config_strategies import Config, configs
from hypothesis import given, settings

from tierplan.frontend.config import read_config
from tierplan.frontend.weights import weights
from tierplan.models import load


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    return dict(weights(read_config(load(name), name)).shapes())


# One layer and the ends of a checkpoint of each family, as its index lists them.
CHECKPOINTS = {
    "llama2-70b": {
        "model.embed_tokens.weight": (32000, 8192),
        "model.layers.79.self_attn.q_proj.weight": (8192, 8192),
        "model.layers.79.self_attn.k_proj.weight": (1024, 8192),
        "model.layers.79.self_attn.v_proj.weight": (1024, 8192),
        "model.layers.79.self_attn.o_proj.weight": (8192, 8192),
        "model.layers.79.mlp.gate_proj.weight": (28672, 8192),
        "model.layers.79.mlp.up_proj.weight": (28672, 8192),
        "model.layers.79.mlp.down_proj.weight": (8192, 28672),
        "model.layers.79.input_layernorm.weight": (8192,),
        "model.layers.79.post_attention_layernorm.weight": (8192,),
        "model.norm.weight": (8192,),
        "lm_head.weight": (32000, 8192),
    },
    "mixtral-8x7b": {
        "model.layers.31.block_sparse_moe.gate.weight": (8, 4096),
        "model.layers.31.block_sparse_moe.experts.7.w1.weight": (14336, 4096),
        "model.layers.31.block_sparse_moe.experts.7.w2.weight": (4096, 14336),
        "model.layers.31.block_sparse_moe.experts.7.w3.weight": (14336, 4096),
    },
    "opt-6.7b": {
        "model.decoder.embed_tokens.weight": (50272, 4096),
        "model.decoder.embed_positions.weight": (2050, 4096),
        "model.decoder.layers.31.self_attn.k_proj.weight": (4096, 4096),
        "model.decoder.layers.31.self_attn.k_proj.bias": (4096,),
        "model.decoder.layers.31.self_attn.out_proj.bias": (4096,),
        "model.decoder.layers.31.self_attn_layer_norm.bias": (4096,),
        "model.decoder.layers.31.fc1.weight": (16384, 4096),
        "model.decoder.layers.31.fc2.bias": (4096,),
        "model.decoder.layers.31.final_layer_norm.weight": (4096,),
        "model.decoder.final_layer_norm.weight": (4096,),
    },
    "opt-350m": {
        "model.decoder.embed_tokens.weight": (50272, 512),
        "model.decoder.project_in.weight": (1024, 512),
        "model.decoder.project_out.weight": (512, 1024),
    },
    "falcon-7b": {
        "transformer.word_embeddings.weight": (65024, 4544),
        "transformer.h.31.input_layernorm.bias": (4544,),
        "transformer.h.31.self_attention.query_key_value.weight": (4672, 4544),
        "transformer.h.31.self_attention.dense.weight": (4544, 4544),
        "transformer.h.31.mlp.dense_h_to_4h.weight": (18176, 4544),
        "transformer.h.31.mlp.dense_4h_to_h.weight": (4544, 18176),
        "transformer.ln_f.weight": (4544,),
    },
    "falcon-40b": {
        "transformer.h.59.ln_attn.weight": (8192,),
        "transformer.h.59.ln_mlp.bias": (8192,),
        "transformer.h.59.self_attention.query_key_value.weight": (9216, 8192),
    },
    "phi-2": {
        "model.layers.31.self_attn.dense.bias": (2560,),
        "model.layers.31.mlp.fc1.weight": (10240, 2560),
        "model.final_layernorm.bias": (2560,),
        "lm_head.bias": (51200,),
    },
    "gpt2": {
        "transformer.wte.weight": (50257, 768),
        "transformer.wpe.weight": (1024, 768),
        "transformer.h.11.attn.c_attn.weight": (768, 2304),
        "transformer.h.11.mlp.c_fc.weight": (768, 3072),
        "transformer.h.11.mlp.c_proj.weight": (3072, 768),
        "transformer.ln_f.bias": (768,),
    },
    "bert-base-uncased": {
        "bert.embeddings.token_type_embeddings.weight": (2, 768),
        "bert.embeddings.LayerNorm.weight": (768,),
        "bert.encoder.layer.11.attention.self.query.bias": (768,),
        "bert.encoder.layer.11.attention.output.LayerNorm.bias": (768,),
        "bert.encoder.layer.11.intermediate.dense.weight": (3072, 768),
        "bert.encoder.layer.11.output.dense.weight": (768, 3072),
        "bert.pooler.dense.weight": (768, 768),
    },
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_names_and_shapes_are_those_of_the_checkpoint(name: str) -> None:
    assert CHECKPOINTS[name].items() <= shapes(name).items()


def test_how_many_tensors_a_checkpoint_has() -> None:
    assert len(shapes("llama2-7b")) == 32 * 9 + 3
    assert len(shapes("mixtral-8x7b")) == 32 * (6 + 1 + 24) + 3
    assert len(shapes("gpt2")) == 12 * 12 + 4
    assert len(shapes("opt-6.7b")) == 32 * 16 + 4
    assert len(shapes("falcon-7b")) == 32 * 6 + 3
    assert len(shapes("phi-2")) == 32 * 14 + 5
    assert len(shapes("bert-base-uncased")) == 12 * 16 + 5 + 2


def test_a_tied_head_and_a_missing_norm_have_no_weights() -> None:
    assert "lm_head.weight" not in shapes("gpt2")
    assert "lm_head.weight" not in shapes("falcon-40b")
    assert "model.decoder.final_layer_norm.weight" not in shapes("opt-350m")
    assert "transformer.h.0.post_attention_layernorm.weight" not in shapes("falcon-7b")


@settings(deadline=None)
@given(configs())
def test_parameters_equal_the_closed_formula(config: Config) -> None:
    tensors = weights(read_config(json.dumps(config), "random")).tensors("float32")
    assert len({tensor.name for tensor in tensors}) == len(tensors)
    assert sum(tensor.n_elements for tensor in tensors) == parameters(config)
