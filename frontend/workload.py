"""What is asked of a model: the phase, the batch, the context and the element type."""

from dataclasses import dataclass
from enum import Enum

from tierplan.frontend.architecture import LEARNED_POSITIONS, Architecture
from tierplan.frontend.encoder_decoder import EncoderDecoder
from tierplan.ir.dtypes import dtype_name
from tierplan.ir.errors import InvalidInputError, unknown_name

_LARGEST = {"batch": 10**6, "context": 10**9}
_INFERENCE_DTYPES = (
    "float64", "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn",
    "int8", "uint8", "int4", "uint4", "int2", "uint2",
)  # fmt: skip
_TRAINING_DTYPES = ("float64", "float32", "bfloat16", "float16")


class Phase(Enum):
    """What one turn of the program does."""

    PREFILL = "prefill"
    DECODE = "decode"
    TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Workload:
    """One turn: `batch` sequences of `context` positions, in one element type.

    `chunk`: a prefill turn reads only so many of them, the last; those before lie in the caches. None: all.
    """

    phase: Phase
    batch: int
    context: int
    dtype: str
    chunk: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("batch", self.batch), ("context", self.context)):
            if type(value) is not int or not 1 <= value <= _LARGEST[name]:
                raise InvalidInputError(f"{name} is {value!r}; write a whole number from 1 to {_LARGEST[name]}")
        if self.chunk is not None and (self.phase is not Phase.PREFILL or not 1 <= self.chunk <= self.context):
            raise InvalidInputError(
                f"a chunk of {self.chunk} of {self.context} positions in the phase {self.phase.value}; prefill reads "
                "chunks of 1 position to all"
            )
        allowed = _TRAINING_DTYPES if self.phase is Phase.TRAIN else _INFERENCE_DTYPES
        if self.dtype not in allowed:
            raise unknown_name(f"dtype for {self.phase.value}", self.dtype, allowed)

    @property
    def new_tokens(self) -> int:
        """Tokens of one sequence that one turn reads."""
        return 1 if self.phase is Phase.DECODE else self.chunk or self.context

    @property
    def from_cache(self) -> bool:
        """Whether attention reads the caches: positions before those of this turn lie only there."""
        return self.phase is Phase.DECODE or self.new_tokens < self.context

    @property
    def rows(self) -> int:
        """Tokens of all sequences that one turn reads."""
        return self.batch * self.new_tokens


def workload(
    arch: Architecture | EncoderDecoder, *, phase: str, batch: int, context: int, dtype: str | None,
    chunk: int | None = None,
) -> Workload:  # fmt: skip
    """The workload, if this architecture can run it.

    Raises: InvalidInputError: an unknown phase or dtype, an impossible batch or context, decoding with an
        encoder, or a context with more positions than the model's table of learned positions has.
    """
    if phase not in (known := [p.value for p in Phase]):
        raise unknown_name("phase", phase, known)
    work = Workload(Phase(phase), batch, context, arch.dtype if dtype is None else dtype_name(dtype), chunk)
    if isinstance(arch, EncoderDecoder):
        learned = arch.learned
    else:
        _check_phase(arch, work)
        learned = arch.family in LEARNED_POSITIONS
    if learned and context > arch.max_positions:
        raise InvalidInputError(
            f"context {context} is too long for '{arch.name}': its position table has {arch.max_positions} rows"
        )
    return work


def _check_phase(arch: Architecture, work: Workload) -> None:
    if work.phase is Phase.DECODE and not arch.causal:
        raise InvalidInputError(
            f"'{arch.name}' is an encoder ({arch.family}): it reads all of its input at once and has no decode phase; "
            "ask for the phase prefill or train"
        )
    if work.chunk is not None and not arch.causal:
        raise InvalidInputError(f"'{arch.name}' is an encoder ({arch.family}): it reads all of its input at once")
    if arch.patches and work.context != arch.max_positions:
        raise InvalidInputError(
            f"'{arch.name}' reads images of {arch.patches.n} patches, {arch.max_positions} tokens each; "
            "leave the context out"
        )
