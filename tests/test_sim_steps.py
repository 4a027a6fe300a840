"""Kernels of a graph do its work, and tables give the times of steps that were not tabulated."""

import dataclasses

import numpy as np
import pytest

from tierplan.frontend.config import read_config
from tierplan.frontend.parallel import ALONE, Parallel, Shard
from tierplan.frontend.transformer import language_model
from tierplan.hardware.load import load_machine
from tierplan.models import load
from tierplan.sim.step_prices import peak_prices, silicon_prices
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


def test_products_of_one_input_are_one_kernel():
    found = [k.work for k in kernels(graph(arch_of("deepseek-v3"), layers=[3]), Precision())]
    first = next(work for work in found if isinstance(work, Gemm))
    assert (first.n, first.k) == (1536 + 576, 7168)  # of queries and of keys and values, before they are normed


def test_shared_experts_start_while_the_others_run():
    found = [k.work for k in kernels(graph(arch_of("deepseek-v3"), Shard(Parallel(4)), layers=[3]), Precision())]
    beside = [work for work in found if isinstance(work, Beside)]
    assert [type(each.work) for each in beside] == [Gemm, Stream, Gemm]
    assert H100.calibration is not None
    whole, alone = silicon_prices(beside, H100), silicon_prices([each.work for each in beside], H100)
    assert alone - whole == pytest.approx(H100.calibration.gemm["bfloat16"].launch_s)
    assert (whole > 0).all()
    assert peak_prices(beside, H100) == pytest.approx(peak_prices([each.work for each in beside], H100))


def test_a_product_of_8_bits_starts_as_one_of_16_does():
    assert H100.calibration is not None
    small = {dtype: silicon_prices([Gemm(1, 64, 64, dtype)], H100).item() for dtype in ("bfloat16", "float8_e4m3fn")}
    measured = {dtype: found.launch_s for dtype, found in H100.calibration.gemm.items()}
    assert measured["float8_e4m3fn"] > 3 * measured["bfloat16"]  # what was measured quantises first
    assert small["float8_e4m3fn"] < 1.5 * small["bfloat16"]


def test_the_host_starts_the_kernels_of_steps_that_are_not_recorded():
    most = {"most_sequences": 4, "most_tokens": 512, "most_positions": 512}
    told = tables(shapes(model_of("llama3-8b", [0], {0: 32}), **most), price)
    assert told.n_kernels == pytest.approx(32 * 9, rel=0.05)  # norm, qkv, rotation, attention, o, norm, up, gate, down
    plain, slow = Steps(told), Steps(told, host_s=0.001, launch_s=0.001, sequence_s=0.01, recorded_tokens=100)
    assert slow.decode_s(4, 100) == pytest.approx(plain.decode_s(4, 100) + 0.001 + 4 * 0.01)
    assert slow.mixed_s([(0, 98)], 2, 50) == pytest.approx(plain.mixed_s([(0, 98)], 2, 50) + 0.001 + 2 * 0.01)
    assert slow.mixed_s([(0, 99)], 2, 50) == pytest.approx(told.n_kernels * 0.001 + 0.001 + 2 * 0.01)
    experts = tables(shapes(model_of("qwen3-30b-a3b", [0], {0: 48}), **most), price)
    assert experts.n_kernels == pytest.approx(48 * 20, rel=0.05)
