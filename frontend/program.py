"""Models of every family: their weights, and the graph of one turn."""

from collections.abc import Mapping
from typing import TypeAlias

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.encoder_decoder import EncoderDecoder
from tierplan.frontend.encoder_decoder_graph import encoder_decoder_graph
from tierplan.frontend.encoder_decoder_weights import halves
from tierplan.frontend.naming import Names
from tierplan.frontend.parallel import ALONE, Shard
from tierplan.frontend.parts import Shapes
from tierplan.frontend.transformer import language_model
from tierplan.frontend.weights import weights
from tierplan.frontend.workload import workload
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, Stored

Model: TypeAlias = Architecture | EncoderDecoder

_LONGEST_DEFAULT_CONTEXT = 4096


def weight_shapes(model: Model, names: Names | None = None) -> Shapes:
    """Name and shape of each weight, under the names of the family or under others."""
    return halves(model).shapes() if isinstance(model, EncoderDecoder) else weights(model, names).shapes()


def model_graph(
    model: Model,
    *,
    phase: str | None,
    batch: int | None,
    context: int | None,
    dtype: str | None,
    names: Names | None = None,
    stored: Mapping[str, Stored] | None = None,
    notes: tuple[str, ...] = (),
    shard: Shard = ALONE,
    chunk: int | None = None,
) -> Graph:
    """The graph of one turn, of one device of several with a `shard`; what is None takes its default.

    A model decodes where it can, one sequence, over as many positions as it allows up to 4096.

    Raises: InvalidInputError: the model cannot run this, or a number is impossible.
    """
    encoder = isinstance(model, Architecture) and not model.causal
    images = isinstance(model, Architecture) and model.patches is not None
    phase = phase or ("prefill" if encoder else "decode")
    batch = 1 if batch is None else batch
    if context is None:
        context = model.max_positions if images else min(model.max_positions, _LONGEST_DEFAULT_CONTEXT)
    if isinstance(model, EncoderDecoder):
        if shard != ALONE:
            raise InvalidInputError(f"'{model.name}' has an encoder and a decoder; --tp, --pp and --ep split one stack")
        if chunk is not None:
            raise InvalidInputError(
                f"'{model.name}' has an encoder, which reads all of its input at once, not in chunks"
            )
        work = workload(model, phase=phase, batch=batch, context=context, dtype=dtype)
        return encoder_decoder_graph(model, work, stored=stored, notes=notes)
    return language_model(
        model,
        phase=phase,
        batch=batch,
        context=context,
        dtype=dtype,
        names=names,
        stored=stored,
        notes=notes,
        shard=shard,
        chunk=chunk,
    )
