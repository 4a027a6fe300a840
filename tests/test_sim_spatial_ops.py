"""Language models on a spatial machine: each attention and each product costs what the evaluator says."""

import math

import pytest

import tierplan
from tierplan.ir.graph import Graph
from tierplan.programs import Shaping, read_program
from tierplan.sim.spatial_layer import attention, matmul
from tierplan.sim.spatial_machine import load_spatial

MACHINE = load_spatial("fusemax-cloud")


def _graph(*, batch: int | None = None, context: int | None = None) -> Graph:
    return read_program("bert-base-uncased", Shaping("prefill", batch, context))


def test_attention_of_every_layer_takes_what_the_evaluator_says() -> None:
    graph = _graph(batch=2, context=512)
    problem = tierplan.lower(graph, "fusemax-cloud")
    steps = [t for t, op in enumerate(graph.ops) if op.kind == "attention"]
    alone = attention(MACHINE, 2, 12, 512, 512, 64)
    assert len(steps) == 12
    assert all(problem.compute_s[t] in (alone.compute_s, alone.latency_s) for t in steps)


def test_products_take_what_the_evaluator_says() -> None:
    graph = _graph(batch=1, context=256)
    problem = tierplan.lower(graph, "fusemax-cloud")
    for t, op in enumerate(graph.ops):
        if op.kind == "matmul":
            sizes = [math.ceil(float(str(op.attributes[key]))) for key in ("m", "k", "n")]
            alone = matmul(MACHINE, *sizes)
            assert problem.compute_s[t] in (alone.compute_s, alone.latency_s)


def test_a_machine_without_arrays_keeps_its_peak_rates() -> None:
    graph = _graph(batch=1, context=256)
    op = next(op for op in graph.ops if op.kind == "attention")
    problem = tierplan.lower(graph, "tpu-v4i")
    machine = tierplan.load_machine("tpu-v4i")
    expected = max(op.matrix_ops / machine.matrix.rate(op.dtype), op.vector_ops / machine.vector.rate(op.dtype))
    assert problem.compute_s[list(problem.step_names).index(op.name)] == pytest.approx(expected)


def test_a_plan_for_a_spatial_machine_is_found() -> None:
    outcome = tierplan.plan(_graph(), "fusemax-cloud")
    assert outcome.plan is not None
    assert outcome.cost_s is not None
    assert outcome.cost_s >= tierplan.lower(_graph(), "fusemax-cloud").compute_s.sum() * (1 - 1e-12)
