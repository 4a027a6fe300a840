"""How many parameters a configuration means: closed formulas, one per family, by its raw fields.

Each returns (parameters in matrices that multiply activations, all other parameters), the head among the
matrices even where it is tied; `parameters` counts a tied head once. Independent of the frontend on purpose.
"""

from config_strategies import Config


def _llama_like(c: Config, feed_forward: int) -> tuple[int, int]:
    h, heads = c["hidden_size"], c["num_attention_heads"]
    d = c.get("head_dim") or h // heads
    kv = c["num_key_value_heads"]
    matrices = c["num_hidden_layers"] * (2 * h * d * heads + 2 * h * d * kv + feed_forward) + h * c["vocab_size"]
    biases = d * (heads + 2 * kv) + h if c.get("attention_bias") else 0
    biases += 2 * c["intermediate_size"] + h if c.get("mlp_bias") else 0
    return matrices, c["num_hidden_layers"] * (2 * h + biases) + h + h * c["vocab_size"]


def _llama(c: Config) -> tuple[int, int]:
    return _llama_like(c, 3 * c["hidden_size"] * c["intermediate_size"])


def _mixtral(c: Config) -> tuple[int, int]:
    h, experts = c["hidden_size"], c["num_local_experts"]
    return _llama_like(c, experts * (3 * h * c["intermediate_size"] + h))


def _opt(c: Config) -> tuple[int, int]:
    h, f, layers = c["hidden_size"], c["ffn_dim"], c["num_hidden_layers"]
    e = c.get("word_embed_proj_dim", h)
    norm = 2 * h if c.get("layer_norm_elementwise_affine", True) else 0
    bias = 5 * h + f if c.get("enable_bias", True) else 0
    matrices = layers * (4 * h * h + 2 * h * f) + (2 * h * e if e != h else 0) + e * c["vocab_size"]
    final = norm if c.get("do_layer_norm_before", True) else 0
    others = layers * (2 * norm + bias) + final + (c["max_position_embeddings"] + 2) * h + e * c["vocab_size"]
    return matrices, others


def _falcon(c: Config) -> tuple[int, int]:
    h, heads, layers = c["hidden_size"], c["num_attention_heads"], c["num_hidden_layers"]
    d, f = h // heads, c.get("ffn_hidden_size", 4 * h)
    new, parallel = c.get("new_decoder_architecture", False), c.get("parallel_attn", True)
    old_qkv = h + 2 * d if c.get("multi_query", True) else 3 * h
    qkv = (2 * c["num_kv_heads"] + heads) * d if new else old_qkv
    norms = c.get("num_ln_in_parallel_attn", 2 if new else 1) if parallel or new else 2
    bias = qkv + h + f + h if c.get("bias", False) else 0
    matrices = layers * (h * qkv + h * h + 2 * h * f) + h * c["vocab_size"]
    return matrices, layers * (2 * h * norms + bias) + 2 * h + h * c["vocab_size"]


def _phi(c: Config) -> tuple[int, int]:
    h, heads, f, layers = c["hidden_size"], c["num_attention_heads"], c["intermediate_size"], c["num_hidden_layers"]
    d = h // heads
    kv = c.get("num_key_value_heads", heads) * d
    matrices = layers * (2 * h * h + 2 * h * kv + 2 * h * f) + h * c["vocab_size"]
    each = (h + 2 * kv) + h + (f + h) + 2 * h + (4 * d if c.get("qk_layernorm") else 0)
    return matrices, layers * each + 2 * h + c["vocab_size"] + h * c["vocab_size"]


def _gpt2(c: Config) -> tuple[int, int]:
    h, layers = c["n_embd"], c["n_layer"]
    f = c.get("n_inner") or 4 * h
    matrices = layers * (4 * h * h + 2 * h * f) + h * c["vocab_size"]
    return matrices, layers * (3 * h + h + f + h + 4 * h) + 2 * h + h * (c["n_positions"] + c["vocab_size"])


def _bert(c: Config) -> tuple[int, int]:
    h, f, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    tables = h * (c["vocab_size"] + c["max_position_embeddings"] + c["type_vocab_size"])
    return layers * (4 * h * h + 2 * h * f) + h * h, layers * (4 * h + f + h + 4 * h) + 2 * h + h + tables


_FORMULAS = {
    "llama": _llama, "mistral": _llama, "mixtral": _mixtral, "opt": _opt,
    "falcon": _falcon, "phi": _phi, "gpt2": _gpt2, "bert": _bert,
}  # fmt: skip

_TIED = ("opt", "falcon", "gpt2")


def matrix_parameters(config: Config) -> int:
    """Elements of all matrices that multiply activations."""
    return _FORMULAS[config["model_type"]](config)[0]


def parameters(config: Config) -> int:
    """All parameters; the head of a model that ties it to the token table counts once."""
    family = config["model_type"]
    matrices, others = _FORMULAS[family](config)
    if family == "bert" or not config.get("tie_word_embeddings", family in _TIED):
        return matrices + others
    width = config.get("word_embed_proj_dim") or config.get("hidden_size") or config["n_embd"]
    return matrices + others - width * config["vocab_size"]
