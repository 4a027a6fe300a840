"""Kernels of a graph do its work, and tables give the times of steps that were not tabulated."""

import dataclasses

import numpy as np
import pytest

from tierplan.frontend.config import read_config
from tierplan.frontend.parallel import ALONE, Parallel, Shard
from tierplan.frontend.transformer import language_model
from tierplan.hardware.load import load_machine
from tierplan.models import load
from tierplan.sim.step_prices import peak_prices, silicon_prices, starts
from tierplan.sim.step_times import Model, Steps, shapes, tables
from tierplan.sim.step_works import Beside, Precision, Stream, kernels
from tierplan.sim.workloads import Attention, Collective, Gemm, Moe

H100 = load_machine("h100")
MODELS = ("llama3-8b", "qwen3-30b-a3b", "deepseek-v3", "gemma2-9b", "falcon-40b")


def arch_of(name):
    return read_config(load(name), name)


def graph(arch, shard=ALONE, phase="decode", batch=4, context=96, layers=None):
    return language_model(arch, phase=phase, batch=batch, context=context, dtype="bfloat16", shard=shard, layers=layers)


@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("shard", [ALONE, Shard(Parallel(4))], ids=["one", "four"])
@pytest.mark.parametrize("name", MODELS)
def test_kernels_do_the_products_of_the_graph(name, shard, phase):
    arch = dataclasses.replace(arch_of(name), n_layers=5)
    whole = graph(arch, shard, phase)
    found = kernels(whole, Precision())
    works = [k.work.work if isinstance(k.work, Beside) else k.work for k in found]
    done = sum(float(work.ops) for work in works if isinstance(work, Gemm | Attention | Moe))
    assert done == pytest.approx(sum(op.matrix_ops for op in whole.ops), rel=1e-6)


def test_a_layer_of_llama_is_these_kernels():
    found = [
        k.work
        for k in kernels(graph(arch_of("llama3-8b"), Shard(Parallel(2)), layers=[0]), Precision())
        if k.layer == 0
    ]
    kinds = [type(work) for work in found]
    attended = [Gemm, Stream, Attention, Gemm, Collective]
    assert kinds == [*attended, Stream, Gemm, Stream, Gemm, Collective, Stream]
    qkv, out, up, down = (work for work in found if isinstance(work, Gemm))
    assert [(g.m, g.n, g.k) for g in (qkv, out, up, down)] == [
        (4, 3072, 4096), (4, 4096, 2048), (4, 14336, 4096), (4, 4096, 7168),
    ]  # fmt: skip
    norm = found[5]
    row = 4 * 4096 * 2
    assert norm == Stream(4 * row + 4096 * 2)  # the sum and the residual in, the new residual and the norm out, weights


def test_experts_are_one_kernel_of_all_tokens():
    shard = Shard(Parallel(2, 1, 4))
    found = [k.work for k in kernels(graph(arch_of("qwen3-30b-a3b"), shard, layers=[0]), Precision(experts="int4"))]
    (moe,) = [work for work in found if isinstance(work, Moe)]
    extents = (moe.tokens, moe.hidden, moe.inner, moe.n_experts, moe.top_k, moe.expert_ranks, moe.dtype, moe.gated)
    assert extents == (4, 2048, 768, 128, 8, 4, "int4", True)
    assert [c.kind for c in found if isinstance(c, Collective)][2:5] == ["all_to_all", "all_to_all", "all_gather"]


def model_of(name, layers, alike):
    arch = arch_of(name)

    def of(phase, batch, context):
        return graph(arch, ALONE, phase, batch, context, layers)

    return Model(of, alike, Precision())


def price(works):
    return peak_prices(works, H100)


def seconds(name, phase, batch, context):
    return float(
        price([k.work for k in kernels(graph(arch_of(name), ALONE, phase, batch, context), Precision())]).sum()
    )


@pytest.mark.parametrize(
    ("name", "layers", "alike"), [("llama3-8b", [0], {0: 32}), ("deepseek-v2-lite", [0, 1], {0: 1, 1: 26})]
)
def test_tables_give_the_time_of_the_whole_graph(name, layers, alike):
    # sequences between those of the table are on a straight line, which experts in use are not
    most = {"most_sequences": 32, "most_tokens": 1024, "most_positions": 1024}
    steps = Steps(tables(shapes(model_of(name, layers, alike), **most), price), host_s=0.002)
    for batch, context in ((1, 512), (16, 256), (24, 700), (32, 1024)):
        assert steps.decode_s(batch, context) - 0.002 == pytest.approx(
            seconds(name, "decode", batch, context), rel=0.02
        )
    assert steps.decode_s(32, 1024) - 0.002 == pytest.approx(seconds(name, "decode", 32, 1024), rel=1e-3)
    whole = steps.mixed_s([(0, 1024)], 0, 0.0) - 0.002
    assert whole == pytest.approx(seconds(name, "prefill", 1, 1024), rel=1e-3)
    halves = steps.mixed_s([(0, 512)], 0, 0.0) + steps.mixed_s([(512, 1024)], 0, 0.0) - 0.004
    assert halves > whole


def test_prices_do_not_depend_on_what_is_priced_together():
    works = [k.work for k in kernels(graph(arch_of("deepseek-v3"), Shard(Parallel(8)), layers=[0, 3]), Precision())]
    together = price(works)
    alone = np.array([float(price([work])[0]) for work in works])
    assert together == pytest.approx(alone)
    assert (together > 0).all()


def test_weights_of_a_type_that_the_unit_lacks_compute_in_a_wider_one():
    few, many = (Moe(tokens, 2880, 2880, 128, 4, dtype="float4_e2m1fn") for tokens in (1, 65536))
    in_bf16 = float(many.ops) / H100.matrix.rate("bfloat16")
    in_fp8 = Moe(65536, 2880, 2880, 128, 4, dtype="float8_e4m3fn")
    assert float(silicon_prices([many], H100)[0]) > in_bf16
    assert float(silicon_prices([in_fp8], H100)[0]) < in_bf16
    assert float(silicon_prices([few], H100)[0]) < float(silicon_prices([replace_dtype(few)], H100)[0])


def replace_dtype(work):
    return dataclasses.replace(work, dtype="bfloat16")


def test_starts_are_a_part_of_the_time_of_fitted_kernels():
    works = [k.work for k in kernels(graph(arch_of("qwen3-30b-a3b"), Shard(Parallel(4)), layers=[0]), Precision())]
    whole, begun = silicon_prices(works, H100), starts(works, H100)
    assert (begun < whole).all()
    gemms = [seconds for work, seconds in zip(works, begun.tolist(), strict=True) if isinstance(work, Gemm)]
    assert H100.calibration is not None
    assert set(gemms) == {H100.calibration.gemm["bfloat16"].launch_s}
