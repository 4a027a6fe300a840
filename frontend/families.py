"""The first eight families: which fields of a configuration say what, and what a field means that is not there.

Each family has its own field names and its own defaults, those of the transformers library. The fields that
say how large a model is must be there: the library writes them always, and guessing them would plan another model.

Source: the configuration classes of the transformers library, one per family.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from tierplan.frontend import values
from tierplan.frontend.architecture import Architecture, Block, Experts
from tierplan.frontend.fields import Fields
from tierplan.frontend.gated import gated


def _llama(fields: Fields) -> Architecture:
    return gated(fields, family="llama", kv_default=None, positions=2048, biases=True)


def _mistral(fields: Fields) -> Architecture:
    window = values.window(fields, 4096)
    return replace(gated(fields, family="mistral", kv_default=8, positions=131072), sliding_window=window)


def _mixtral(fields: Fields) -> Architecture:
    n_experts = fields.count("num_local_experts", "num_experts", default=8)
    per_token = values.experts_per_token(fields, n_experts, 2)
    arch = gated(fields, family="mixtral", kv_default=8, positions=131072)
    experts = Experts(n_experts, per_token, arch.ffn, frozenset(range(arch.n_layers)), stacked=False)
    return replace(arch, sliding_window=values.window(fields, None), experts=experts)


def _opt(fields: Fields) -> Architecture:
    hidden, n_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    pre_norm = fields.flag("do_layer_norm_before", True)
    bias = fields.flag("enable_bias", True)
    return Architecture(
        name=fields.model,
        family="opt",
        dtype=values.dtype(fields),
        hidden=hidden,
        n_layers=fields.count("num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=values.head_dim(fields, hidden, n_heads),
        ffn=fields.count("ffn_dim"),
        vocab=fields.count("vocab_size"),
        max_positions=fields.count("max_position_embeddings", default=2048),
        embedding_width=fields.count("word_embed_proj_dim", default=hidden),
        activation=values.activation(fields, "activation_function", "relu"),
        tied=fields.flag("tie_word_embeddings", True),
        block=Block.SEQUENTIAL if pre_norm else Block.POST_NORM,
        final_norm=pre_norm and not fields.flag("_remove_final_layer_norm", False),
        affine_norms=fields.flag("layer_norm_elementwise_affine", True),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
    )


def _falcon(fields: Fields) -> Architecture:
    """Falcon; `multi_query` and `parallel_attn` are ignored in the new decoder architecture, as the library does."""
    hidden = fields.count("hidden_size", "n_embed")
    n_heads = fields.count("num_attention_heads", "n_head")
    grouped = fields.flag("new_decoder_architecture", False)
    multi_query = fields.flag("multi_query", True)
    parallel = fields.flag("parallel_attn", True) or grouped
    n_norms = fields.count("num_ln_in_parallel_attn", default=2 if grouped else 1)
    kv_name = fields.found("num_kv_heads", "n_head_kv") or "num_kv_heads"
    kv_heads = values.kv_heads(fields, kv_name, n_heads, n_heads)
    head_dim = values.head_dim(fields, hidden, n_heads)
    alibi, bias = fields.flag("alibi", False), fields.flag("bias", False)
    return Architecture(
        name=fields.model,
        family="falcon",
        dtype=values.dtype(fields),
        hidden=hidden,
        n_layers=fields.count("num_hidden_layers", "n_layer"),
        n_heads=n_heads,
        n_kv_heads=kv_heads if grouped else 1 if multi_query else n_heads,
        head_dim=head_dim,
        ffn=fields.count("ffn_hidden_size", default=4 * hidden),
        vocab=fields.count("vocab_size"),
        max_positions=fields.count("max_position_embeddings", default=2048),
        embedding_width=hidden,
        activation=values.activation(fields, "activation", "gelu"),
        tied=fields.flag("tie_word_embeddings", True),
        block=Block.PARALLEL if parallel else Block.SEQUENTIAL,
        mlp_norm=n_norms == 2 if parallel else True,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        alibi=alibi,
        rotary_dims=0 if alibi else values.rotary_dims(fields, head_dim, 1.0),
    )


def _phi(fields: Fields) -> Architecture:
    hidden, n_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    head_dim = values.head_dim(fields, hidden, n_heads)
    return Architecture(
        name=fields.model,
        family="phi",
        dtype=values.dtype(fields),
        hidden=hidden,
        n_layers=fields.count("num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=values.kv_heads(fields, "num_key_value_heads", n_heads, n_heads),
        head_dim=head_dim,
        ffn=fields.count("intermediate_size"),
        vocab=fields.count("vocab_size"),
        max_positions=fields.count("max_position_embeddings", default=2048),
        embedding_width=hidden,
        activation=values.activation(fields, "hidden_act", "gelu_new"),
        tied=fields.flag("tie_word_embeddings", False),
        block=Block.PARALLEL,
        mlp_norm=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        head_bias=True,
        qk_norm=fields.flag("qk_layernorm", False),
        rotary_dims=values.rotary_dims(fields, head_dim, 0.5),
    )


def _gpt2(fields: Fields) -> Architecture:
    _refuse(fields, "add_cross_attention")
    hidden, n_heads = fields.count("n_embd", "hidden_size"), fields.count("n_head", "num_attention_heads")
    return Architecture(
        name=fields.model,
        family="gpt2",
        dtype=values.dtype(fields),
        hidden=hidden,
        n_layers=fields.count("n_layer", "num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=values.head_dim(fields, hidden, n_heads),
        ffn=fields.count("n_inner", default=4 * hidden),
        vocab=fields.count("vocab_size"),
        max_positions=fields.count("n_positions", "max_position_embeddings", default=1024),
        embedding_width=hidden,
        activation=values.activation(fields, "activation_function", "gelu_new"),
        tied=fields.flag("tie_word_embeddings", True),
        block=Block.SEQUENTIAL,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
    )


def _bert(fields: Fields) -> Architecture:
    _refuse(fields, "is_decoder")
    _refuse(fields, "add_cross_attention")
    kind = fields.string("position_embedding_type")
    if kind not in (None, "absolute"):
        fields.fail("position_embedding_type", f"is '{kind}'; only 'absolute' is supported")
    hidden, n_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    return Architecture(
        name=fields.model,
        family="bert",
        dtype=values.dtype(fields),
        hidden=hidden,
        n_layers=fields.count("num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=values.head_dim(fields, hidden, n_heads),
        ffn=fields.count("intermediate_size"),
        vocab=fields.count("vocab_size"),
        max_positions=fields.count("max_position_embeddings", default=512),
        embedding_width=hidden,
        activation=values.activation(fields, "hidden_act", "gelu"),
        tied=True,
        block=Block.POST_NORM,
        final_norm=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        token_types=fields.count("type_vocab_size", default=2),
    )


def _refuse(fields: Fields, name: str) -> None:
    if fields.flag(name, False):
        fields.fail(name, "is true, and cross-attention and decoders made of encoders are not supported")


FIRST: Mapping[str, Callable[[Fields], Architecture]] = MappingProxyType(
    {
        "bert": _bert,
        "falcon": _falcon,
        "gpt2": _gpt2,
        "llama": _llama,
        "mistral": _mistral,
        "mixtral": _mixtral,
        "opt": _opt,
        "phi": _phi,
    }
)
"""The reader of each of these families."""
