"""What a GGUF file calls the weights that a plan calls by the names of the transformers library.

Source: `naming.GGUF`, the tensor names of llama.cpp's gguf-py. Expert matrices that stand one by one in a checkpoint,
and fused gate and up projections, are stacks of their own in a GGUF file.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.gguf_model import FAMILIES
from tierplan.frontend.naming import GGUF, NAMES, Names
from tierplan.frontend.parts import FeedForward, LatentAttention, Linear, Norm, Stack, Table, Vector
from tierplan.frontend.weights import Layer, Mixture, weights
from tierplan.ir.errors import InvalidInputError

_READ = frozenset(FAMILIES.values()) | {"mistral", "mixtral", "deepseek_v3"}
Part = Linear | Norm | Table | Vector | Stack | None
Pairs = Iterator[tuple[str, str]]


def gguf_names(arch: Architecture) -> Mapping[str, tuple[str, ...]]:
    """For each tensor of the GGUF file of a model, the planned weights that it holds, in the file's order.

    Raises: InvalidInputError: llama.cpp has no such architecture, or it is an encoder.
    """
    if arch.family not in _READ or not arch.causal:
        raise InvalidInputError(
            f"'{arch.name}' is of the family {arch.family}, for which there are no tensor names of GGUF here; "
            f"llama.cpp's flags are written for: {', '.join(sorted(_READ - {'bert'}))}"
        )
    ours, theirs = weights(arch), weights(arch, _names(arch))
    found: dict[str, list[str]] = {}
    pairs = [
        *_pair(ours.tokens, theirs.tokens), *_pair(ours.positions, theirs.positions),
        *(pair for one, other in zip(ours.layers, theirs.layers, strict=True) for pair in _layers(one, other)),
        *_pair(ours.final_norm, theirs.final_norm), *_pair(ours.head, theirs.head),
    ]  # fmt: skip
    for planned, stored in pairs:
        found.setdefault(stored, []).append(planned)
    return {stored: tuple(planned) for stored, planned in found.items()}


def _names(arch: Architecture) -> Names:
    """As llama.cpp's converter writes the files of a family today."""
    own, names = NAMES[arch.family], GGUF
    if len(own.qkv) == 1:
        names = replace(names, qkv=("attn_qkv",))
    if not own.mlp.gate:
        names = replace(names, mlp=replace(names.mlp, gate=""))
    if arch.latent:
        names = replace(names, latent=replace(names.latent, kv_b=("attn_k_b", "attn_v_b")))
    if arch.family == "falcon":
        names = replace(names, two_norms=("attn_norm_2", "attn_norm"))
    return names


def _layers(ours: Layer, theirs: Layer) -> Pairs:
    for name in ("attention_norm", "post_attention_norm", "mlp_norm", "post_mlp_norm", "out"):
        yield from _pair(getattr(ours, name), getattr(theirs, name))
    for one, other in (*zip(ours.qkv, theirs.qkv, strict=True), *zip(ours.qk_norms, theirs.qk_norms, strict=True)):
        yield from _pair(one, other)
    if ours.latent is not None and theirs.latent is not None:
        yield from _latent(ours.latent, theirs.latent)
    if isinstance(ours.mlp, Mixture) and isinstance(theirs.mlp, Mixture):
        yield from _mixture(ours.mlp, theirs.mlp)
    elif isinstance(ours.mlp, FeedForward) and isinstance(theirs.mlp, FeedForward):
        yield from _feed_forward(ours.mlp, theirs.mlp)


def _latent(ours: LatentAttention, theirs: LatentAttention) -> Pairs:
    for name in ("q_a", "q_a_norm", "q", "kv_a", "kv_norm"):
        yield from _pair(getattr(ours, name), getattr(theirs, name))
    yield from _all_to_all(ours.kv_b, theirs.kv_b)


def _feed_forward(ours: FeedForward, theirs: FeedForward) -> Pairs:
    for name in ("gate", "up", "down"):
        yield from _pair(getattr(ours, name), getattr(theirs, name))


def _mixture(ours: Mixture, theirs: Mixture) -> Pairs:
    yield from _pair(ours.router, theirs.router)
    yield from _pair(ours.correction, theirs.correction)
    gate, up, down = _stacks(theirs)
    for expert in ours.experts:
        yield from _all_to_all([expert.gate], [gate])
        yield from _all_to_all([expert.up], [up])
        yield from _all_to_all([expert.down], [down])
    if ours.stack:
        *inner, last = ours.stack
        yield from _all_to_all(inner, [gate, up])
        yield from _all_to_all([last], [down])
    if ours.shared is not None and theirs.shared is not None:
        yield from _feed_forward(ours.shared, theirs.shared)
    yield from _pair(ours.shared_gate, theirs.shared_gate)


def _stacks(mixture: Mixture) -> tuple[Stack, Stack, Stack]:
    if len(mixture.stack) != 3:
        raise InvalidInputError("a mixture of experts without gates has no tensor names of GGUF here")
    gate, up, down = mixture.stack
    return gate, up, down


def _pair(ours: Part, theirs: Part) -> Pairs:
    if ours is not None and theirs is not None:
        ours_named, theirs_named = list(ours.shapes()), list(theirs.shapes())
        for (planned, _), (stored, _) in zip(ours_named, theirs_named, strict=True):
            yield planned, stored


def _all_to_all(ours: Iterable[Part], theirs: Iterable[Part]) -> Pairs:
    """Each stored part holds something of each planned one."""
    parts = [part for part in theirs if part is not None]
    for one in ours:
        if one is not None:
            for other in parts:
                yield from ((planned, stored) for planned, _ in one.shapes() for stored, _ in other.shapes())
