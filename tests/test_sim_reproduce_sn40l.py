"""SN40L: switching is predicted, serving fitted, fusion by class not claimed."""

import dataclasses

import pytest
from flash_models import model_bytes
from fusion_strategies import machine

from tierplan.hardware.load import load_machine
from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind
from tierplan.sim.reproduce_rows import Kind
from tierplan.sim.reproduce_sn40l import A100, H100, SN40L, Node, fit_service, sn40l_rows, speedup
from tierplan.sim.reproduce_sn40l_fusion import monarch_intensities, speedup_of_fusing

EXPERT = model_bytes("llama2-7b").total
ROWS = {row.id: row for row in sn40l_rows(EXPERT)}


def test_switching_ratios_are_predicted() -> None:
    for name, paper in (("a100", 31), ("h100", 15)):
        row = ROWS[f"sn40l/switching/{name}"]
        assert (row.kind, row.fitted, row.paper) == (Kind.PREDICTED, False, paper)
        assert row.rel_error == pytest.approx(0, abs=0.05)
    assert ROWS["sn40l/switching/a100"].as_printed


def test_footprints() -> None:
    assert ROWS["sn40l/footprint/dgx-nodes"].ours == 19
    assert ROWS["sn40l/footprint/experts"].rel_error == pytest.approx(0, abs=0.035)
    most = ROWS["sn40l/footprint/dgx-most"]
    assert most.kind is Kind.PREDICTED
    assert most.ours is not None
    assert 142 <= most.ours <= 150
    assert SN40L.below // EXPERT > 850


def test_serving_is_fitted_within_bounds() -> None:
    cells = [row for name, row in ROWS.items() if name.startswith("sn40l/overall/")]
    assert len(cells) == 4
    for row in cells:
        assert row.kind is Kind.FITTED
        assert row.fitted
        assert row.as_printed
        assert row.rel_error == pytest.approx(0, abs=0.035)


def test_no_other_times_fit_better() -> None:
    nodes = (SN40L, A100, H100)
    best = fit_service(EXPERT, nodes)
    cells = (("a100", 1, 4.8), ("h100", 1, 2.8), ("a100", 8, 6.6), ("h100", 8, 3.7))

    def error(router: float, run: float) -> float:
        times = dataclasses.replace(best, router_s=best.router_s * router, token_s=best.token_s * run)
        by_name: dict[str, Node] = {"a100": A100, "h100": H100}
        found = [speedup(EXPERT, SN40L, by_name[name], times, batch) / paper for name, batch, paper in cells]
        return sum((ratio - 1) ** 2 for ratio in found)

    assert all(error(1, 1) <= error(r, e) * 1.001 for r in (0.9, 1, 1.1) for e in (0.9, 1, 1.1))


def test_fusion_by_class_is_not_claimed() -> None:
    fusion = [row for name, row in ROWS.items() if name.startswith("sn40l/fusion/")]
    assert len(fusion) == 3
    assert all(row.kind is Kind.NOT_REPRODUCIBLE and row.ours is None for row in fusion)
    shown = {row.id: row for row in sn40l_rows(EXPERT, fused={"decode": 1.5})}["sn40l/fusion/decode"]
    assert (shown.ours, shown.paper, shown.kind) == (1.5, None, Kind.NOT_REPRODUCIBLE)


def test_intensity_rises_with_fusing_as_bytes_fall() -> None:
    """Of a square of n x n numbers, 2 n^3 operations a product; 8 squares cross the borders unfused, 4, then 2."""
    n, batch = 1024, 64
    work = batch * (4 * n**3 + n**2)
    ours = monarch_intensities(batch, n)
    squares = {"none": 8 * batch + 3, "gemm0-mul-transpose": 4 * batch + 3, "all": 2 * batch + 3}
    for name, moved in squares.items():
        row = ROWS[f"sn40l/intensity/{name}"]
        assert row.kind is Kind.NOT_REPRODUCIBLE
        assert row.ours is None
        assert ours[name] == pytest.approx(work / (2 * n**2 * moved))
        assert f"points: {ours[name]:.1f}" in row.note


def test_fusing_saves_what_lies_between_kernels() -> None:
    """A product of each byte of `x` and `w`, then one more: fused, the first result stays inside."""
    tensors = tuple(
        Tensor(name, (1000,), "uint8", kind)
        for name, kind in (("x", TensorKind.INPUT), ("y", TensorKind.ACTIVATION), ("z", TensorKind.OUTPUT))
    )
    ops = tuple(
        Op(f"{a}{b}", "k", (Access(a, 1000),), (Access(b, 1000),), dtype="float32") for a, b in (("x", "y"), ("y", "z"))
    )
    assert speedup_of_fusing(Graph("chain", tensors, ops), machine(near=2000), "far") == pytest.approx(2)
    assert speedup_of_fusing(Graph("chain", tensors, ops), machine(near=999), "far") == pytest.approx(1)


def test_constants_are_those_of_the_hardware_files() -> None:
    for node, name in ((SN40L, "sn40l-node"), (A100, "a100-dgx"), (H100, "h100-dgx")):
        machine = load_machine(name)
        path = next(link for link in machine.links if (link.source, link.target) == ("ddr", "hbm"))
        assert path.bandwidth == node.switch_bandwidth
        assert machine.tiers[machine.tier_index("hbm")].capacity == node.fast
