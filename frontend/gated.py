"""What most recent families share: RMS norms, gated feed-forward parts, rotary positions, the field names of llama."""

from tierplan.frontend import values
from tierplan.frontend.architecture import Architecture, Block
from tierplan.frontend.fields import Fields


def gated(
    fields: Fields,
    *,
    family: str,
    kv_default: int | None,
    positions: int,
    biases: bool = False,
    head_default: int | None = None,
    tied: bool = False,
    activation: tuple[str, str] = ("hidden_act", "silu"),
) -> Architecture:
    """Read a configuration of this kind; `biases`: the family has fields that add them.

    `kv_default`, `positions`, `head_default`, `tied` and `activation` (its field and value) are the defaults of the
    family; a head dimension of None is a share of the hidden size.
    """
    hidden, n_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    head_dim = fields.optional_count("head_dim") or head_default or values.head_dim(fields, hidden, n_heads)
    attention_bias = biases and fields.flag("attention_bias", False)
    return Architecture(
        name=fields.model,
        family=family,
        dtype=values.dtype(fields),
        hidden=hidden,
        n_layers=fields.count("num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=values.kv_heads(fields, "num_key_value_heads", n_heads, kv_default or n_heads),
        head_dim=head_dim,
        ffn=fields.count("intermediate_size"),
        vocab=fields.count("vocab_size"),
        max_positions=fields.count("max_position_embeddings", default=positions),
        embedding_width=hidden,
        activation=values.activation(fields, *activation),
        tied=fields.flag("tie_word_embeddings", tied),
        block=Block.SEQUENTIAL,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        mlp_bias=biases and fields.flag("mlp_bias", False),
        rotary_dims=values.rotary_dims(fields, head_dim, 1.0),
    )
