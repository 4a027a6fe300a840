"""Where aiconfigurator-core keeps the measured kernels of each device, and which of them constants were fitted on."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tierplan.sim.measurements import Rows, read_measurements

KINDS = {
    "gemm": ("gemm", "gemm_perf"),
    "prefill": ("attention", "context_attention_perf"),
    "decode": ("attention", "generation_attention_perf"),
    "moe": ("moe", "moe_perf"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Tables of one device: its folder, the framework and version that were fitted on, others, and of exchanges."""

    folder: str
    fitted: str
    others: tuple[str, ...]
    exchanges: str
    like: str
    """The built-in device whose constants stand in when only the data sheet is known."""


_NEWER = ("vllm/0.24.0", "sglang/0.5.14")
_HOPPER = ("trtllm/1.3.0rc10", *_NEWER)  # of which only mixtures were measured
SOURCES = {
    "h100": Source("h100_sxm", "trtllm/1.3.0rc20", _HOPPER, "nccl/2.27.3", "h200"),
    "h200": Source("h200_sxm", "trtllm/1.3.0rc20", _HOPPER, "nccl/2.29.2", "h100"),
    "l40s": Source("l40s", "vllm/0.24.0", ("trtllm/1.3.0rc20", "sglang/0.5.14"), "nccl/2.27.3", "rtx-pro-6000"),
    "a100": Source("a100_sxm", "trtllm/1.0.0", ("vllm/0.14.0", "sglang/0.5.10"), "nccl/2.27.3", "h100"),
    "b200": Source("b200_sxm", "trtllm/1.3.0rc20", _NEWER, "nccl/2.29.2", "gb200"),
    "gb200": Source("gb200", "trtllm/1.3.0rc20", _NEWER, "nccl/2.29.2", "b200"),
    "rtx-pro-6000": Source(
        "rtx_pro_6000_server", "vllm/0.24.0", ("trtllm/1.3.0rc20", "sglang/0.5.14"), "nccl/2.29.2", "l40s"
    ),
}  # fmt: skip


def folder() -> Path:
    """Where the installed package keeps its tables."""
    found = find_spec("aiconfigurator_core")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("this needs aiconfigurator-core: run  pip install 'tierplan[calibration]'")
    return Path(found.submodule_search_locations[0]) / "systems" / "data"


def rows_of(device: str, kind: str, version: str) -> list[Rows]:
    """Rows of a kind by element type, as one framework's version ran them."""
    group, name = KINDS[kind]
    path = folder() / SOURCES[device].folder / group / version / f"{name}.parquet"
    return list(read_measurements([path]).rows) if path.exists() else []


def exchanges_of(device: str) -> list[Rows]:
    """Rows of exchanges by kind, as NCCL ran them."""
    path = folder() / SOURCES[device].folder / "comm" / SOURCES[device].exchanges / "nccl_perf.parquet"
    return list(read_measurements([path]).rows)
