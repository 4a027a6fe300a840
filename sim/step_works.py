"""From the graph of a language model on one device to the kernels that a serving runtime starts for it.

Runtimes start fewer kernels than the graph has operations. Products of one input by several matrices are one kernel,
so is a run of operations that do no products (add and norm; rotation and append), and so are the experts of a layer.
Shared experts run beside the others.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from tierplan.ir.collectives import collective_of
from tierplan.ir.graph import Attribute, Graph, Op
from tierplan.sim.workloads import Attention, Collective, Gemm, Moe


@dataclass(frozen=True, slots=True)
class Stream:
    """A kernel that does no products: it streams so many bytes."""

    bytes: float


@dataclass(frozen=True, slots=True)
class Beside:
    """A kernel that starts while another one runs; they share the device."""

    work: Gemm | Stream


Alone: TypeAlias = Gemm | Attention | Moe | Collective | Stream
Work: TypeAlias = Alone | Beside


@dataclass(frozen=True, slots=True)
class Precision:
    """Element types of the products of layers, of experts, and of the cache; all else is 16 bits wide."""

    products: str = "bfloat16"
    experts: str = "bfloat16"
    cache: str = "bfloat16"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel, the layer that it is part of (None: of none), and whether it attends."""

    work: Work
    layer: int | None

    @property
    def attends(self) -> bool:
        """Whether its time depends on the positions of the sequences, not on their number alone."""
        return isinstance(self.work, Attention)

    @property
    def n_starts(self) -> int:
        """Kernels that stand for this one.

        Assumes: for experts, as vLLM and TensorRT-LLM start them, two that choose, three that count and sort, two that
        quantise, two products, one activation, one that spreads rows and one that adds them up.
        """
        return 12 if isinstance(self.work, Moe) else 1


_UNSTARTED = ("send", "receive")
_EXPERTS = ("expert_matmul", "grouped_matmul")
_SKEW = 1.2  # of the power law by which tokens are shared out, which aiconfigurator takes for servers
_SHARED = (".shared_expert", ".shared.activation")


def kernels(graph: Graph, precision: Precision) -> list[Kernel]:
    """The kernels of one turn of a forward pass, in order.

    Assumes: the mixtures of a graph have stacked experts; a router, the head and projections beside the layers are
    not quantised. A run that ends a layer and begins the next is part of the one that it ends; the run that begins the
    first is part of none. Some experts get far more tokens than others.
    """
    found: list[Kernel] = []
    run: list[Op] = []  # operations without products that have not been written down
    products: list[Op] = []  # products of one input, the same
    experts = {op.attributes["layer"] for op in graph.ops if op.kind in _EXPERTS}
    done: set[Attribute] = set()
    top_k = {op.attributes["layer"]: op for op in graph.ops if op.kind == "top_k"}

    begun: set[int | None] = set()
    of_input: dict[tuple[str, str], int] = {}  # where the kernel of the products of an input stands
    uses = Counter(access.tensor for op in graph.ops for access in op.reads)

    def flush() -> None:
        if run:
            layer, work = _layer(run[0]), Stream(_outside(run, uses))
            found.append(Kernel(Beside(work) if all(map(_is_shared, run)) else work, layer if layer in begun else None))
            run.clear()
        if products:
            work = _product(products, precision)
            layer, shared = _layer(products[0]), _is_shared(products[0])
            key = (products[0].reads[0].tensor, work.dtype)
            begun.add(layer)
            products.clear()
            if key in of_input and not shared:
                earlier = found[of_input[key]].work
                assert isinstance(earlier, Gemm)
                found[of_input[key]] = Kernel(replace(earlier, n=np.add(earlier.n, work.n).item()), layer)
            else:
                of_input.setdefault(key, len(found))
                found.append(Kernel(Beside(work) if shared else work, layer))

    for op in graph.ops:
        layer = op.attributes.get("layer")
        if layer in experts and (op.kind in _EXPERTS or op.name.endswith(".experts.activation")):
            if layer not in done:
                flush()
                done.add(layer)
                of_layer = [o for o in graph.ops if o.kind in _EXPERTS and o.attributes["layer"] == layer]
                found.append(Kernel(_experts(of_layer, top_k[layer], precision), _layer(op)))
        elif op.kind == "matmul":
            if run or (products and products[0].reads[0].tensor != op.reads[0].tensor):
                flush()
            products.append(op)
        elif (work := _alone(op, precision)) is not None:
            flush()
            found.append(Kernel(work, _layer(op)))
        elif op.kind not in _UNSTARTED:
            if products:
                flush()
            run.append(op)
    flush()
    return found


def _is_shared(op: Op) -> bool:
    return any(part in op.name for part in _SHARED)


def _layer(op: Op) -> int | None:
    layer = op.attributes.get("layer")
    return layer if isinstance(layer, int) else None


def _outside(run: list[Op], uses: Counter[str]) -> float:
    """Bytes that a run of operations exchanges with memory: what it alone makes and uses stays near."""
    written = {access.tensor for op in run for access in op.writes}
    own = Counter(access.tensor for op in run for access in op.reads)
    sources = {a.tensor: a.bytes for op in run for a in op.reads if a.tensor not in written}
    of_layer = [op for op in run if _layer(op) == _layer(run[0])]
    end = of_layer[-1] if len(of_layer) < len(run) else None  # its result is what the layers add to, on and on
    kept = sum(
        access.bytes
        for op in run
        for access in op.writes
        if not uses[access.tensor] or own[access.tensor] < uses[access.tensor] or op is end
    )
    return sum(sources.values()) + kept


def _product(products: list[Op], precision: Precision) -> Gemm:
    first = products[0].attributes
    outside = first.get("layer") is None or products[0].name.endswith((".gate", ".router"))
    n = sum(_number(op.attributes, "n") for op in products)
    dtype = "bfloat16" if outside else precision.products
    return Gemm(_number(first, "m"), n, _number(first, "k"), dtype)


def _alone(op: Op, precision: Precision) -> Alone | None:
    """The kernel of an operation that is one of its own; None where it is not."""
    told = op.attributes
    if op.kind == "attention":
        window = told["window"]
        extents = [_number(told, name) for name in ("batch", "queries", "keys", "heads", "kv_heads", "head_dim")]
        return Attention(*extents, window=window if isinstance(window, int) else 0, cache_dtype=precision.cache)
    if op.kind in ("latent_attention", "expanded_attention"):
        batch, queries, keys, heads = (_number(told, name) for name in ("batch", "queries", "keys", "heads"))
        rank, plain, rotary, value = (_number(told, name) for name in ("kv_rank", "plain", "rotary", "value"))
        if op.kind == "latent_attention":
            cache = precision.cache
            return Attention(batch, queries, keys, heads, 1, rank + rotary, cache_dtype=cache, value_dim=rank)
        return Attention(batch, queries, keys, heads, heads, plain + rotary, value_dim=value)
    if op.kind == "head_matmul":
        m, n, k, heads = (_number(told, name) for name in ("m", "n", "k", "heads"))
        return Gemm(m, n, k, "bfloat16", heads)
    collective = collective_of(op)
    if collective is not None and op.kind not in _UNSTARTED:
        return Collective(op.kind, collective.bytes, collective.devices)
    return None


def _experts(products: list[Op], top_k: Op, precision: Precision) -> Moe:
    """The experts of a layer; a slice of each is an expert of its own, with that inner width."""
    *inner, down = (op.attributes for op in products)
    n_experts, per_token = _number(top_k.attributes, "experts"), _number(top_k.attributes, "per_token")
    ranks = n_experts / _number(down, "experts")
    width = _number(down, "k")
    gated = sum(_number(each, "n") for each in inner) > width
    tokens = _number(down, "m") * ranks / per_token
    hidden = _number(down, "n")
    return Moe(tokens, hidden, width, n_experts, per_token, 1, ranks, _SKEW, precision.experts, gated)


def _number(attributes: Mapping[str, Attribute], name: str) -> float:
    value = attributes[name]
    assert isinstance(value, int | float)
    return value
