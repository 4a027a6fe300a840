"""How to draw programs that can be fused, and what crosses the borders of their regions, told literally."""

from itertools import pairwise, product

from hypothesis import strategies as st

from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind
from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.regions import Region


@st.composite
def graphs(draw: st.DrawFn, *, max_ops: int = 7) -> Graph:
    """A program in which each operation writes one or two new tensors and reads up to three that there are."""
    tensors = [
        Tensor(f"w{n}", (draw(st.integers(1, 40)),), "uint8", TensorKind.WEIGHT) for n in range(draw(st.integers(1, 3)))
    ]
    ops: list[Op] = []
    for number in range(draw(st.integers(1, max_ops))):
        reads = draw(st.lists(st.sampled_from(tensors), max_size=3, unique=True))
        made = [
            Tensor(
                f"t{number}{n}", (draw(st.integers(1, 40)),), "uint8",
                draw(st.sampled_from((TensorKind.ACTIVATION, TensorKind.ACTIVATION, TensorKind.OUTPUT))),
            )
            for n in range(draw(st.integers(1, 2)))
        ]  # fmt: skip
        accesses = (tuple(Access(t.name, t.size) for t in each) for each in (reads, made))
        ops.append(Op(f"op{number}", "k", *accesses, draw(st.integers(0, 900)), draw(st.integers(0, 900))))
        tensors += made
    return Graph("drawn", tuple(tensors), tuple(ops))


@st.composite
def cuts(draw: st.DrawFn, n_ops: int) -> list[Region]:
    """A program of that many operations, cut into regions."""
    inner = sorted(draw(st.sets(st.integers(1, n_ops - 1)))) if n_ops > 1 else []
    ends = [0, *inner, n_ops]
    return [Region(start, stop) for start, stop in pairwise(ends)]


def all_cuts(n_ops: int) -> list[list[Region]]:
    """Every way to cut that many operations into regions."""
    found: list[list[Region]] = []
    for chosen in product((False, True), repeat=n_ops - 1):
        ends = [0, *(at + 1 for at, cut in enumerate(chosen) if cut), n_ops]
        found.append([Region(start, stop) for start, stop in pairwise(ends)])
    return found


def border_bytes(graph: Graph, region: Region) -> tuple[int, int]:
    """Bytes read from outside and written to it, where each tensor is written once, tensor by tensor."""
    inside = graph.ops[region.start : region.stop]
    outside = [*graph.ops[: region.start], *graph.ops[region.stop :]]
    read = written = 0
    for tensor in graph.tensors:
        made = any(tensor.name == a.tensor for op in inside for a in op.writes)
        used = any(tensor.name == a.tensor for op in inside for a in op.reads)
        needed = tensor.kind is TensorKind.OUTPUT or any(tensor.name == a.tensor for op in outside for a in op.reads)
        read += tensor.size if used and not made else 0
        written += tensor.size if made and (needed or len(inside) == 1) else 0
    return read, written


def held_bytes(graph: Graph, region: Region) -> int:
    """The most bytes in scratch while one operation of a region runs, if every tensor that waits is there whole."""
    most = 0
    for now in range(region.start, region.stop):
        total = 0
        for tensor in graph.tensors:
            touches = [
                (number, any(tensor.name == a.tensor for a in graph.ops[number].reads))
                for number in range(region.start, region.stop)
                if any(tensor.name == a.tensor for a in (*graph.ops[number].reads, *graph.ops[number].writes))
            ]
            if len(touches) > 1 and touches[-1][1] and touches[0][0] <= now <= touches[-1][0]:
                total += tensor.size
        most = max(most, total)
    return most


def machine(*, launch_s: float = 0.0, near: int = 1000) -> Machine:
    """A small memory on a chip beside a large one."""
    tiers = (Tier("near", near, 1e4, 1e4), Tier("far", 10**9, 1e2, 1e2))
    links = (Link("in", "far", "near", 1e2), Link("out", "near", "far", 1e2))
    return Machine(
        "chip", Unit("m", {"float32": 1e4}), Unit("v", {"float32": 5e3}), tiers, links, home="far", launch_s=launch_s
    )
