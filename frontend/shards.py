"""The weights and extents that one device of several has."""

from dataclasses import replace
from functools import lru_cache

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.naming import Names
from tierplan.frontend.parallel import Shard, check, split
from tierplan.frontend.weights import Layer, Mixture, Weights, weights
from tierplan.frontend.workload import Phase, Workload
from tierplan.ir.errors import InvalidInputError


def own_work(arch: Architecture, work: Workload, shard: Shard) -> Workload:
    """What the device is asked for: the sequences of its group.

    Raises: InvalidInputError: the model or the batch cannot be split so, or it trains.
    """
    parallel = shard.parallel
    if parallel.devices == 1:
        return work
    check(arch, parallel)
    if work.phase is Phase.TRAIN:
        raise InvalidInputError(
            "--tp, --pp and --ep are for --phase prefill and decode; training is for one device yet"
        )
    if work.batch % parallel.groups:
        raise InvalidInputError(
            f"--batch {work.batch} cannot be split over {parallel.groups} groups of {parallel.tp} devices; "
            f"write a multiple of {parallel.groups}"
        )
    return replace(work, batch=work.batch // parallel.groups)


def own_architecture(arch: Architecture, shard: Shard) -> Architecture:
    """The extents of the device: its heads, its share of the inner widths, its rows of the vocabulary."""
    tp, experts = shard.parallel.tp, arch.experts
    if shard.parallel.stage_devices == 1:
        return arch
    if experts is not None:
        experts = replace(experts, ffn=experts.ffn // shard.parallel.expert_tp, shared=experts.shared // tp)
    return replace(
        arch,
        n_heads=arch.n_heads // tp,
        n_kv_heads=max(1, arch.n_kv_heads // tp),
        ffn=max(1, arch.ffn // tp),
        vocab=len(split(arch.vocab, tp, shard.tensor_rank)),
        experts=experts,
    )


@lru_cache(maxsize=4)  # a load asks for many graphs of one model
def own_weights(arch: Architecture, names: Names | None, shard: Shard, layers: tuple[int, ...]) -> Weights:
    """The weights of the device: those of its stage, each as its share.

    A head that is tied to the token table is a matrix of its own where the table is in another stage.
    """
    whole = weights(own_architecture(arch, shard), names)
    head = whole.head
    if head is not None and head.shared and not shard.first:
        head = replace(head, shared="")
    kept = replace(whole, layers=tuple(_own_experts(whole.layers[index], arch, shard) for index in layers), head=head)
    if not shard.first:
        kept = replace(kept, tokens=None, patches=None, positions=None, token_types=None)
        kept = replace(kept, embedding_norm=None, project_in=None)
    return kept if shard.last else replace(kept, final_norm=None, project_out=None, head=None, pooler=None)


def _own_experts(layer: Layer, arch: Architecture, shard: Shard) -> Layer:
    mixture = layer.mlp
    if not isinstance(mixture, Mixture) or arch.experts is None:
        return layer
    own = shard.experts(arch.experts.n)
    stack = tuple(replace(part, n=len(own)) for part in mixture.stack)
    return replace(layer, mlp=replace(mixture, experts=mixture.experts[own.start : own.stop], stack=stack))
