"""Tables of measured kernels that tests make themselves, in the columns of the real ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from tierplan.hardware.load import load_machine
from tierplan.sim.silicon import kernel_s
from tierplan.sim.workloads import Attention, Gemm


def write(path: Path, columns: dict[str, Any]) -> Path:
    """A Parquet file with these columns."""
    parquet.write_table(pa.table(columns), path)
    return path


def products(n: int, *, noise: float = 0.02, seed: int = 0, dtype: str = "bfloat16") -> dict[str, Any]:
    """So many products as h100's constants time them, with noise."""
    random = np.random.default_rng(seed)
    m = random.choice([1, 4, 16, 64, 128, 200, 512, 1000, 4096, 16384], n)
    rows, k = (random.choice([64, 256, 1024, 2048, 4096, 7168, 16384], n) for _ in range(2))
    seconds = kernel_s(Gemm(m, rows, k), load_machine("h100"), measured=True) * np.exp(random.normal(0, noise, n))
    return {
        "device": ["NVIDIA H100 80GB HBM3"] * n, "op_name": ["gemm"] * n, "gemm_dtype": [dtype] * n,
        "m": m, "n": rows, "k": k, "latency": seconds * 1e3,
    }  # fmt: skip


def attentions(n: int, *, seed: int = 0) -> dict[str, Any]:
    """So many attentions of one query over a cache, as l40s's constants time them."""
    random = np.random.default_rng(seed)
    batch, step = random.choice([1, 4, 16, 64, 256], n), random.choice([127, 1023, 4095, 16383], n)
    kv_heads, group = random.choice([1, 4, 8], n), random.choice([1, 4, 8], n)
    window = random.choice([0, 128], n)
    work = Attention(batch, 1, step + 1, kv_heads * group, kv_heads, 128, window)
    seconds = kernel_s(work, load_machine("l40s"), measured=True)
    return {
        "device": ["NVIDIA L40S"] * n, "op_name": ["generation_attention"] * n, "batch_size": batch,
        "isl": np.ones(n, np.int64), "step": step, "num_heads": kv_heads * group, "num_key_value_heads": kv_heads,
        "head_dim": np.full(n, 128), "window_size": window, "attn_dtype": ["bfloat16"] * n,
        "kv_cache_dtype": ["bfloat16"] * n, "latency": seconds * 1e3,
    }  # fmt: skip
