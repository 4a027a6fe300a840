"""Measured points of whole models, and the models that they are of.

The points are the end-to-end measurements that the PyPI package aiconfigurator-core carries (Apache-2.0); nothing of it
is copied here. Left out, and counted by reason: points of servers that are split into prefill and decode workers, of
devices other than those asked for, of more devices than one node has, of an impossible split, of models that tierplan
does not read, and copies of a measurement that the file has under several names.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.config import read_config
from tierplan.frontend.parallel import Parallel, check
from tierplan.ir.errors import InvalidInputError
from tierplan.sim.step_works import Precision

NODE = 8
BF16, FP8, FP4 = "bfloat16", "float8_e4m3fn", "float4_e2m1fn"
_DTYPES = {
    "": BF16,
    "bfloat16": BF16,
    "fp8": FP8,
    "fp8_block": FP8,
    "int4_wo": "int4",
    "nvfp4": FP4,
    "w4a16_mxfp4": FP4,
}
_SAME = {  # points are of models whose configuration has another name in the package
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "meta-llama/Meta-Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
}
_EXPERTS_ALONE = ("gpt_oss", "kimi_k25")  # of these, checkpoints quantise the experts and nothing else
_CACHE_IN_8_BITS = ("meta-llama/Llama-3.1-70B",)  # benchmarks/70b_fp8_h200_slurm.sh of InferenceMAX


@dataclass(frozen=True, slots=True)
class Point:
    """A measured point. `clients` are those of one group of devices; times in seconds."""

    device: str
    model: str
    runtime: str
    version: str
    source: str
    prompt: int
    new: int
    clients: int
    parallel: Parallel
    precision: Precision
    first_s: float
    token_s: float


def package_folder() -> Path:
    """Where the measurements lie.

    Raises: InvalidInputError: the package is not installed.
    """
    try:
        import aiconfigurator_core
    except ImportError:
        raise InvalidInputError("the measurements need: pip install aiconfigurator-core") from None
    assert aiconfigurator_core.__file__ is not None
    return Path(aiconfigurator_core.__file__).parent


def read_points(devices: tuple[str, ...]) -> tuple[list[Point], Counter[str]]:
    """The points of these devices, and how many were left out, by reason."""
    left_out: Counter[str] = Counter()
    found: dict[Point, Point] = {}
    with (package_folder() / "systems" / "silicon_sample.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            point = _point(row, devices)
            if isinstance(point, str):
                left_out[point] += 1
            elif (rounded := _rounded(point)) in found:
                left_out["a copy of another point"] += 1
            else:
                found[rounded] = point
    return list(found.values()), left_out


def _rounded(point: Point) -> Point:
    """The point with times as one of the lists has them, which is a copy of another."""
    return replace(point, first_s=round(point.first_s, 5), token_s=round(point.token_s, 5))


def _point(row: Mapping[str, str], devices: tuple[str, ...]) -> Point | str:
    """The point of a row, or why it is left out."""
    device = row["system"].removesuffix("_sxm")
    if device not in devices:
        return "another device"
    if row["mode"] != "agg":
        return "prefill and decode on workers of their own"
    arch = architecture(row["model_path"])
    if arch is None:
        return f"a model that is not read: {row['model_path']}"
    tp, pp, groups, expert_tp, ep = (
        round(float(row[name] or 1))
        for name in ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    if tp * pp * groups > NODE:
        return f"more than {NODE} devices"
    experts = arch.experts is not None
    if experts and tp * groups != expert_tp * ep:
        return "an impossible split"
    try:
        parallel = Parallel(tp, pp, ep if experts else 1, groups)
        check(arch, parallel)
    except InvalidInputError:
        return "an impossible split"
    return Point(
        device=device,
        model=row["model_path"],
        runtime=row["backend"],
        version=row["backend_version"],
        source="drawn" if _is_drawn(row) else "fixed",
        prompt=round(float(row["isl"])),
        new=round(float(row["osl"])),
        clients=round(float(row["batch_size"])),
        parallel=parallel,
        precision=_precision(row),
        first_s=float(row["silicon_ttft_ms"]) / 1e3,
        token_s=float(row["silicon_tpot_ms"]) / 1e3,
    )


def _is_drawn(row: Mapping[str, str]) -> bool:
    """Whether a point is of InferenceMAX, whose benchmark draws lengths; others are of aiconfigurator's own."""
    return "gap-analysis/data" not in row["silicon_data_source"].partition(";")[0]


def _precision(row: Mapping[str, str]) -> Precision:
    """Element types of a point.

    Assumes: where weights are in 8 bits, TensorRT-LLM keeps the cache in 8 bits too, as its checkpoints say; vLLM does
    where the benchmark told it to.
    """
    products, experts = _DTYPES[row["gemm_quant_mode"]], _DTYPES[row["moe_quant_mode"]]
    if _config(row["model_path"]).get("model_type") in _EXPERTS_ALONE:
        products = BF16
    told = row["backend"] == "trtllm" or (row["model_path"] in _CACHE_IN_8_BITS and _is_drawn(row))
    cached = FP8 if products == FP8 and told else BF16
    return Precision(products, experts, cached)


@cache
def architecture(model: str) -> Architecture | None:
    """The architecture of a model of the package; None if tierplan does not read it.

    Assumes: a mixture without shared experts whose every layer has one costs what one of the same extents does that
    tierplan reads; biases of experts, sinks of attention and prediction of several tokens are left out.
    """
    config = _config(model)
    kind = config.get("model_type")
    if kind == "kimi_k25":
        inner = cast("dict[str, object]", config["text_config"])
        config = {name: value for name, value in inner.items() if name != "quantization_config"}
    if kind == "gpt_oss":
        config = _mixture(config, inner=config["intermediate_size"])
    if kind == "minimax_m2":
        config = _mixture(config, inner=config["intermediate_size"])
    try:
        found = read_config(json.dumps(config), model)
    except InvalidInputError:
        return None
    if not isinstance(found, Architecture):
        return None
    if kind == "gpt_oss":
        found = replace(found, sliding_window=128, full_layers=frozenset(range(1, found.n_layers, 2)))
    experts = found.experts
    return found if experts is None else replace(found, experts=replace(experts, stacked=True))


def _mixture(config: dict[str, object], *, inner: object) -> dict[str, object]:
    """The same extents as a configuration of qwen3_moe."""
    kept = (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "intermediate_size", "vocab_size", "max_position_embeddings", "num_experts_per_tok",
    )  # fmt: skip
    found = {name: config[name] for name in kept}
    return found | {
        "model_type": "qwen3_moe", "num_experts": config["num_local_experts"], "moe_intermediate_size": inner,
        "tie_word_embeddings": False, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True,
    }  # fmt: skip


@cache
def _config(model: str) -> dict[str, object]:
    name = _SAME.get(model, model).replace("/", "--")
    path = package_folder() / "model_configs" / f"{name}_config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def alike(arch: Architecture) -> dict[int, int]:
    """How many layers are like each one that stands for them, by its index."""
    first: dict[tuple[object, ...], int] = {}
    counts: Counter[int] = Counter()
    for layer in range(arch.n_layers):
        key = (arch.experts_of(layer) is not None, arch.window(layer), layer in arch.plain_layers)
        counts[first.setdefault(key, layer)] += 1
    return dict(counts)


def by(points: list[Point], *names: str) -> Iterator[tuple[tuple[object, ...], list[int]]]:
    """Indices of points that agree in these fields."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, point in enumerate(points):
        groups.setdefault(tuple(getattr(point, name) for name in names), []).append(index)
    yield from groups.items()
