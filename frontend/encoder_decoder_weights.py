"""The weights of T5 and Whisper: their names and shapes, as in the checkpoints of the transformers library."""

from collections.abc import Sequence
from dataclasses import dataclass

from tierplan.frontend.encoder_decoder import EncoderDecoder, Side
from tierplan.frontend.parts import FeedForward, Linear, Norm, Shapes, Table


@dataclass(frozen=True, slots=True)
class Attention:
    """An attention and the norm before it; `bias` names the table of relative positions that it reads, if any."""

    prefix: str
    norm: Norm
    q: Linear
    k: Linear
    v: Linear
    out: Linear
    bias: str

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        for part in (self.norm, self.q, self.k, self.v, self.out):
            yield from part.shapes()


@dataclass(frozen=True, slots=True)
class Block:
    """One layer: attention to itself, to the encoder (in a decoder), and a feed-forward part behind its norm."""

    prefix: str
    own: Attention
    cross: Attention | None
    mlp_norm: Norm
    mlp: FeedForward

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        for part in (self.own, self.cross, self.mlp_norm, self.mlp):
            if part is not None:
                yield from part.shapes()


@dataclass(frozen=True, slots=True)
class Half:
    """The layers of an encoder or a decoder, with its tables of positions and the norm at its end."""

    relative: Table | None
    positions: Table | None
    blocks: tuple[Block, ...]
    norm: Norm

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        for part in (self.relative, self.positions, *self.blocks, self.norm):
            if part is not None:
                yield from part.shapes()


@dataclass(frozen=True, slots=True)
class Halves:
    """All weights of a model; `convolutions` stand before the encoder where it hears."""

    tokens: Table
    convolutions: tuple[Linear, ...]
    encoder: Half
    decoder: Half
    head: Linear

    def shapes(self) -> Shapes:
        """Names and shapes of its weights, in the order in which a forward pass meets them."""
        for part in (self.tokens, *self.convolutions, self.encoder, self.decoder, self.head):
            yield from part.shapes()


def halves(arch: EncoderDecoder) -> Halves:
    """The weights that a model of this architecture has."""
    return _t5(arch) if arch.family == "t5" else _whisper(arch)


def _t5(arch: EncoderDecoder) -> Halves:
    tied = "shared.weight" if arch.tied else ""
    return Halves(
        tokens=Table("shared.weight", arch.vocab, arch.hidden),
        convolutions=(),
        encoder=_t5_half(arch, arch.encoder, "encoder"),
        decoder=_t5_half(arch, arch.decoder, "decoder"),
        head=Linear("lm_head", arch.hidden, arch.vocab, bias=False, shared=tied),
    )


def _t5_half(arch: EncoderDecoder, side: Side, name: str) -> Half:
    table = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    decodes = name == "decoder"

    def attention(prefix: str, part: str, bias: str) -> Attention:
        norm = Norm(f"{prefix}.layer_norm", arch.hidden, rms=True)
        return _attention(f"{prefix}.{part}", norm, "qkvo", arch.hidden, side.width, (False,) * 4, bias)

    def block(index: int) -> Block:
        prefix = f"{name}.block.{index}"
        mlp = f"{prefix}.layer.{2 if decodes else 1}"
        inner = ("wi_0", "wi_1") if arch.gated else ("wi",)
        gate, up = ([None] if len(inner) == 1 else []) + [
            Linear(f"{mlp}.DenseReluDense.{each}", arch.hidden, side.ffn, bias=False) for each in inner
        ]
        assert up is not None
        return Block(
            prefix=prefix,
            own=attention(f"{prefix}.layer.0", "SelfAttention", table),
            cross=attention(f"{prefix}.layer.1", "EncDecAttention", "") if decodes else None,
            mlp_norm=Norm(f"{mlp}.layer_norm", arch.hidden, rms=True),
            mlp=FeedForward(up, Linear(f"{mlp}.DenseReluDense.wo", side.ffn, arch.hidden, bias=False), gate),
        )

    return Half(
        relative=Table(table, arch.buckets, side.n_heads),
        positions=None,
        blocks=tuple(block(index) for index in range(side.n_layers)),
        norm=Norm(f"{name}.final_layer_norm", arch.hidden, rms=True),
    )


def _whisper(arch: EncoderDecoder) -> Halves:
    tokens = "model.decoder.embed_tokens.weight"
    widths = (arch.mels, arch.hidden)
    return Halves(
        tokens=Table(tokens, arch.vocab, arch.hidden),
        convolutions=tuple(
            Linear(f"model.encoder.conv{n}", 3 * width, arch.hidden, bias=True, shape=(arch.hidden, width, 3))
            for n, width in enumerate(widths, 1)
        ),
        encoder=_whisper_half(arch, arch.encoder, "encoder", arch.source_positions),
        decoder=_whisper_half(arch, arch.decoder, "decoder", arch.max_positions),
        head=Linear("proj_out", arch.hidden, arch.vocab, bias=False, shared=tokens if arch.tied else ""),
    )


def _whisper_half(arch: EncoderDecoder, side: Side, name: str, positions: int) -> Half:
    def attention(prefix: str, part: str) -> Attention:
        norm = Norm(f"{prefix}.{part}_layer_norm", arch.hidden, rms=False)
        parts = ("q_proj", "k_proj", "v_proj", "out_proj")
        return _attention(f"{prefix}.{part}", norm, parts, arch.hidden, side.width, (True, False, True, True), "")

    def block(index: int) -> Block:
        prefix = f"model.{name}.layers.{index}"
        return Block(
            prefix=prefix,
            own=attention(prefix, "self_attn"),
            cross=attention(prefix, "encoder_attn") if name == "decoder" else None,
            mlp_norm=Norm(f"{prefix}.final_layer_norm", arch.hidden, rms=False),
            mlp=FeedForward(
                Linear(f"{prefix}.fc1", arch.hidden, side.ffn, bias=True),
                Linear(f"{prefix}.fc2", side.ffn, arch.hidden, bias=True),
            ),
        )

    return Half(
        relative=None,
        positions=Table(f"model.{name}.embed_positions.weight", positions, arch.hidden),
        blocks=tuple(block(index) for index in range(side.n_layers)),
        norm=Norm(f"model.{name}.layer_norm", arch.hidden, rms=False),
    )


def _attention(
    prefix: str, norm: Norm, names: Sequence[str], hidden: int, width: int, biases: Sequence[bool], bias: str
) -> Attention:
    q, k, v = (Linear(f"{prefix}.{name}", hidden, width, has) for name, has in zip(names[:3], biases[:3], strict=True))
    out = Linear(f"{prefix}.{names[3]}", width, hidden, biases[3])
    return Attention(prefix, norm, q, k, v, out, bias)
