"""Random small Hugging Face configurations of each family, as dictionaries of their real fields."""

from typing import Any

from hypothesis import strategies as st

Config = dict[str, Any]

_SIZES = st.integers(1, 40)


@st.composite
def _heads(draw: st.DrawFn) -> tuple[int, int, int]:
    """Query heads, key-value heads, head dimension (a multiple of 4, so that half of it can rotate)."""
    kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return kv_heads * group, kv_heads, 4 * draw(st.integers(1, 4))


def _maybe(draw: st.DrawFn, config: Config, **choices: st.SearchStrategy[Any]) -> Config:
    """Add each field or leave it out."""
    return config | {name: draw(values) for name, values in choices.items() if draw(st.booleans())}


def _llama_base(draw: st.DrawFn, family: str) -> Config:
    heads, kv_heads, head_dim = draw(_heads())
    config: Config = {
        "model_type": family,
        "hidden_size": heads * head_dim,
        "intermediate_size": draw(_SIZES),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_key_value_heads": kv_heads,
        "vocab_size": draw(_SIZES),
    }
    if draw(st.booleans()):
        config |= {"head_dim": 4 * draw(st.integers(1, 4)), "hidden_size": draw(_SIZES)}
    return _maybe(draw, config, tie_word_embeddings=st.booleans())


@st.composite
def llama(draw: st.DrawFn) -> Config:
    return _maybe(draw, _llama_base(draw, "llama"), attention_bias=st.booleans(), mlp_bias=st.booleans())


@st.composite
def mistral(draw: st.DrawFn) -> Config:
    return _llama_base(draw, "mistral") | {"sliding_window": draw(st.none() | st.integers(1, 12))}


@st.composite
def mixtral(draw: st.DrawFn) -> Config:
    experts = draw(st.integers(1, 5))
    per_token = draw(st.integers(1, experts))
    return _llama_base(draw, "mixtral") | {"num_local_experts": experts, "num_experts_per_tok": per_token}


@st.composite
def opt(draw: st.DrawFn) -> Config:
    heads, _, head_dim = draw(_heads())
    config: Config = {
        "model_type": "opt",
        "hidden_size": heads * head_dim,
        "ffn_dim": draw(_SIZES),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "vocab_size": draw(_SIZES),
        "max_position_embeddings": draw(st.integers(16, 40)),
    }
    flags = ("tie_word_embeddings", "do_layer_norm_before", "enable_bias", "layer_norm_elementwise_affine")
    return _maybe(draw, config, word_embed_proj_dim=_SIZES, **{flag: st.booleans() for flag in flags})


@st.composite
def falcon(draw: st.DrawFn) -> Config:
    heads, kv_heads, head_dim = draw(_heads())
    config: Config = {
        "model_type": "falcon",
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "vocab_size": draw(_SIZES),
        "num_kv_heads": kv_heads,
    }
    flags = ("new_decoder_architecture", "multi_query", "parallel_attn", "bias", "alibi", "tie_word_embeddings")
    norms = st.sampled_from((1, 2))
    fields = {flag: st.booleans() for flag in flags}
    return _maybe(draw, config, ffn_hidden_size=_SIZES, num_ln_in_parallel_attn=norms, **fields)


@st.composite
def phi(draw: st.DrawFn) -> Config:
    heads, kv_heads, head_dim = draw(_heads())
    config: Config = {
        "model_type": "phi",
        "hidden_size": heads * head_dim,
        "intermediate_size": draw(_SIZES),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "vocab_size": draw(_SIZES),
    }
    flags = {"qk_layernorm": st.booleans(), "tie_word_embeddings": st.booleans()}
    return _maybe(draw, config, num_key_value_heads=st.just(kv_heads), **flags)


@st.composite
def gpt2(draw: st.DrawFn) -> Config:
    heads, _, head_dim = draw(_heads())
    config: Config = {
        "model_type": "gpt2",
        "n_embd": heads * head_dim,
        "n_head": heads,
        "n_layer": draw(st.integers(1, 3)),
        "n_positions": draw(st.integers(16, 40)),
        "vocab_size": draw(_SIZES),
    }
    return _maybe(draw, config, n_inner=st.none() | _SIZES, tie_word_embeddings=st.booleans())


@st.composite
def bert(draw: st.DrawFn) -> Config:
    heads, _, head_dim = draw(_heads())
    return {
        "model_type": "bert",
        "hidden_size": heads * head_dim,
        "intermediate_size": draw(_SIZES),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "max_position_embeddings": draw(st.integers(16, 40)),
        "type_vocab_size": draw(st.integers(1, 3)),
        "vocab_size": draw(_SIZES),
    }


def configs() -> st.SearchStrategy[Config]:
    """A configuration of any family; contexts of up to 16 are within every position table."""
    return st.one_of(llama(), mistral(), mixtral(), opt(), falcon(), phi(), gpt2(), bert())
