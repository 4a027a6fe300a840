"""check-jax runs what it says, sums what it measured by term, and its ways to run agree. No test looks at a time."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli_commands import Run, json_of, run
from test_jax_offload import draws, gpu, layers_loss, relu_loss, same, scan_loss

import tierplan
from tierplan.frontend.jax_function import traced
from tierplan.frontend.jaxpr_record import Recorded, record
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.timeline import Timeline
from tierplan.jax_check import RESULTS, START, WHOLE, Measured, check, numbers_for
from tierplan.jax_replay import kernels, last_values

__all__ = ["run"]


def ready(fn: Any, args: Any) -> tuple[Recorded, Any, Timeline]:
    recorded = record(traced(fn, args, name="f"))
    machine = gpu(10**8)
    problem = tierplan.lower(recorded.graph, machine)
    outcome = tierplan.plan(problem, machine, planner="greedy", budget=2.0)
    assert outcome.plan is not None
    return recorded, problem, tierplan.simulate(problem, outcome.plan)


@pytest.mark.parametrize("loss", [layers_loss, relu_loss, scan_loss])
def test_operations_one_after_the_other_are_the_function(loss: Any) -> None:
    args, graded = draws(6, 16), jax.value_and_grad(loss)
    recorded = record(traced(graded, args, name="f"))
    known = dict(zip(recorded.inputs, jax.tree_util.tree_leaves(args), strict=True)) | dict(recorded.captured)
    names = [op.name for op in recorded.graph.ops]
    for kernel in kernels(recorded):
        assert set(kernel.reads) <= known.keys()
        assert not set(kernel.writes) & known.keys()
        assert kernel.name in names
        known |= dict(zip(kernel.writes, kernel.run(*(known[n] for n in kernel.reads)), strict=True))
    same(last_values(recorded, known), jax.tree_util.tree_leaves(graded(*args)))


def test_terms_add_up_and_results_agree() -> None:
    args, graded = draws(3, 16), jax.value_and_grad(layers_loss)
    recorded, problem, timeline = ready(graded, args)
    parts: list[str] = []
    found = check(graded, args, recorded, problem, timeline, repeats=3, told=parts.append)
    terms = {term.name: term for term in found.terms}
    limited = [term for name, term in terms.items() if name.startswith("limited by ")]
    every = terms["all operations one by one"]
    assert sum(term.n for term in limited) == every.n == len(kernels(recorded))
    assert sum(term.predicted_s or 0.0 for term in limited) == pytest.approx(every.predicted_s)
    assert terms[WHOLE].predicted_s == timeline.time_s
    assert terms[START].predicted_s is None
    assert all(len(term.measured.seconds) == 3 for name, term in terms.items() if name != START)
    assert all(term.measured.seconds == tuple(sorted(term.measured.seconds)) for term in found.terms)
    assert found.apart < 1e-4
    assert parts == ["the whole function", *(kernel.name for kernel in kernels(recorded))]


def test_medians_spreads_and_errors() -> None:
    measured = Measured((1.0, 2.0, 3.0, 4.0, 5.0))
    assert (measured.median_s, measured.spread) == (3.0, pytest.approx(2 / 3))
    row = check(jnp.sin, (jnp.ones(4),), *ready(jnp.sin, (jnp.ones(4),)), repeats=3).row()
    assert {"term", "operations", "predicted_s", "measured_s", "spread", "error"} <= row["terms"][0].keys()
    assert {"others_share", "load"} <= row.keys()
    for term in row["terms"]:
        if term["predicted_s"] is not None:
            assert term["least_error"] == pytest.approx(term["predicted_s"] / term["least_s"] - 1)
            assert term["error"] == pytest.approx(term["predicted_s"] / term["measured_s"] - 1)
    (results,) = (term for term in row["terms"] if term["term"] == RESULTS)
    assert results["predicted_s"] == pytest.approx(16 / gpu(10**8).tiers[0].write_bandwidth)


def test_arguments_given_as_shapes_get_numbers() -> None:
    shape = jax.ShapeDtypeStruct
    told = numbers_for(({"a": shape((4, 8), jnp.bfloat16)}, shape((3,), jnp.int32), np.ones(2), 1.5), 0)
    assert told[0]["a"].dtype == jnp.bfloat16
    assert float(jnp.abs(told[0]["a"]).max()) > 0
    assert told[1].tolist() == [0, 0, 0]
    assert told[2].tolist() == [1, 1]
    again = numbers_for(({"a": shape((4, 8), jnp.bfloat16)},), 0)
    assert (again[0]["a"] == told[0]["a"]).all()


def test_a_device_that_vanishes_is_told_in_one_line() -> None:

    def fails(x: jax.Array) -> jax.Array:
        raise jax.errors.JaxRuntimeError("INTERNAL: CUDA_ERROR_DEVICE_UNAVAILABLE\nat something")

    recorded, problem, timeline = ready(jnp.sin, (jnp.ones(4),))
    with pytest.raises(InvalidInputError, match=r"the device failed while the function ran .*UNAVAILABLE at something"):
        check(fails, (jnp.ones(4),), recorded, problem, timeline, repeats=3)


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    row = json_of(run("check-jax", "layers.py:layer", "-H", "bench.yaml", "--repeats", "3", "--json"))
    assert row["function"] == "layers.py:layer"
    assert row["terms"][0]["term"] == WHOLE
    assert row["terms"][0]["runs"] == 3
    table = run("check-jax", "layers.py:layer", "-H", "bench.yaml", "--repeats", "3")
    assert table.code == 0
    assert "limited by" in table.out
    assert "predicted" in table.out
    assert "--repeats is 1; need 3" in run("check-jax", "layers.py:layer", "-H", "bench.yaml", "--repeats", "1").err
    assert "did you mean 'layer'" in run("check-jax", "layers.py:layr", "-H", "bench.yaml").err
