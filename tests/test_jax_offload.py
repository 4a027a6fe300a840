"""Functions that keep activations where a plan keeps them return what they returned, and hold less on the device."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli_commands import Run, json_of, run

import tierplan
import tierplan.jax as planned_jax
from tierplan.frontend.jax_function import traced
from tierplan.frontend.jaxpr_record import record
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import Problem
from tierplan.jax_moves import gaps

__all__ = ["run"]

_UNIT = Unit("unit", {"float32": 1e12})


def gpu(device_bytes: int, link: float = 5e10, direct: bool = False) -> Machine:
    hbm = Tier("hbm", device_bytes, 1e12, 1e12)
    ddr = Tier(
        "ddr",
        10**9,
        1e11,
        1e11,
        direct=direct,
        read_link="up" if direct else None,
        write_link="down" if direct else None,
    )
    links = (Link("up", "ddr", "hbm", link), Link("down", "hbm", "ddr", link))
    return Machine("gpu", _UNIT, _UNIT, (hbm, ddr), links, "hbm")


def layers_loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in weights:
        x = jax.nn.gelu(x @ w).reshape(-1, 32).T.T
    return (x * x).sum()


def relu_loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in weights:
        x = jax.jit(jax.nn.relu)(jax.nn.softmax(x @ w))
    return jnp.mean(x**2)


def scan_loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    def layer(y: jax.Array, w: jax.Array) -> tuple[jax.Array, None]:
        return jnp.tanh(y @ w), None

    first, _ = jax.lax.scan(layer, x, jnp.stack(weights[:3]))
    second, _ = jax.lax.scan(layer, jnp.sin(first), jnp.stack(weights[3:]))
    return (second * second).sum()


def draws(n: int = 6, rows: int = 128) -> tuple[list[jax.Array], jax.Array]:
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.normal(size=(32, 32)) / 6, dtype=jnp.float32) for _ in range(n)]
    return weights, jnp.asarray(rng.normal(size=(rows, 32)), dtype=jnp.float32)


def plan_of(fn: Callable[..., Any], args: Any, machine: Machine, planner: str = "greedy") -> tuple[Problem, Plan]:
    problem = tierplan.lower(fn, machine, args=args)
    outcome = tierplan.plan(problem, machine, planner=planner, budget=60.0)
    assert outcome.plan is not None, outcome
    return problem, outcome.plan


def same(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree_util.tree_leaves(one), jax.tree_util.tree_leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def inside(jaxpr: Any) -> Any:
    """The program that a traced transformed function wraps."""
    while len(jaxpr.eqns) == 1:
        jaxpr = next(v for v in jaxpr.eqns[0].params.values() if hasattr(v, "jaxpr")).jaxpr
    return jaxpr


def on_host(variable: Any) -> bool:
    return "host" in str(variable.aval)


def peak_of(fn: Callable[..., Any], args: Any) -> int:
    """Bytes of device memory that values of a traced function hold at the fullest equation, arguments aside."""
    jaxpr = inside(jax.make_jaxpr(fn)(*args).jaxpr)
    last = {v: n for n, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if not hasattr(v, "val")}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if not hasattr(v, "val")}
    held, peak, root = {}, 0, {}
    for n, eqn in enumerate(jaxpr.eqns):
        name = eqn.primitive.name
        for i, v in enumerate(eqn.outvars):
            same_bytes = name in ("reshape", "optimization_barrier", "name")
            source = eqn.invars[i] if same_bytes else None
            root[v] = root.get(source, source) if source is not None else v
            away = on_host(v)
            if root[v] is v and not away and v in last:
                held[v] = v.aval.size * v.aval.dtype.itemsize
        peak = max(peak, sum(held.values()))
        alive = {root.get(v, v) for v, until in last.items() if until > n and (v in root or v in held)}
        held = {v: size for v, size in held.items() if v in alive}
    return peak


@pytest.mark.parametrize("loss", [layers_loss, relu_loss])
def test_values_and_gradients_are_those_of_the_original_and_the_peak_falls(loss: Callable[..., Any]) -> None:
    graded, args = jax.value_and_grad(loss), draws()
    all_there = plan_of(graded, args, gpu(10**8))
    n_bytes = all_there[0].size.sum() // 3
    problem, plan = plan_of(graded, args, gpu(int(n_bytes)))
    moved = planned_jax.offload(graded, plan, problem=problem)
    report = moved.report(*args)
    assert report.moved
    assert not report.left
    same(jax.jit(moved)(*args), jax.jit(graded)(*args))
    same(moved(*args), graded(*args))
    assert planned_jax.offload(graded, all_there[1], problem=all_there[0]).report(*args).moved == ()
    before, after = peak_of(planned_jax.offload(graded, all_there[1], problem=all_there[0]), args), peak_of(moved, args)
    assert before - after > report.moved_bytes / 3


def test_derivatives_are_those_of_the_original() -> None:
    args = draws()
    graded = jax.value_and_grad(layers_loss)
    problem, plan = plan_of(graded, args, gpu(200_000))
    moved = planned_jax.offload(graded, plan, problem=problem)
    weights, x = args
    same(jax.grad(lambda y: moved(weights, y)[0])(x), jax.grad(lambda y: layers_loss(weights, y))(x))
    same(jax.vmap(lambda y: moved(weights, y)[0])(x[None]), layers_loss(weights, x)[None])


def test_copies_are_those_of_the_plan_at_its_steps() -> None:
    args, graded = draws(), jax.value_and_grad(layers_loss)
    problem, plan = plan_of(graded, args, gpu(200_000))
    moved = planned_jax.offload(graded, plan, problem=problem)
    text = str(jax.make_jaxpr(moved)(*args))
    n_gaps = len(gaps(problem, plan))
    assert n_gaps >= 2
    assert text.count("MemorySpace.Device") == n_gaps
    assert text.count("MemorySpace.Host") == len({gap.tensor for gap in gaps(problem, plan)})
    equations = inside(jax.make_jaxpr(moved)(*args).jaxpr).eqns
    fetches = [n for n, eqn in enumerate(equations) if "MemorySpace.Device" in str(eqn.params.get("devices"))]
    outs = [n for n, eqn in enumerate(equations) if "MemorySpace.Host" in str(eqn.params.get("devices"))]
    tied = {
        eqn.outvars[0] for eqn in equations if eqn.primitive.name == "optimization_barrier" and on_host(eqn.invars[0])
    }
    assert {equations[n].invars[0] for n in fetches} == tied
    assert max(outs) < min(fetches)
    waiting = [eqn for eqn in equations if eqn.primitive.name == "optimization_barrier" and not on_host(eqn.invars[0])]
    assert len(waiting) >= 2
    for gap in gaps(problem, plan):
        assert 0 < gap.out <= gap.dropped <= gap.back <= gap.needed < problem.n_steps


def test_what_lies_in_host_memory_that_operations_reach_is_fetched_where_it_is_read() -> None:
    args, graded = draws(), jax.value_and_grad(layers_loss)
    problem, plan = plan_of(graded, args, gpu(180_000, direct=True))
    assert not plan.copies
    found = gaps(problem, plan)
    assert any(gap.at_birth for gap in found)
    moved = planned_jax.offload(graded, plan, problem=problem)
    assert moved.report(*args).moved
    same(jax.jit(moved)(*args), graded(*args))


def test_stacked_results_of_loops_leave_and_return() -> None:
    args, graded = draws(6, 512), jax.value_and_grad(scan_loss)
    problem, plan = plan_of(graded, args, gpu(900_000), "msa")
    moved = planned_jax.offload(graded, plan, problem=problem)
    report = moved.report(*args)
    assert {*report.moved, *report.left}
    assert all("loop" in why for why in report.left.values())
    same(jax.jit(moved)(*args), graded(*args))
    text = str(jax.make_jaxpr(moved)(*args))
    assert text.count("= scan[") == str(jax.make_jaxpr(graded)(*args)).count("= scan[")


def without(problem: Problem, plan: Plan, tensor: str) -> Plan:
    """A legal plan that copies a tensor out once it is made, and back a step before its last use."""
    index = problem.tensor_names.index(tensor)
    (whole,) = [r for r in plan.residencies if r.tensor == index]
    made, back = whole.start, whole.stop - 6
    pieces = (
        replace(whole, stop=made + 3), replace(whole, start=back, offset=50_000_000),
        Residency(index, 1, 0, made + 1, whole.stop),
    )  # fmt: skip
    others = tuple(r for r in plan.residencies if r.tensor != index)
    copies = (Copy(index, 0, 1, made + 1, made + 2), Copy(index, 1, 0, back, back + 1))
    changed = Plan((*others, *pieces), (*plan.copies, *copies), plan.taken)
    assert tierplan.verify(problem, changed) == []
    return changed


def cheap_loss(w: jax.Array, x: jax.Array) -> jax.Array:
    y = jnp.sin(x) * 2.0
    z = y @ w
    for _ in range(4):
        z = jnp.tanh(jnp.tanh(z @ w) @ w) + z
    return (z @ w).sum() + (y * y).sum() + (y @ w * y).sum()


def test_what_is_sooner_computed_again_than_copied_is_computed_again() -> None:
    weights, x = draws(1, 512)
    args = (weights[0], x)
    problem, plan = plan_of(cheap_loss, args, gpu(10**8, link=1e9))
    assert gaps(problem, plan) == ()
    plan = without(problem, plan, "fusion.0")
    assert [gap.tensor for gap in gaps(problem, plan)] == ["fusion.0"]
    kept = planned_jax.offload(cheap_loss, plan, problem=problem)
    again = planned_jax.offload(cheap_loss, plan, problem=problem, recompute=True)
    assert (kept.report(*args).moved, kept.report(*args).recomputed) == (("fusion.0",), ())
    assert (again.report(*args).moved, again.report(*args).recomputed) == ((), ("fusion.0",))
    texts = {f: str(jax.make_jaxpr(f)(*args)) for f in (kept, again)}
    assert [texts[f].count("= sin ") for f in (kept, again)] == [1, 2]
    assert "device_put" not in texts[again]
    same(jax.jit(again)(*args), cheap_loss(*args))
    same(jax.jit(kept)(*args), cheap_loss(*args))
    fast = tierplan.lower(cheap_loss, gpu(10**8, link=1e15), args=args)
    assert [gap.again for gap in gaps(fast, plan, recompute=True)] == [False]


def test_what_cannot_be_computed_again_is_copied() -> None:
    """Every copy here is dearer than its operation, but what the operations of layers read is gone by then."""
    args, graded = draws(), jax.value_and_grad(layers_loss)
    problem, plan = plan_of(graded, args, gpu(200_000, link=1e7))
    found = gaps(problem, plan, recompute=True)
    assert found
    assert not all(gap.again for gap in found)
    moved = planned_jax.offload(graded, plan, problem=problem, recompute=True)
    same(jax.jit(moved)(*args), graded(*args))


def test_without_host_memory_nothing_moves_and_a_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    args, graded = draws(), jax.value_and_grad(layers_loss)
    problem, plan = plan_of(graded, args, gpu(200_000))
    monkeypatch.setattr(planned_jax, "has_host_memory", lambda: False)
    moved = planned_jax.offload(graded, plan, problem=problem)
    with pytest.warns(UserWarning, match="has no memory 'pinned_host'"):
        result = moved(*args)
    same(result, graded(*args))
    with pytest.warns(UserWarning, match="pinned_host"):
        assert "device_put" not in str(jax.make_jaxpr(moved)(*args))
    with pytest.warns(UserWarning, match="pinned_host"):
        assert set(moved.report(*args).left.values()) == {"this backend has no memory 'pinned_host'"}


def test_a_plan_for_something_else_names_the_difference() -> None:
    args, graded = draws(), jax.value_and_grad(layers_loss)
    problem, plan = plan_of(graded, args, gpu(10**8))
    with pytest.raises(
        InvalidInputError, match=r"operation \d+ is '.*', and '.*' in the plan|operations, and the plan"
    ):
        planned_jax.offload(layers_loss, plan, problem=problem)(*args)
    with pytest.raises(InvalidInputError, match=r"'.*' has \d+ bytes, and \d+ in the plan"):
        planned_jax.offload(graded, plan, problem=problem)(*draws(6, 64))
    with pytest.raises(InvalidInputError, match="a plan alone has no names"):
        planned_jax.offload(graded, plan)
    with pytest.raises(InvalidInputError, match="'plan' is a NoneType"):
        planned_jax.offload(graded, None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInputError, match=r"no file 'nosuch\.json'"):
        planned_jax.offload(graded, "nosuch.json")


def test_side_effects_are_refused() -> None:
    def told(x: jax.Array) -> jax.Array:
        jax.debug.print("{}", x)
        return jnp.sin(x) @ x

    x = jnp.ones((8, 8))
    problem = tierplan.lower(jnp.sin, gpu(10**6), args=(x,))
    with pytest.raises(InvalidInputError, match="side effect"):
        planned_jax.offload(told, Plan(), problem=problem)(x)


def test_a_limit_of_device_memory_leaves_the_host_as_it_is() -> None:
    laptop = planned_jax.limited("laptop", "4 GB")
    assert [tier.capacity for tier in laptop.tiers][:2] == [4 * 10**9, 16 * 10**9]
    assert planned_jax.limited(laptop, 10**6).tiers[0].capacity == 10**6
    tpu = planned_jax.limited("tpu-v4i", "1 GiB")
    assert sum(tier.capacity for tier in tpu.tiers) == 2**30


@pytest.mark.parametrize("loss", [layers_loss, relu_loss, scan_loss])
def test_what_is_recorded_is_the_graph_and_every_equation(loss: Callable[..., Any]) -> None:
    args = draws()
    recorded = record(traced(jax.value_and_grad(loss), args, name="f"))
    problem = tierplan.lower(jax.value_and_grad(loss), gpu(10**8), args=args)
    if loss is not scan_loss:
        assert [op.name for op in recorded.graph.ops] == [s for s in problem.step_names if s not in ("begin", "end")]
    made = {name for number, name in recorded.tensor.items() if number in recorded.maker}
    activations = {t.name for t in recorded.graph.tensors if t.kind.value == "activation" and not t.alias}
    inside = {name for name in activations - made if name.startswith(("scan", "fusion", "dot", "tanh"))}
    assert activations - made == (inside if loss is scan_loss else set())
    assert {recorded.tensor[n] for n in recorded.inputs} == {
        "weights.0", "weights.1", "weights.2", "weights.3", "weights.4", "weights.5", "x",
    }  # fmt: skip


NAMED = """\
import jax, jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

def loss(w, x):
    for i in range(8):
        x = checkpoint_name(jnp.tanh(x @ w), f"layer{i}")
    return (x * x).sum()

graded = jax.value_and_grad(loss)
example_args = {"graded": (np.ones((64, 64), np.float32), np.ones((512, 64), np.float32))}
"""
HARDWARE = """\
schema: 1
name: gpu
home: hbm
compute:
  matrix: {float32: 1 Tflop/s}
  vector: {float32: 1 Tflop/s}
tiers:
  - {name: hbm, capacity: 1200 kB, bandwidth: 1 TB/s}
  - {name: ddr, capacity: 1 GB, bandwidth: 100 GB/s, direct: false}
links:
  - {from: ddr, to: hbm, bandwidth: 50 GB/s, duplex: true}
"""


def test_emitted_source_runs_and_names_what_leaves(run: Run, tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(NAMED)
    (tmp_path / "gpu.yaml").write_text(HARDWARE)
    ran = run(
        "plan",
        "named.py:graded",
        "-H",
        "gpu.yaml",
        "--planner",
        "greedy",
        "--budget",
        "60s",
        "-o",
        "plan.json",
        "--emit",
        "jax",
    )
    assert ran.code == 0, ran.err
    names: dict[str, Any] = {}
    exec(compile(ran.out, "emitted", "exec"), names)
    args = (np.eye(64, dtype=np.float32) / 2, np.ones((512, 64), np.float32))
    same(names["planned"](*args), jax.value_and_grad(lambda w, x: _named_loss(w, x))(*args))
    assert callable(names["policy"])
    row = json_of(run("emit", "plan.json", "--for", "jax", "--json"))["values"]
    assert row["offloaded"]
    assert row["names_offloaded"]
    assert {*row["names_offloaded"], *row["names_saved"]} <= {f"layer{i}" for i in range(8)}
    (tmp_path / "named.py").write_text(NAMED.replace("jnp.tanh(x @ w)", "jnp.tanh(x @ w @ w)"))
    assert "plan this function" in run("emit", "plan.json", "--for", "jax").err
    assert "is no language model" in run("emit", "plan.json", "--for", "vllm").err


def _named_loss(w: jax.Array, x: jax.Array) -> jax.Array:
    for _ in range(8):
        x = jnp.tanh(x @ w)
    return (x * x).sum()
