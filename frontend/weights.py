"""The weights of a transformer: their names and shapes, as in the checkpoints of the transformers library.

Names are those of the library's state dictionaries for the model with its head (for bert and vit, of its
checkpoints, with the family in front), or those of a GGUF file. Older gpt2 and opt files leave out the first word.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tierplan.frontend.architecture import LAYER_NORM, LEARNED_POSITIONS, Architecture, Block, Experts, Latent
from tierplan.frontend.naming import NAMES, FeedForwardNames, Names
from tierplan.frontend.parts import FeedForward, LatentAttention, Linear, Norm, Shapes, Stack, Table, Vector
from tierplan.ir.graph import Stored, Tensor, TensorKind

_OPT_POSITION_OFFSET = 2  # opt keeps two unused rows in front of its position table


@dataclass(frozen=True, slots=True)
class Mixture:
    """The experts of a layer: one by one, or stacked; what all tokens use is `shared`, behind a gate or not."""

    router: Linear
    correction: Vector | None
    experts: tuple[FeedForward, ...]
    stack: tuple[Stack, ...]
    shared: FeedForward | None
    shared_gate: Linear | None

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        for part in (self.router, self.correction, *self.experts, *self.stack, self.shared, self.shared_gate):
            if part is not None:
                yield from part.shapes()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: `qkv` is one fused matrix or three, or none in a `latent` attention; `mlp` is dense or a mixture."""

    prefix: str
    attention_norm: Norm
    post_attention_norm: Norm | None
    mlp_norm: Norm | None
    post_mlp_norm: Norm | None
    qkv: tuple[Linear, ...]
    latent: LatentAttention | None
    qk_norms: tuple[Norm, ...]
    out: Linear
    mlp: FeedForward | Mixture

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        attention = (self.attention_norm, *self.qkv, self.latent, *self.qk_norms, self.out, self.post_attention_norm)
        for part in (*attention, self.mlp_norm, self.mlp, self.post_mlp_norm):
            if part is not None:
                yield from part.shapes()


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights of a model, by what they do. `patches` stand in for `tokens` where a model reads images."""

    tokens: Table | None
    patches: Linear | None
    positions: Table | None
    token_types: Table | None
    embedding_norm: Norm | None
    project_in: Linear | None
    layers: tuple[Layer, ...]
    final_norm: Norm | None
    project_out: Linear | None
    head: Linear | None
    pooler: Linear | None

    def shapes(self) -> Shapes:
        """Name and shape of each weight, in the order in which a forward pass meets them."""
        before = (self.tokens, self.patches, self.project_in, self.positions, self.token_types, self.embedding_norm)
        after = (self.final_norm, self.project_out, self.head, self.pooler)
        for part in (*before, *self.layers, *after):
            if part is not None:
                yield from part.shapes()

    def tensors(self, dtype: str, stored: Mapping[str, Stored] | None = None) -> tuple[Tensor, ...]:
        """Each weight as a tensor, stored as told or as plain elements of that type."""
        how = stored or {}
        return tuple(Tensor(name, shape, dtype, TensorKind.WEIGHT, "", how.get(name)) for name, shape in self.shapes())


def weights(arch: Architecture, names: Names | None = None) -> Weights:
    """The weights that a model of this architecture has, under the names of its family or under others.

    >>> from tierplan.frontend.config import read_config
    >>> from tierplan.models import load
    >>> gpt2 = weights(read_config(load("gpt2"), "gpt2"))
    >>> sum(tensor.n_elements for tensor in gpt2.tensors("float32"))
    124439808
    """
    names = names or NAMES[arch.family]
    rows = arch.max_positions + (_OPT_POSITION_OFFSET if arch.family == "opt" else 0)
    narrow = arch.embedding_width != arch.hidden
    learned = arch.family in LEARNED_POSITIONS
    pooled = not arch.causal and bool(names.pooler) and not (arch.patches and arch.patches.classes)
    return Weights(
        tokens=None if arch.patches else Table(names.tokens, arch.vocab, arch.embedding_width),
        patches=_patches(arch, names),
        positions=_image_positions(arch, names) if arch.patches else _positions(names, rows, arch) if learned else None,
        token_types=_token_types(arch, names) if arch.token_types else None,
        embedding_norm=_norm(arch, names.embedding_norm) if arch.family == "bert" else None,
        project_in=_projection("in", arch.embedding_width, arch.hidden) if narrow else None,
        layers=tuple(_layer(arch, names, index) for index in range(arch.n_layers)),
        final_norm=_norm(arch, names.final_norm) if arch.final_norm else None,
        project_out=_projection("out", arch.hidden, arch.embedding_width) if narrow else None,
        head=_head(arch, names),
        pooler=Linear(names.pooler, arch.hidden, arch.hidden, bias=True) if pooled else None,
    )


def _positions(names: Names, rows: int, arch: Architecture) -> Table:
    return Table(names.positions, rows, arch.hidden)


def _image_positions(arch: Architecture, names: Names) -> Table:
    return Table(names.positions, arch.max_positions, arch.hidden, (1,))


def _token_types(arch: Architecture, names: Names) -> Table:
    return Table(names.token_types, arch.token_types, arch.hidden, (1,) if arch.patches else ())


def _patches(arch: Architecture, names: Names) -> Linear | None:
    if arch.patches is None:
        return None
    square = (arch.patches.channels, arch.patches.patch, arch.patches.patch)
    inputs = square[0] * square[1] * square[2]
    return Linear(names.tokens, inputs, arch.hidden, bias=True, shape=(arch.hidden, *square))


def _projection(direction: str, inputs: int, outputs: int) -> Linear:
    return Linear(f"model.decoder.project_{direction}", inputs, outputs, bias=False)


def _head(arch: Architecture, names: Names) -> Linear | None:
    if arch.patches:
        classes = arch.patches.classes
        return Linear(names.head, arch.hidden, classes, bias=True) if classes else None
    if not arch.causal:
        return None
    shared = names.tokens if arch.tied else ""
    return Linear(names.head, arch.embedding_width, arch.vocab, bias=arch.head_bias, shared=shared)


def _norm(arch: Architecture, name: str, width: int | None = None, *, affine: bool = True) -> Norm:
    return Norm(name, width or arch.hidden, rms=arch.family not in LAYER_NORM, affine=affine and arch.affine_norms)


def _layer(arch: Architecture, names: Names, index: int) -> Layer:
    prefix = names.layer.format(index)
    attention_norm, mlp_norm = names.attention_norm, names.mlp_norm
    if names.two_norms and arch.mlp_norm and arch.block is Block.PARALLEL:
        attention_norm, mlp_norm = names.two_norms
    sandwich = arch.block is Block.SANDWICH
    value = arch.n_heads * arch.latent.value if arch.latent else arch.query_width
    return Layer(
        prefix=prefix,
        attention_norm=_norm(arch, f"{prefix}.{attention_norm}"),
        post_attention_norm=_norm(arch, f"{prefix}.{names.post_attention_norm}") if sandwich else None,
        mlp_norm=_norm(arch, f"{prefix}.{mlp_norm}") if arch.mlp_norm else None,
        post_mlp_norm=_norm(arch, f"{prefix}.{names.post_mlp_norm}") if sandwich else None,
        qkv=() if arch.latent else _qkv(arch, names, prefix),
        latent=_latent(arch, arch.latent, names, prefix) if arch.latent else None,
        qk_norms=_qk_norms(arch, names, prefix, index),
        out=Linear(f"{prefix}.{names.out}", value, arch.hidden, arch.out_bias, names.transposed),
        mlp=_mixture(arch, experts, names, prefix)
        if (experts := arch.experts_of(index))
        else _feed_forward(arch, names, names.mlp, prefix, arch.ffn),
    )


def _qk_norms(arch: Architecture, names: Names, prefix: str, index: int) -> tuple[Norm, ...]:
    """Norms of queries and keys; those of llama 4 have no weights, and stand where there is a rotation."""
    plain = arch.family == "llama4_text"
    if not arch.qk_norm or (plain and index in arch.plain_layers):
        return ()
    return tuple(_norm(arch, f"{prefix}.{name}", arch.head_dim, affine=not plain) for name in names.qk_norms)


def _qkv(arch: Architecture, names: Names, prefix: str) -> tuple[Linear, ...]:
    widths = (arch.query_width, arch.kv_width, arch.kv_width)
    if len(names.qkv) == 1:
        widths = (sum(widths),)
    return tuple(
        Linear(f"{prefix}.{name}", arch.hidden, width, arch.qkv_bias, names.transposed)
        for name, width in zip(names.qkv, widths, strict=True)
    )


def _latent(arch: Architecture, latent: Latent, names: Names, prefix: str) -> LatentAttention:
    called, width = names.latent, arch.n_heads * latent.key
    bias = arch.qkv_bias

    def linear(name: str, inputs: int, outputs: int, bias: bool = False, shape: tuple[int, ...] = ()) -> Linear:
        return Linear(f"{prefix}.{name}", inputs, outputs, bias, shape=shape)

    rank = latent.query_rank
    keys, values = arch.n_heads * latent.plain, arch.n_heads * latent.value
    if len(called.kv_b) == 1:
        kv_b = (linear(called.kv_b[0], latent.kv_rank, keys + values),)
    else:
        k_shape, v_shape = (arch.n_heads, latent.kv_rank, latent.plain), (arch.n_heads, latent.value, latent.kv_rank)
        kv_b = (
            linear(called.kv_b[0], latent.kv_rank, keys, shape=k_shape),
            linear(called.kv_b[1], latent.kv_rank, values, shape=v_shape),
        )
    return LatentAttention(
        q_a=linear(called.q_a, arch.hidden, rank, bias) if rank else None,
        q_a_norm=_norm(arch, f"{prefix}.{called.q_a_norm}", rank) if rank else None,
        q=linear(called.q_b, rank, width) if rank else linear(names.qkv[0], arch.hidden, width),
        kv_a=linear(called.kv_a, arch.hidden, latent.cached, bias),
        kv_norm=_norm(arch, f"{prefix}.{called.kv_norm}", latent.kv_rank),
        kv_b=kv_b,
    )


def _mixture(arch: Architecture, experts: Experts, names: Names, prefix: str) -> Mixture:
    router, each = f"{prefix}.{names.router}", names.expert
    one_by_one = each is not None and not experts.stacked
    shared = _feed_forward(arch, names, names.shared, prefix, experts.shared) if experts.shared else None
    return Mixture(
        router=Linear(router, arch.hidden, experts.n, bias=False),
        correction=Vector(f"{prefix}.{names.correction}", experts.n) if experts.corrected else None,
        experts=tuple(_feed_forward(arch, names, _numbered(each, e), prefix, experts.ffn) for e in range(experts.n))
        if each is not None and one_by_one
        else (),
        stack=() if one_by_one else _stack(arch, experts, names, prefix),
        shared=shared,
        shared_gate=Linear(f"{prefix}.{names.shared_gate}", arch.hidden, 1, bias=False, shape=())
        if experts.shared_gate
        else None,
    )


def _numbered(names: FeedForwardNames, index: int) -> FeedForwardNames:
    return FeedForwardNames(names.up.format(index), names.down.format(index), names.gate.format(index))


def _stack(arch: Architecture, experts: Experts, names: Names, prefix: str) -> tuple[Stack, ...]:
    *inner, down = (f"{prefix}.{name}" for name in names.stack)
    width = 2 * experts.ffn // len(inner)
    transposed = names.stack_transposed
    return (
        *(Stack(name, experts.n, arch.hidden, width, transposed) for name in inner),
        Stack(down, experts.n, experts.ffn, arch.hidden, transposed),
    )


def _feed_forward(arch: Architecture, names: Names, called: FeedForwardNames, prefix: str, ffn: int) -> FeedForward:
    def linear(name: str, inputs: int, outputs: int) -> Linear:
        return Linear(f"{prefix}.{name}", inputs, outputs, arch.mlp_bias, names.transposed)

    return FeedForward(
        up=linear(called.up, arch.hidden, ffn),
        down=linear(called.down, ffn, arch.hidden),
        gate=linear(called.gate, arch.hidden, ffn) if called.gate else None,
    )
