"""Models of an encoder and a decoder: what T5 and Whisper configurations say about their structure.

Source: T5Config and WhisperConfig of the transformers library.
"""

from dataclasses import dataclass

from tierplan.frontend import values
from tierplan.frontend.architecture import VECTOR_OPS
from tierplan.frontend.fields import Fields
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError, unknown_name


@dataclass(frozen=True, slots=True)
class Side:
    """The layers of an encoder or a decoder: `n_heads` heads of `head_dim`, feed-forward parts of width `ffn`."""

    n_layers: int
    n_heads: int
    head_dim: int
    ffn: int

    def __post_init__(self) -> None:
        if not 1 <= self.n_layers <= 10**4 or self.n_heads > 10**5 or self.head_dim > 10**5 or self.ffn > 10**7:
            raise InvalidInputError(
                f"{self.n_layers} layers of {self.n_heads} heads of {self.head_dim} and width {self.ffn} are absurd"
            )

    @property
    def width(self) -> int:
        """Elements of all heads of one token."""
        return self.n_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class EncoderDecoder:
    """An encoder that reads all of its input at once, and a decoder that attends to what it returns.

    `buckets` counts the rows of the table of relative positions, 0 where positions are learned (`positions`: of the
    encoder and of the decoder). `mels` counts the channels of the sound that a model hears, 0 where it reads text.
    """

    name: str
    family: str
    dtype: str
    hidden: int
    encoder: Side
    decoder: Side
    vocab: int
    activation: str
    gated: bool
    tied: bool
    max_positions: int
    buckets: int = 0
    source_positions: int = 0
    mels: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in BITS:
            raise unknown_name("dtype", self.dtype, BITS)
        if self.activation not in VECTOR_OPS:
            raise unknown_name(f"activation function of '{self.name}'", self.activation, VECTOR_OPS)
        sizes = (self.hidden, self.vocab, self.max_positions)
        if max(sizes) > 10**8 or self.source_positions > 10**6 or self.mels > 10**5 or self.buckets > 10**5:
            raise InvalidInputError(f"'{self.name}': {sizes} are absurd sizes")

    @property
    def learned(self) -> bool:
        """Whether positions are rows of tables."""
        return self.buckets == 0

    def source(self, context: int) -> int:
        """Tokens of the input: as many as of the output, where the model does not fix them."""
        return self.source_positions or context


def t5(fields: Fields) -> EncoderDecoder:
    """T5 and its successors: RMS norms, relative positions, no biases; newer ones gate the feed-forward part."""
    hidden, n_heads, head_dim = fields.count("d_model"), fields.count("num_heads"), fields.count("d_kv", default=64)
    ffn, n_layers = fields.count("d_ff"), fields.count("num_layers")
    gated, activation = _projection(fields)
    return EncoderDecoder(
        name=fields.model,
        family="t5",
        dtype=values.dtype(fields),
        hidden=hidden,
        encoder=Side(n_layers, n_heads, head_dim, ffn),
        decoder=Side(fields.count("num_decoder_layers", default=n_layers), n_heads, head_dim, ffn),
        vocab=fields.count("vocab_size"),
        activation=activation,
        gated=gated,
        tied=fields.flag("tie_word_embeddings", True),
        max_positions=fields.count("n_positions", default=512),
        buckets=fields.count("relative_attention_num_buckets", default=32),
    )


def _projection(fields: Fields) -> tuple[bool, str]:
    """`feed_forward_proj` names the activation function, perhaps behind `gated-`; `gated-gelu` means its tanh form."""
    text = fields.string("feed_forward_proj") or "relu"
    gated, name = text.startswith("gated-"), text.removeprefix("gated-")
    name = "gelu_new" if gated and name == "gelu" else name
    if name not in VECTOR_OPS:
        fields.fail("feed_forward_proj", f"is not supported: {unknown_name('activation function', name, VECTOR_OPS)}")
    return gated, name


def whisper(fields: Fields) -> EncoderDecoder:
    """Whisper: two convolutions over a spectrogram, layer norms, biases on all but the keys, learned positions."""
    hidden = fields.count("d_model")

    def side(name: str) -> Side:
        n_heads = fields.count(f"{name}_attention_heads")
        head_dim = values.head_dim(fields, hidden, n_heads)
        return Side(fields.count(f"{name}_layers"), n_heads, head_dim, fields.count(f"{name}_ffn_dim"))

    return EncoderDecoder(
        name=fields.model,
        family="whisper",
        dtype=values.dtype(fields),
        hidden=hidden,
        encoder=side("encoder"),
        decoder=side("decoder"),
        vocab=fields.count("vocab_size"),
        activation=values.activation(fields, "activation_function", "gelu"),
        gated=False,
        tied=fields.flag("tie_word_embeddings", True),
        max_positions=fields.count("max_target_positions", default=448),
        source_positions=fields.count("max_source_positions", default=1500),
        mels=fields.count("num_mel_bins", default=80),
    )
