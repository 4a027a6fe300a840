"""Measured kernels from Parquet files: operation, shape, element type, latency.

The columns are those of aiconfigurator-core's tables (NVIDIA, Apache-2.0): `op_name`, the shape, the element types,
and `latency` in milliseconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError, MissingDependencyError, unknown_name
from tierplan.sim.silicon import Work
from tierplan.sim.workloads import Attention, Collective, Floats, Gemm, Moe

Columns = Mapping[str, NDArray[Any]]

_DTYPES = {
    "bfloat16": "bfloat16", "float16": "float16", "half": "bfloat16", "fp8": "float8_e4m3fn", "nvfp4": "float4_e2m1fn",
    "float8_e4m3fn": "float8_e4m3fn", "float4_e2m1fn": "float4_e2m1fn", "int8": "int8",
}  # fmt: skip
_ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "int8": 1, "fp8": 1}
_LARGEST_EXTENT = 2**40


@dataclass(frozen=True, slots=True)
class Rows:
    """Measured kernels of one kind and element type (of exchanges: of one kind); every field of `work` is an array."""

    kind: str
    dtype: str
    work: Work
    seconds: Floats

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.seconds)

    def part(self, index: NDArray[Any]) -> "Rows":
        """The rows at these positions, or where this is true."""
        values: dict[str, Any] = {each.name: getattr(self.work, each.name) for each in fields(self.work)}
        picked: dict[str, NDArray[Any]] = {
            name: value[index] for name, value in values.items() if isinstance(value, np.ndarray)
        }
        return Rows(self.kind, self.dtype, replace(self.work, **picked), self.seconds[index])


@dataclass(frozen=True, slots=True)
class Measurements:
    """What files hold: rows by kind and type, what was left out and why, and the devices that they name."""

    rows: tuple[Rows, ...]
    left_out: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """How the rows of one operation are read: its columns, its element type, and the work of the rows."""

    kind: str
    columns: tuple[str, ...]
    dtype: str
    work: Callable[[Columns, str], Work]


def _gemm(at: Columns, dtype: str) -> Work:
    return Gemm(at["m"], at["n"], at["k"], dtype)


def _attention(at: Columns, dtype: str) -> Work:
    context = at["step"] + at["isl"]
    shape = (at["batch_size"], at["isl"], context, at["num_heads"], at["num_key_value_heads"], at["head_dim"])
    return Attention(*shape, at.get("window_size", np.zeros(len(context))), dtype)


def _moe(at: Columns, dtype: str) -> Work:
    names = at["distribution"].astype(str)
    skew = np.array([_skew(name) for name in np.unique(names)])[np.unique(names, return_inverse=True)[1]]
    if "kernel_source" in at:
        gated = np.char.find(at["kernel_source"].astype(str), "nongated") < 0
    else:
        gated = np.ones(len(names), dtype=np.bool_)
    shape = (at["num_tokens"], at["hidden_size"], at["inter_size"], at["num_experts"], at["topk"])
    return Moe(*shape, at["moe_tp_size"], at["moe_ep_size"], skew, dtype, gated)


def _skew(distribution: str) -> float:
    if distribution == "balanced":
        return 0.0
    head, _, exponent = distribution.rpartition("_")
    try:
        if head == "power_law":
            return float(exponent)
    except ValueError:
        pass
    raise InvalidInputError(f"unknown distribution '{distribution}'; write 'balanced' or 'power_law_1.2'")


_ATTENTION = ("batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim")
_MOE = ("num_tokens", "hidden_size", "inter_size", "num_experts", "topk", "moe_tp_size", "moe_ep_size", "distribution")
_TABLES = {
    "gemm": _Table("gemm", ("m", "n", "k"), "gemm_dtype", _gemm),
    "context_attention": _Table("prefill", _ATTENTION, "attn_dtype", _attention),
    "generation_attention": _Table("decode", _ATTENTION, "attn_dtype", _attention),
    "moe": _Table("moe", _MOE, "moe_dtype", _moe),
}
_EXCHANGES = {
    "all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}  # fmt: skip


def read_measurements(paths: list[Path]) -> Measurements:
    """All rows of these files.

    Raises:
        InvalidInputError: a file that is not Parquet, lacks a column, names an unknown operation, or holds a latency or
            an extent that cannot be.
        MissingDependencyError: pyarrow is not installed.
    """
    rows: list[Rows] = []
    left_out: list[str] = []
    devices: set[str] = set()
    for path in paths:
        table = _read(path)
        _require(table, ("op_name", "latency"), path)
        _check_latency(table["latency"], path)
        if "device" in table:
            devices |= set(np.unique(table["device"].astype(str)).tolist())
        for op in np.unique(table["op_name"].astype(str)).tolist():
            found, without = _rows(op, _at(table, table["op_name"] == op), path)
            rows += found
            left_out += without
    return Measurements(tuple(rows), tuple(left_out), tuple(sorted(devices)))


def _rows(op: str, at: Columns, path: Path) -> tuple[list[Rows], list[str]]:
    """The rows of one operation by element type, and what was left out."""
    if op in _EXCHANGES:
        return [_exchange(op, at, path)], []
    if op not in _TABLES:
        raise unknown_name(f"operation in {path}:", op, [*_TABLES, *_EXCHANGES])
    table = _TABLES[op]
    _require(at, (*table.columns, table.dtype), path)
    _check_extents(at, [name for name in table.columns if name != "distribution"], path)
    rows: list[Rows] = []
    left_out: list[str] = []
    types = at[table.dtype].astype(str)
    cache = at["kv_cache_dtype"].astype(str) if "kv_cache_dtype" in at else types
    for name in np.unique(types).tolist():
        here = (types == name) & (cache == name)
        if name not in _DTYPES:
            left_out.append(f"{int((types == name).sum())} {op} rows in {name}: no element type of its own")
        else:
            some = _at(at, here)
            rows.append(Rows(table.kind, _DTYPES[name], table.work(some, _DTYPES[name]), some["latency"] * 1e-3))
            if other := int((types == name).sum() - here.sum()):
                left_out.append(f"{other} {op} rows in {name}: their cache is in another type")
    return rows, left_out


def _exchange(op: str, at: Columns, path: Path) -> Rows:
    """Rows of one kind of exchange; in these tables a message is told in elements."""
    dtype = "nccl_dtype" if "nccl_dtype" in at else "allreduce_dtype"
    _require(at, ("message_size", "num_gpus", dtype), path)
    _check_extents(at, ["message_size", "num_gpus"], path)
    names = at[dtype].astype(str)
    for name in np.unique(names).tolist():
        if name not in _ELEMENT_BYTES:
            raise unknown_name(f"element type in {path}:", name, _ELEMENT_BYTES)
    size = np.array([_ELEMENT_BYTES[name] for name in names.tolist()])
    work = Collective(_EXCHANGES[op], at["message_size"] * size, at["num_gpus"])
    return Rows("collective", _EXCHANGES[op], work, at["latency"] * 1e-3)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise MissingDependencyError("pyarrow", "calibration") from None
    if not path.is_file():
        raise InvalidInputError(f"no file '{path}'")
    try:
        table: Any = parquet.read_table(path)
    except (ValueError, OSError, RuntimeError) as error:
        raise InvalidInputError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
    if not table.num_rows:
        raise InvalidInputError(f"{path}: the file has no rows")
    return {str(name): _array(table[name]) for name in table.column_names}


def _array(column: Any) -> NDArray[Any]:
    values = np.array(column.to_pylist())
    return values.astype(np.float64) if values.dtype.kind in "iuf" else values


def _at(table: Columns, mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    return {name: values[mask] for name, values in table.items()}


def _require(table: Columns, names: tuple[str, ...], path: Path) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        have = ", ".join(sorted(table)) or "none"
        raise InvalidInputError(f"{path}: missing column{'s' * (len(missing) > 1)} {listed}; it has {have}")


def _check_latency(values: NDArray[Any], path: Path) -> None:
    if values.dtype.kind != "f":
        raise InvalidInputError(f"{path}: column 'latency' must hold numbers, in milliseconds")
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise InvalidInputError(
            f"{path}: row {int(bad[0])}: latency is {values[bad[0]]}; need a positive number of milliseconds"
            f" ({len(bad)} such row{'s' * (len(bad) > 1)})"
        )


def _check_extents(at: Columns, names: list[str], path: Path) -> None:
    for name in [*names, *(["window_size"] if "window_size" in at else [])]:
        values = at[name]
        least = 0 if name in ("step", "window_size") else 1
        if values.dtype.kind != "f":
            raise InvalidInputError(f"{path}: column '{name}' must hold whole numbers")
        bad = ~((values >= least) & (values <= _LARGEST_EXTENT))
        if bad.any():
            raise InvalidInputError(f"{path}: column '{name}' holds {values[bad][0]:g}; need {least} or more")
