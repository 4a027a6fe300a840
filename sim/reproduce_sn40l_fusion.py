"""SN40L (MICRO 2024): what fusing brings, beside ours; nothing of it follows from what the paper prints."""

from collections.abc import Iterator, Mapping, Sequence

from tierplan.einsum.cascade_graph import graph_of_cascade
from tierplan.einsum.parse import parse_cascade
from tierplan.ir.graph import Graph
from tierplan.ir.machine import Machine
from tierplan.ir.regions import Region, fused
from tierplan.sim.fusion_forms import fusable
from tierplan.sim.fusion_price import prices, served_by_tier
from tierplan.sim.fusion_search import largest, seconds_of, unfused
from tierplan.sim.reproduce_rows import Kind, PaperRow

_FUSION = "arXiv 2405.07518, Fig. 10 and section VI.B"
_TABLE_1 = "arXiv 2405.07518, Table I"

MONARCH_FFT = """cascade monarch_fft
rank B, N
input X[B, N, N], F0[N, N], Twiddle[N, N], F1[N, N]
output Y
Gemm0[b, k, j] = F0[k, i] * X[b, i, j]
Mul[b, k, j] = Gemm0[b, k, j] * Twiddle[k, j]
Transposed[b, j, k] = Mul[b, k, j]
Y[b, l, k] = F1[l, j] * Transposed[b, j, k]
"""
"""A Fourier transform of N * N points in two factors: two products, and between them twiddles and a transposition.

Source: Dao et al., Monarch, ICML 2022; Fu et al., FlashFFTConv, 2023, section 3.1.
Assumes: real numbers of 16 bits, of which a complex transform needs several.
"""

_CUTS = (
    ("none", 39.5, ()),
    ("gemm0-mul-transpose", 102.6, (Region(0, 3),)),
    ("all", 410.4, (Region(0, 4),)),
)
_SIDE, _BATCH = 1024, 64  # 2**20 points, as the paper's FlashFFTConv; the batch hardly matters

_CLASSES = (
    ("flashfftconv", 13.0, 13.0),
    ("prefill, train, sparseGPT", 1.5, 3.0),
    ("decode", 1.0, 13.0),
)


def intensity(graph: Graph, regions: Sequence[Region]) -> float:
    """Operations per byte that crosses the borders of kernels, when these regions of a graph are fused."""
    kernels = fused(graph, regions).ops
    n_bytes = sum(access.bytes for op in kernels for access in (*op.reads, *op.writes))
    return sum(op.matrix_ops + op.vector_ops for op in kernels) / n_bytes


def speedup_of_fusing(graph: Graph, machine: Machine, tier: str) -> float:
    """How much faster a program runs in kernels as large as they may be than operation by operation.

    Assumes: every operand that crosses a border lies in `tier`, and kernels may hold all of the nearest tier.
    """
    program = fusable(graph, machine, machine.tiers[0].capacity)
    price = prices(machine, served_by_tier(program.uses, machine.tier_index(tier)))
    alone, together = (seconds_of(program, price, cut) for cut in (unfused(program), largest(program, price)))
    return alone / together


def monarch_intensities(batch: int, side: int) -> dict[str, float]:
    """Operations per byte of the Monarch cascade, by what is fused, for so many transforms of side * side points."""
    graph = graph_of_cascade(parse_cascade(MONARCH_FFT, "monarch_fft"), "bfloat16", {"B": batch, "N": side})
    return {name: intensity(graph, regions) for name, _, regions in _CUTS}


def monarch_rows() -> Iterator[PaperRow]:
    """Operational intensity of the Monarch example; its shapes are in a figure alone, so ours is told in a note."""
    ours = monarch_intensities(_BATCH, _SIDE)
    for name, paper, _ in _CUTS:
        yield PaperRow(
            f"sn40l/intensity/{name}", "ops_per_byte", paper, None, Kind.NOT_REPRODUCIBLE, _TABLE_1, rounding=0.05,
            note=f"its shapes are in a figure; {_BATCH} real transforms of {_SIDE} x {_SIDE} points: {ours[name]:.1f}",
        )  # fmt: skip


def fusion_rows(ours: Mapping[str, float]) -> Iterator[PaperRow]:
    """Fused over unfused: the paper prints ranges by class; its shapes and bars are in figures alone.

    `ours` is by class, for a model of it; it is shown, and not claimed.
    """
    for name, low, high in _CLASSES:
        printed = f"{low:g}x" if low == high else f"{low:g}x to {high:g}x"
        shown = "; ours: Llama 2 7B, no launches" if name in ours else ""
        yield PaperRow(
            f"sn40l/fusion/{name}", "speedup", low if low == high else None, ours.get(name), Kind.NOT_REPRODUCIBLE,
            _FUSION, note=f"the paper prints {printed}; shapes are in figures{shown}",
        )  # fmt: skip
