"""The weights of a transformer: their names and shapes, as in the checkpoints of the transformers library.

Names are those of the library's state dictionaries for the model with its head (for bert, of its checkpoints,
`bert.` in front). Older gpt2 and opt files leave out the first word.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tierplan.frontend.architecture import LEARNED_POSITIONS, Architecture, Block
from tierplan.ir.graph import Tensor, TensorKind

_OPT_POSITION_OFFSET = 2  # opt keeps two unused rows in front of its position table


@dataclass(frozen=True, slots=True)
class Table:
    """An embedding table of shape [rows, width]."""

    name: str
    rows: int
    width: int

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of its one weight."""
        yield self.name, (self.rows, self.width)


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix of shape [outputs, inputs], or [inputs, outputs] where `transposed`, and a bias or none.

    `weight` names the matrix: the token table, where the head is tied to it.
    """

    name: str
    inputs: int
    outputs: int
    bias: bool
    transposed: bool = False
    shared: str = ""

    @property
    def weight(self) -> str:
        """Name of the matrix."""
        return self.shared or f"{self.name}.weight"

    @property
    def bias_name(self) -> str | None:
        """Name of the bias, if it has one."""
        return f"{self.name}.bias" if self.bias else None

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the weights of its own."""
        if not self.shared:
            yield self.weight, (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
        if self.bias:
            yield f"{self.name}.bias", (self.outputs,)


@dataclass(frozen=True, slots=True)
class Norm:
    """An RMS norm (a scale) or a layer norm (a scale and a shift; neither where not `affine`)."""

    name: str
    width: int
    rms: bool
    affine: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its weights."""
        if not self.affine:
            return ()
        return (f"{self.name}.weight",) if self.rms else (f"{self.name}.weight", f"{self.name}.bias")

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of its weights."""
        for name in self.parameters:
            yield name, (self.width,)


@dataclass(frozen=True, slots=True)
class FeedForward:
    """Two matrices around an activation function, or three where a gate multiplies it."""

    up: Linear
    down: Linear
    gate: Linear | None = None

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of its weights."""
        for linear in (self.gate, self.up, self.down):
            if linear is not None:
                yield from linear.shapes()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: `qkv` is one fused matrix or three; `experts` has one feed-forward part, or many behind a router."""

    prefix: str
    attention_norm: Norm
    mlp_norm: Norm | None
    qkv: tuple[Linear, ...]
    qk_norms: tuple[Norm, ...]
    out: Linear
    router: Linear | None
    experts: tuple[FeedForward, ...]

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of its weights."""
        parts = (self.attention_norm, *self.qkv, *self.qk_norms, self.out, self.mlp_norm, self.router, *self.experts)
        for part in parts:
            if part is not None:
                yield from part.shapes()


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights of a model, by what they do."""

    tokens: Table
    positions: Table | None
    token_types: Table | None
    embedding_norm: Norm | None
    project_in: Linear | None
    layers: tuple[Layer, ...]
    final_norm: Norm | None
    project_out: Linear | None
    head: Linear | None
    pooler: Linear | None

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape of each weight, in the order in which a forward pass meets them."""
        before = (self.tokens, self.project_in, self.positions, self.token_types, self.embedding_norm)
        after = (self.final_norm, self.project_out, self.head, self.pooler)
        for part in (*before, *self.layers, *after):
            if part is not None:
                yield from part.shapes()

    def tensors(self, dtype: str) -> tuple[Tensor, ...]:
        """Each weight as a tensor."""
        return tuple(Tensor(name, shape, dtype, TensorKind.WEIGHT) for name, shape in self.shapes())


@dataclass(frozen=True, slots=True)
class _Names:
    """How a family calls its parts; `{}` stands for the layer."""

    layer: str
    tokens: str
    qkv: tuple[str, ...]
    out: str
    attention_norm: str
    mlp_norm: str
    up: str
    down: str
    gate: str = ""
    final_norm: str = ""
    positions: str = ""


_SPLIT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

_LLAMA = _Names(
    "model.layers.{}", "model.embed_tokens.weight", _SPLIT, "self_attn.o_proj", "input_layernorm",
    "post_attention_layernorm", "mlp.up_proj", "mlp.down_proj", "mlp.gate_proj", "model.norm",
)  # fmt: skip

_NAMES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _Names(
        "model.layers.{}", "model.embed_tokens.weight", _SPLIT, "self_attn.o_proj", "input_layernorm",
        "post_attention_layernorm", "w3", "w2", "w1", "model.norm",
    ),
    "phi": _Names(
        "model.layers.{}", "model.embed_tokens.weight", _SPLIT, "self_attn.dense", "input_layernorm",
        "", "mlp.fc1", "mlp.fc2", "", "model.final_layernorm",
    ),
    "opt": _Names(
        "model.decoder.layers.{}", "model.decoder.embed_tokens.weight", _SPLIT, "self_attn.out_proj",
        "self_attn_layer_norm", "final_layer_norm", "fc1", "fc2", "", "model.decoder.final_layer_norm",
        "model.decoder.embed_positions.weight",
    ),
    "falcon": _Names(
        "transformer.h.{}", "transformer.word_embeddings.weight", ("self_attention.query_key_value",),
        "self_attention.dense", "input_layernorm", "post_attention_layernorm", "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h", "", "transformer.ln_f",
    ),
    "gpt2": _Names(
        "transformer.h.{}", "transformer.wte.weight", ("attn.c_attn",), "attn.c_proj", "ln_1", "ln_2",
        "mlp.c_fc", "mlp.c_proj", "", "transformer.ln_f", "transformer.wpe.weight",
    ),
    "bert": _Names(
        "bert.encoder.layer.{}", "bert.embeddings.word_embeddings.weight",
        ("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense",
        "attention.output.LayerNorm", "output.LayerNorm", "intermediate.dense", "output.dense", "", "",
        "bert.embeddings.position_embeddings.weight",
    ),
}  # fmt: skip


def weights(arch: Architecture) -> Weights:
    """The weights that a model of this architecture has.

    >>> from tierplan.frontend.config import read_config
    >>> from tierplan.models import load
    >>> gpt2 = weights(read_config(load("gpt2"), "gpt2"))
    >>> sum(tensor.n_elements for tensor in gpt2.tensors("float32"))
    124439808
    """
    names = _NAMES[arch.family]
    rows = arch.max_positions + (_OPT_POSITION_OFFSET if arch.family == "opt" else 0)
    narrow = arch.embedding_width != arch.hidden
    bert = arch.family == "bert"
    return Weights(
        tokens=Table(names.tokens, arch.vocab, arch.embedding_width),
        positions=Table(names.positions, rows, arch.hidden) if arch.family in LEARNED_POSITIONS else None,
        token_types=_token_types(arch) if arch.token_types else None,
        embedding_norm=_norm(arch, "bert.embeddings.LayerNorm") if bert else None,
        project_in=_projection("in", arch.embedding_width, arch.hidden) if narrow else None,
        layers=tuple(_layer(arch, names, index) for index in range(arch.n_layers)),
        final_norm=_norm(arch, names.final_norm) if arch.final_norm else None,
        project_out=_projection("out", arch.hidden, arch.embedding_width) if narrow else None,
        head=None if bert else _head(arch, names),
        pooler=Linear("bert.pooler.dense", arch.hidden, arch.hidden, bias=True) if bert else None,
    )


def _token_types(arch: Architecture) -> Table:
    return Table("bert.embeddings.token_type_embeddings.weight", arch.token_types, arch.hidden)


def _projection(direction: str, inputs: int, outputs: int) -> Linear:
    return Linear(f"model.decoder.project_{direction}", inputs, outputs, bias=False)


def _head(arch: Architecture, names: _Names) -> Linear:
    shared = names.tokens if arch.tied else ""
    return Linear("lm_head", arch.embedding_width, arch.vocab, bias=arch.family == "phi", shared=shared)


def _norm(arch: Architecture, name: str, width: int | None = None) -> Norm:
    rms = arch.family in ("llama", "mistral", "mixtral")
    return Norm(name, width or arch.hidden, rms=rms, affine=arch.affine_norms)


def _layer(arch: Architecture, names: _Names, index: int) -> Layer:
    prefix = names.layer.format(index)
    attention_norm, mlp_norm = names.attention_norm, names.mlp_norm
    if arch.family == "falcon" and arch.mlp_norm and arch.block is Block.PARALLEL:
        attention_norm, mlp_norm = "ln_attn", "ln_mlp"
    qk_norms = ("self_attn.q_layernorm", "self_attn.k_layernorm") if arch.qk_norm else ()
    return Layer(
        prefix=prefix,
        attention_norm=_norm(arch, f"{prefix}.{attention_norm}"),
        mlp_norm=_norm(arch, f"{prefix}.{mlp_norm}") if arch.mlp_norm else None,
        qkv=_qkv(arch, names, prefix),
        qk_norms=tuple(_norm(arch, f"{prefix}.{name}", arch.head_dim) for name in qk_norms),
        out=_linear(arch, f"{prefix}.{names.out}", arch.query_width, arch.hidden, arch.out_bias),
        router=_router(arch, prefix) if arch.n_experts else None,
        experts=_experts(arch, names, prefix),
    )


def _linear(arch: Architecture, name: str, inputs: int, outputs: int, bias: bool) -> Linear:
    return Linear(name, inputs, outputs, bias, transposed=arch.family == "gpt2")


def _qkv(arch: Architecture, names: _Names, prefix: str) -> tuple[Linear, ...]:
    widths = (arch.query_width, arch.kv_width, arch.kv_width)
    if len(names.qkv) == 1:
        widths = (sum(widths),)
    pairs = zip(names.qkv, widths, strict=True)
    return tuple(_linear(arch, f"{prefix}.{name}", arch.hidden, width, arch.qkv_bias) for name, width in pairs)


def _router(arch: Architecture, prefix: str) -> Linear:
    return Linear(f"{prefix}.block_sparse_moe.gate", arch.hidden, arch.n_experts, bias=False)


def _experts(arch: Architecture, names: _Names, prefix: str) -> tuple[FeedForward, ...]:
    if not arch.n_experts:
        return (_feed_forward(arch, names, prefix),)
    experts = f"{prefix}.block_sparse_moe.experts"
    return tuple(_feed_forward(arch, names, f"{experts}.{index}") for index in range(arch.n_experts))


def _feed_forward(arch: Architecture, names: _Names, prefix: str) -> FeedForward:
    def linear(name: str, inputs: int, outputs: int) -> Linear:
        return _linear(arch, f"{prefix}.{name}", inputs, outputs, arch.mlp_bias)

    return FeedForward(
        up=linear(names.up, arch.hidden, arch.ffn),
        down=linear(names.down, arch.ffn, arch.hidden),
        gate=linear(names.gate, arch.hidden, arch.ffn) if names.gate else None,
    )
