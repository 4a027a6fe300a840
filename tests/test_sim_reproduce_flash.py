"""LLM in a flash: what is predicted lies near the paper, what was fitted says so, and nothing else is claimed."""

import pytest
from flash_models import model_bytes

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.reproduce_flash import flash_rows
from tierplan.sim.reproduce_flash_figures import drive
from tierplan.sim.reproduce_rows import Kind, PaperRow

ROWS = {row.id: row for row in flash_rows(model_bytes("opt-6.7b"), model_bytes("falcon-7b"))}

ROUNDED_IN_PRINT = {
    "flash/table2/predictor/loaded",  # 0.9 GB
    "flash/dram/opt/embeddings",  # 3 %
}
BEYOND_FIVE_PERCENT = {  # as printed; over the last digits of the figures behind them they come nearer than that
    "flash/table2/predictor/io": 0.08,  # follows "about 3 times" as many neurons; 3.25 times would give 738 ms
    "flash/table2/bundling/io": 0.055,  # 87 ms here and 92 ms in Table 3, for the same reads
}


def test_every_configuration_of_the_ablation_is_there() -> None:
    for name in ("none", "hybrid", "predictor", "windowing", "bundling"):
        assert {f"flash/table2/{name}/{what}" for what in ("dram", "loaded", "throughput", "io")} <= set(ROWS)


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.kind is Kind.PREDICTED], ids=lambda row: row.id)
def test_predictions_are_near(row: PaperRow) -> None:
    assert row.ours is not None
    assert row.paper is not None
    if row.id in ROUNDED_IN_PRINT:
        assert row.as_printed
        return
    if row.paper == 0:
        assert row.ours == 0
        return
    assert row.rel_error is not None
    assert abs(row.rel_error) <= BEYOND_FIVE_PERCENT.get(row.id, 0.05)
    if row.deviation is not None:
        assert abs(row.ours - row.paper) <= row.deviation


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.kind is Kind.FITTED], ids=lambda row: row.id)
def test_fits_are_near_and_say_so(row: PaperRow) -> None:
    assert row.fitted
    assert row.rel_error is not None
    assert abs(row.rel_error) <= 0.035


def test_the_last_digits_of_printed_figures_bring_every_reading_time_within_five_percent() -> None:
    sparse = [row for row in ROWS.values() if row.quantity == "io_s" and row.fitted]
    for row in sparse:
        assert row.ours is not None
        assert row.paper is not None
        assert row.ours_range is not None
        least, most = row.ours_range
        assert 0.9 * row.ours < least < row.ours < most < 1.1 * row.ours
        assert least / row.paper - 1 < 0.05
        assert most / row.paper - 1 > -0.05
    assert all(row.ours_range is None for row in ROWS.values() if row not in sparse)


def test_the_range_of_the_predictor_is_that_of_its_figures() -> None:
    weights = model_bytes("opt-6.7b").feed_forward.total
    low = (0.03295 * (1 - 0.055) + (1 - 0.03295) * 0.065) * weights / 1.255e9
    high = (0.03305 * (1 - 0.045) + (1 - 0.03305) * 0.075) * weights / 1.245e9
    assert ROWS["flash/table2/predictor/io"].ours_range == pytest.approx((low, high), rel=1e-6)


def test_what_the_paper_does_not_explain_is_not_claimed() -> None:
    for name in ("opt/gpu/all", "opt/gpu/speculative"):
        for what in ("io", "total"):
            row = ROWS[f"flash/table3/{name}/{what}"]
            assert (row.kind, row.ours) == (Kind.NOT_REPRODUCIBLE, None)
    assert all(row.kind is Kind.INPUT for row in ROWS.values() if row.quantity == "compute_s")
    for name in ("predictor", "windowing", "bundling"):
        assert ROWS[f"flash/table2/{name}/dram"].kind is Kind.NOT_REPRODUCIBLE
    assert all(row.rel_error is None for row in ROWS.values() if row.kind is Kind.INPUT)


def test_rows_behind_the_fitted_drive_say_so() -> None:
    fitted = {row.id for row in ROWS.values() if row.kind is Kind.FITTED}
    assert fitted == {f"flash/table2/{name}/throughput" for name in ("predictor", "windowing", "bundling")} | {
        f"flash/table3/opt/{name}/all/management" for name in ("cpu", "metal")
    }
    sparse = [row for row in ROWS.values() if row.quantity == "io_s" and row.kind is Kind.PREDICTED]
    assert {row.id for row in sparse if row.fitted} == {
        "flash/table2/predictor/io", "flash/table2/windowing/io", "flash/table2/bundling/io",
        "flash/table3/opt/cpu/all/io", "flash/table3/opt/metal/all/io", "flash/table3/falcon/cpu/all/io",
    }  # fmt: skip


def test_totals_are_the_sums_of_their_parts() -> None:
    for name in ("opt/cpu/naive", "opt/cpu/all", "opt/metal/all", "falcon/cpu/hybrid", "falcon/cpu/all"):
        parts = [ROWS[f"flash/table3/{name}/{part}"].ours for part in ("io", "management", "compute")]
        assert sum(part for part in parts if part is not None) == pytest.approx(ROWS[f"flash/table3/{name}/total"].ours)


def test_the_fitted_drive() -> None:
    assert drive().latency_s == pytest.approx(186.4e-6, rel=1e-3)
    assert drive().bandwidth == pytest.approx(11.25e9, rel=1e-3)
    assert drive().cap == 6.1e9


def test_other_widths_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"'opt-6\.7b' has 32-bit weights"):
        flash_rows(model_bytes("opt-6.7b").at(32), model_bytes("falcon-7b"))


def test_rows_as_json_have_the_promised_keys() -> None:
    for row in ROWS.values():
        assert {"id", "quantity", "paper", "ours", "rel_error", "fitted", "kind", "source"} <= set(row.as_json())
    kinds = {row.as_json()["kind"] for row in ROWS.values()}
    assert kinds == {"input", "fitted", "predicted", "not reproducible"}


def test_rows_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="some constant was fitted"):
        PaperRow("x", "speedup", 1.0, 1.0, Kind.FITTED, "here")
    with pytest.raises(InvalidInputError, match="no number of ours"):
        PaperRow("x", "speedup", 1.0, None, Kind.PREDICTED, "here")
    with pytest.raises(InvalidInputError, match="outside its range"):
        PaperRow("x", "speedup", 1.0, 1.0, Kind.PREDICTED, "here", ours_range=(1.1, 1.2))
