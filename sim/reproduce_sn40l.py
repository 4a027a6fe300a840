"""SambaNova SN40L (Prabhakar et al., MICRO 2024): switching, footprint and serving of 150 experts beside ours."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import Floats
from tierplan.sim.experts import ServiceTimes, batch_s
from tierplan.sim.experts_tiers import ExpertTier
from tierplan.sim.reproduce_rows import Kind, PaperRow
from tierplan.sim.reproduce_sn40l_fusion import fusion_rows, monarch_rows

_TABLE_5 = "arXiv 2405.07518, Table V"
_FOOTPRINT = "arXiv 2405.07518, section VI.C"

N_TOKENS = 20
_FOOTPRINT_EXPERT = 14 * 10**9  # fitted: 13.48 GB of weights, and 4 % more to make 850 experts 19 nodes


@dataclass(frozen=True, slots=True)
class Node:
    """A node that serves experts: memory that runs them, memory below it, and the path between the two.

    `run_ratio`: time of an expert's run over that of an SN40L node. Units: bytes, bytes per second.
    """

    name: str
    fast: int
    below: int
    switch_bandwidth: float
    run_ratio: float = 1.0

    def switch_s(self, expert: int) -> float:
        """Seconds to switch in one expert of that many bytes."""
        return ExpertTier(self.name, self.below, self.switch_bandwidth).copy_s(expert)


SN40L = Node("sn40l", 512 * 2**30, 12 * 10**12, 1e12)
A100 = Node("a100", 640 * 10**9, 2 * 10**12, 32e9, run_ratio=2.0)
H100 = Node("h100", 640 * 10**9, 2 * 10**12, 64e9, run_ratio=1.5)
"""The paper's own constants: over 1 TB/s achieved from DDR to HBM; 32 and 64 GB/s from the host to a DGX."""

_OVERALL = (("a100", 1, 4.8), ("h100", 1, 2.8), ("a100", 8, 6.6), ("h100", 8, 3.7))


def sn40l_rows(
    expert: int, sn40l: Node = SN40L, a100: Node = A100, h100: Node = H100, *, fused: Mapping[str, float] | None = None
) -> tuple[PaperRow, ...]:
    """Every row of the paper that is compared, for experts of `expert` bytes (Llama 2 7B in 16 bits).

    `fused`: how much faster fusing makes a model of each class, to be shown beside the paper's range.
    """
    nodes = (sn40l, a100, h100)
    return (
        *_switching(expert, nodes),
        *_footprint(expert, nodes),
        *_serving(expert, nodes),
        *monarch_rows(),
        *fusion_rows(fused or {}),
    )


def fit_service(expert: int, nodes: tuple[Node, ...]) -> ServiceTimes:
    """The two times that the paper does not print, router and run, fitted to Table V's four cells of 20 tokens.

    Assumes: T = router + batch x (switch + run), and on a DGX both times longer by the printed ratio of runs.
    """
    times: Floats = np.full(2, math.log(0.05))
    for _ in range(60):  # Gauss-Newton on logarithms, with differences for slopes
        off = _log_errors(expert, nodes, times)
        slopes = np.stack(
            [(_log_errors(expert, nodes, times + 1e-6 * unit) - off) / 1e-6 for unit in np.eye(2)], axis=1
        )
        step = np.linalg.solve(slopes.T @ slopes, slopes.T @ off)
        times = times - np.clip(step, -0.5, 0.5)
    router, run = np.exp(times)
    return ServiceTimes(float(router), 0.0, float(run) / N_TOKENS)


def speedup(expert: int, ours: Node, other: Node, times: ServiceTimes, batch: int) -> float:
    """How much faster `ours` serves a batch in which every request switches."""
    slower = ServiceTimes(
        times.router_s * other.run_ratio, times.prompt_s * other.run_ratio, times.token_s * other.run_ratio
    )
    theirs_s = batch_s(slower, other.switch_s(expert), batch, N_TOKENS)
    return theirs_s / batch_s(times, ours.switch_s(expert), batch, N_TOKENS)


def _log_errors(expert: int, nodes: tuple[Node, ...], logarithms: Floats) -> Floats:
    router, run = np.exp(logarithms)
    times = ServiceTimes(float(router), 0.0, float(run) / N_TOKENS)
    by_name = {node.name: node for node in nodes}
    return np.array(
        [math.log(speedup(expert, nodes[0], by_name[name], times, batch) / paper) for name, batch, paper in _OVERALL]
    )


def _switching(expert: int, nodes: tuple[Node, ...]) -> Iterator[PaperRow]:
    sn40l, a100, h100 = nodes
    for node, paper, note in ((a100, 31, ""), (h100, 15, "the paper's text says 16 elsewhere")):
        ratio = node.switch_s(expert) / sn40l.switch_s(expert)
        yield PaperRow(
            f"sn40l/switching/{node.name}", "speedup", paper, ratio, Kind.PREDICTED, _TABLE_5, rounding=0.5, note=note
        )


def _footprint(expert: int, nodes: tuple[Node, ...]) -> Iterator[PaperRow]:
    sn40l, a100, _ = nodes
    held = ExpertTier("ddr", sn40l.below)
    note = "14 GB an expert, fitted: its weights and 4 % more; weights alone come to"
    yield PaperRow(
        "sn40l/footprint/experts", "n_experts", 850, held.places(_FOOTPRINT_EXPERT), Kind.FITTED, _FOOTPRINT,
        fitted=True, rounding=5, note=f"{note} {held.places(expert)}",
    )  # fmt: skip
    yield PaperRow(
        "sn40l/footprint/dgx-nodes", "n_nodes", 19, math.ceil(850 * _FOOTPRINT_EXPERT / a100.fast), Kind.FITTED,
        _FOOTPRINT, fitted=True, rounding=0.5, note=f"{note} {math.ceil(850 * expert / a100.fast)}",
    )  # fmt: skip
    yield PaperRow(
        "sn40l/footprint/dgx-most", "n_experts", 150, ExpertTier("host", a100.below).places(expert), Kind.PREDICTED,
        _TABLE_5, note="more than 150 do not fit; the host memory holds all experts, the GPUs cache them",
    )  # fmt: skip


def _serving(expert: int, nodes: tuple[Node, ...]) -> Iterator[PaperRow]:
    times = fit_service(expert, nodes)
    by_name = {node.name: node for node in nodes}
    for node in nodes[1:]:
        yield PaperRow(f"sn40l/run/{node.name}", "speedup", node.run_ratio, node.run_ratio, Kind.INPUT, _TABLE_5)
    note = f"router {times.router_s * 1e3:.1f} ms and run {times.run_s(N_TOKENS) * 1e3:.1f} ms, fitted to these four"
    for name, batch, paper in _OVERALL:
        ours = speedup(expert, nodes[0], by_name[name], times, batch)
        yield PaperRow(
            f"sn40l/overall/{name}/batch{batch}", "speedup", paper, ours, Kind.FITTED, _TABLE_5, True, 0.05, note=note
        )
