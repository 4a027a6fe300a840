"""Reading measured kernels and fitting constants to them: what is recovered, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("scipy")

import pyarrow as pa
from measured import attentions, products, write

from tierplan.hardware.load import load_machine
from tierplan.ir.calibration import DecodeConstants
from tierplan.ir.errors import InvalidInputError
from tierplan.sim.calibrate import errors_of, fit, predicted_s, split
from tierplan.sim.calibration_regions import regions
from tierplan.sim.device import device_of
from tierplan.sim.measurements import Rows, read_measurements
from tierplan.sim.workloads import Collective, Moe


def one(tmp_path: Path, columns: dict[str, Any]) -> Rows:
    (rows,) = read_measurements([write(tmp_path / "rows.parquet", columns)]).rows
    return rows


def test_a_fit_predicts_rows_that_it_has_not_seen(tmp_path: Path) -> None:
    rows = one(tmp_path, products(1500))
    device = device_of(load_machine("h100"), "bfloat16")
    found = fit(rows, device)
    assert len(found.train) == max(75, 4 * 19)
    assert not set(found.train.tolist()) & set(found.test.tolist())
    assert len(found.train) + len(found.test) == rows.n
    test = rows.part(found.test)
    assert errors_of(predicted_s(test, found.constants, device), test.seconds).mape < 0.08


def test_choices_are_found_with_the_constants(tmp_path: Path) -> None:
    rows = one(tmp_path, attentions(700))
    found = fit(rows, device_of(load_machine("l40s"), "bfloat16"), share=0.2)
    truth = load_machine("l40s").calibration
    assert truth is not None
    assert isinstance(found.constants, DecodeConstants)
    assert found.constants.splits_heads == truth.decode["bfloat16"].splits_heads
    assert found.constants.groups_windows == truth.decode["bfloat16"].groups_windows


def test_the_seed_decides_which_rows_are_held_out(tmp_path: Path) -> None:
    rows = one(tmp_path, products(300))
    first, again, other = (split(rows, seed=seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_regions_share_out_all_rows(tmp_path: Path) -> None:
    for columns in (products(200), attentions(200)):
        rows = one(tmp_path, columns)
        assert sum(int(mask.sum()) for _, mask in regions(rows)) == rows.n


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="100 rows of gemm in bfloat16 are too few: 19 constants need 76"):
        fit(one(tmp_path, products(100)), device_of(load_machine("h100"), "bfloat16"))


def test_latencies_that_no_constants_explain_do_not_converge(tmp_path: Path) -> None:
    columns = products(200)
    columns["latency"] = 10 ** np.random.default_rng(0).uniform(-9, 6, 200)
    with pytest.raises(InvalidInputError, match="did not converge"):
        fit(one(tmp_path, columns), device_of(load_machine("h100"), "bfloat16"))


def test_units_of_the_columns(tmp_path: Path) -> None:
    rows = one(tmp_path, {**products(10), "latency": np.full(10, 2.5)})
    assert rows.seconds.tolist() == [2.5e-3] * 10
    exchange = {
        "op_name": ["alltoall", "all_reduce"], "nccl_dtype": ["half", "int8"], "num_gpus": [8, 4],
        "message_size": [1024, 1024], "latency": [0.01, 0.02],
    }  # fmt: skip
    found = read_measurements([write(tmp_path / "nccl.parquet", exchange)]).rows
    works = {rows.dtype: rows.work for rows in found}
    assert isinstance(works["all_to_all"], Collective)
    assert np.asarray(works["all_to_all"].bytes).tolist() == [2048]
    assert np.asarray(works["all_reduce"].bytes).tolist() == [1024]  # pyright: ignore[reportAttributeAccessIssue]


def test_mixtures_tell_skew_and_gates(tmp_path: Path) -> None:
    columns = {
        "op_name": ["moe"] * 3, "moe_dtype": ["fp8"] * 3, "num_tokens": [1, 2, 3], "hidden_size": [64] * 3,
        "inter_size": [128] * 3, "topk": [2] * 3, "num_experts": [8] * 3,
        "moe_tp_size": [1] * 3, "moe_ep_size": [1] * 3,
        "distribution": ["balanced", "power_law_1.2", "power_law_1.01"], "latency": [0.1] * 3,
        "kernel_source": ["a", "x_nongated", "b"],
    }  # fmt: skip
    rows = one(tmp_path, columns)
    assert isinstance(rows.work, Moe)
    assert rows.dtype == "float8_e4m3fn"
    assert np.asarray(rows.work.skew).tolist() == [0, 1.2, 1.01]
    assert np.asarray(rows.work.gated).tolist() == [True, False, True]
    with pytest.raises(InvalidInputError, match="unknown distribution 'zipf'"):
        one(tmp_path, {**columns, "distribution": ["zipf"] * 3})


def test_rows_of_types_without_a_name_are_left_out_and_told(tmp_path: Path) -> None:
    columns = products(4)
    columns["gemm_dtype"] = ["bfloat16", "fp8_block", "bfloat16", "fp8"]
    found = read_measurements([write(tmp_path / "rows.parquet", columns)])
    assert {rows.dtype: rows.n for rows in found.rows} == {"bfloat16": 2, "float8_e4m3fn": 1}
    assert found.left_out == ("1 gemm rows in fp8_block: no element type of its own",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"m": None}, "missing column 'm'; it has device, gemm_dtype, k, latency, n, op_name"),
        ({"m": None, "k": None}, "missing columns 'm', 'k'"),
        ({"op_name": None}, "missing column 'op_name'"),
        ({"latency": None}, "missing column 'latency'"),
        (
            {"latency": [0.1, -2.0, 0.0]},
            r"row 1: latency is -2.0; need a positive number of milliseconds \(2 such rows\)",
        ),
        ({"latency": [0.1, float("nan"), 1.0]}, "row 1: latency is nan"),
        ({"latency": ["a", "b", "c"]}, "'latency' must hold numbers"),
        ({"op_name": ["gem", "gem", "gem"]}, "unknown operation in .*'gem'; did you mean 'gemm'"),
        ({"m": [1, 0, 3]}, "column 'm' holds 0; need 1 or more"),
        ({"m": [1, None, 3]}, "column 'm'"),
        ({"m": ["x", "y", "z"]}, "column 'm' must hold whole numbers"),
    ],
)
def test_bad_tables(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    columns = {**products(3), **change}
    path = write(tmp_path / "rows.parquet", {name: value for name, value in columns.items() if value is not None})
    with pytest.raises(InvalidInputError, match=told):
        read_measurements([path])


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("m,n,k\n1,2,3\n")
    for name, told in (("none.parquet", "no file"), ("text.parquet", "not a Parquet file"), (".", "no file")):
        with pytest.raises(InvalidInputError, match=told):
            read_measurements([tmp_path / name])
    empty = {name: pa.array([], type=pa.int64()) for name in products(1)}
    with pytest.raises(InvalidInputError, match="has no rows"):
        read_measurements([write(tmp_path / "empty.parquet", empty)])
