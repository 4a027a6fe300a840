"""The Python API: lower, plan, verify, simulate, and what comes back for bad input."""

import dataclasses

import numpy as np
import pytest
import small

import tierplan
from tierplan import Access, Graph, Op, Outcome, Plan, Residency, Status, Tensor, TensorKind
from tierplan.ir.errors import InvalidInputError, InvalidPlanError
from tierplan.ir.machine import Link, Machine, Tier
from tierplan.planner.bounds import bytes_missing
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner


def graph(n: int = 64) -> Graph:
    """Two layers, y = w2 (w1 x), of n by n weights."""
    tensors = [Tensor(f"w{i}", (n, n), "float32", TensorKind.WEIGHT) for i in (1, 2)]
    tensors += [
        Tensor("x", (n,), "float32", TensorKind.INPUT),
        Tensor("h", (n,), "float32", TensorKind.ACTIVATION),
        Tensor("y", (n,), "float32", TensorKind.OUTPUT),
    ]

    def matmul(name: str, weight: str, source: str, target: str) -> Op:
        reads = (Access(weight, 4 * n * n), Access(source, 4 * n))
        return Op(name, "matmul", reads, (Access(target, 4 * n),), matrix_ops=2 * n * n)

    return Graph("mlp", tuple(tensors), (matmul("first", "w1", "x", "h"), matmul("second", "w2", "h", "y")))


MACHINE = small.machine(
    (
        Tier("fast", 2**16, 1e12, 1e12),
        Tier("slow", 2**30, 1e9, 1e9),
    ),
    (Link("up", "slow", "fast", 1e9),),
    home="slow",
)


def test_every_public_name_is_there() -> None:
    for name in tierplan.__all__:
        assert getattr(tierplan, name) is not None
        assert name in dir(tierplan)
    with pytest.raises(AttributeError, match="no attribute 'plann'"):
        tierplan.plann  # noqa: B018


def test_a_graph_is_planned_verified_and_simulated() -> None:
    problem = tierplan.lower(graph(), MACHINE)
    outcome = tierplan.plan(graph(), MACHINE)
    assert isinstance(outcome, Outcome)
    assert outcome.plan is not None
    assert tierplan.verify(problem, outcome.plan) == []
    assert tierplan.simulate(problem, outcome.plan).time_s == outcome.cost_s
    assert outcome.bound_s <= outcome.cost_s
    assert outcome.gap == pytest.approx(outcome.cost_s / outcome.bound_s - 1)


def test_a_problem_is_planned_as_it_is() -> None:
    problem = tierplan.lower(graph(), MACHINE)
    assert tierplan.lower(problem, MACHINE) is problem
    from_graph, from_problem = tierplan.plan(graph(), MACHINE), tierplan.plan(problem, MACHINE)
    assert (from_graph.plan, from_graph.cost_s) == (from_problem.plan, from_problem.cost_s)


def test_a_built_in_machine_goes_by_its_name() -> None:
    outcome = tierplan.plan(graph(), "laptop", budget=Budget(seconds=5))
    assert outcome.status in (Status.OPTIMAL, Status.FEASIBLE)


def test_a_function_is_traced() -> None:
    pytest.importorskip("jax")
    shapes = (np.zeros((8, 8), np.float32), np.zeros(8, np.float32))
    problem = tierplan.lower(lambda w, x: w @ x, "laptop", args=shapes)
    assert sorted(problem.size.tolist()) == [32, 32, 256]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planner": "gredy"}, "unknown planner 'gredy'; did you mean 'greedy'?"),
        ({"hardware": "lap-top"}, "did you mean 'laptop'?"),
        ({"budget": 0.0}, "a budget of 0.0 seconds"),
        ({"budget": -1.0}, "a budget of -1.0 seconds"),
        ({"budget": float("nan")}, "a budget of nan seconds"),
        ({"budget": float("inf")}, "a budget of inf seconds"),
        ({"start": Plan()}, "the start plan is not legal: missing-operand: step 0 (first) reads 'w1'"),
        ({"start": Plan((Residency(99, 0, 0, 0, 1),))}, "the plan names tensor 99"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"hardware": MACHINE} | changes
    with pytest.raises(InvalidInputError) as error:
        tierplan.plan(graph(), **arguments)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_a_budget_needs_workers() -> None:
    with pytest.raises(InvalidInputError, match="0 workers"):
        Budget(workers=0)


def test_what_cannot_be_traced_is_refused() -> None:
    pytest.importorskip("jax")

    def branches(x: np.ndarray) -> np.ndarray:
        return x if x > 0 else -x

    with pytest.raises(InvalidInputError):
        tierplan.plan(branches, "laptop", args=(np.zeros((), np.float32),))


def test_a_start_plan_is_never_made_worse() -> None:
    problem = tierplan.lower(graph(), MACHINE)
    best = tierplan.plan(problem, MACHINE)
    assert best.plan is not None
    assert best.cost_s is not None
    again = tierplan.plan(problem, MACHINE, start=best.plan)
    assert again.cost_s is not None
    assert again.cost_s <= best.cost_s


def test_what_fits_nowhere_is_an_outcome_with_the_bytes_that_lack() -> None:
    tiny = small.machine(
        (Tier("fast", 1000, 1e9, 1e9), Tier("slow", 20_000, 1e8, 1e8)),
        (Link("up", "slow", "fast", 1e8),),
        home="slow",
    )
    outcome = tierplan.plan(graph(), tiny)
    assert (outcome.status, outcome.plan, outcome.cost_s, outcome.gap) == (Status.INFEASIBLE, None, None, None)
    # At the first step w1, w2, x and h lie somewhere: 2 * 16384 + 2 * 256 bytes.
    assert dict(outcome.missing) == {"fast": 33_280 - 1000, "slow": 33_280 - 21_000}


def test_bytes_missing_follow_the_worst_step() -> None:
    problem = small.problem(
        ["produce a", "read a, produce b", "read b"],
        {"a": 6000, "b": 7000},
        on=small.machine((small.SRAM,), (), "sram"),
    )
    assert bytes_missing(problem) == {"sram": 13_000 - 900}


def test_a_plan_that_breaks_a_rule_is_not_simulated() -> None:
    problem = tierplan.lower(graph(), MACHINE)
    with pytest.raises(InvalidInputError, match="the plan breaks 7 rules; the first: missing-operand"):
        tierplan.simulate(problem, Plan())


def test_a_planner_that_breaks_a_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(problem, budget, *, start=None, cost):  # type: ignore[no-untyped-def]
        return Outcome("wrong", Status.FEASIBLE, Plan(), 1.0, 0.5, 0.0)

    monkeypatch.setattr("tierplan.pipeline.find_planner", lambda name: wrong)
    with pytest.raises(InvalidPlanError, match="planner 'auto' broke"):
        tierplan.plan(graph(), MACHINE)
    assert find_planner("greedy") is not wrong


def test_an_outcome_has_a_plan_exactly_if_it_found_one() -> None:
    for status in Status:
        found = status in (Status.OPTIMAL, Status.FEASIBLE)
        with pytest.raises(InvalidInputError):
            Outcome("p", status, None if found else Plan(), None if found else 1.0, 0.0, 0.0)
    assert Outcome("p", Status.FEASIBLE, Plan(), 1.0, 0.0, 0.0).gap is None
    assert Outcome("p", Status.OPTIMAL, Plan(), 1.0, 1.0 + 1e-12, 0.0).gap == 0.0


def two(message: str, **changes: object) -> tuple[dict[str, object], str]:
    return changes, message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        two("has no step", step_names=(), compute_s=np.array([]), compute_j=np.array([]), access_start=np.array([0])),
        two("compute_s has shape", compute_s=np.zeros(1)),
        two("tensor_kind has 1 entries", tensor_kind=("weight",)),
        two("access_start must rise", access_start=np.array([0, 2, 1, 4, 4])),
        two("finite and not negative", compute_s=np.array([0, 0, np.nan, 0])),
        two("bytes cannot be negative", size=np.array([1, -1])),
        two("absurdly many bytes", size=np.array([2**62, 1])),
        two("an access names a tensor", access_tensor=np.array([0, 1, 1, 2])),
        two("a home names a tier", home=np.array([0, 3])),
        two("accesses a tensor twice", access_start=np.array([0, 1, 3, 3, 4])),
        two("two tensors are named 'w'; plans go by name", tensor_names=("w", "w")),
        two("access_mode and keep must be 0, 1 or 2", access_mode=np.array([0, 3, 0, 0])),
        two("access_mode and keep must be 0, 1 or 2", keep=np.array([-1, 0])),
        two("must reach its home again has none", keep=np.array([0, 2])),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    problem = small.problem(["read w", "produce y", "read y", "read y"], {"w": 1, "y": 1}, home=("w",))
    with pytest.raises(InvalidInputError, match=message):
        dataclasses.replace(problem, **changes)  # type: ignore[arg-type]


def test_machines_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no link leads from tier 'flash' towards compute"):
        small.machine(links=small.LINKS[:2])
    with pytest.raises(InvalidInputError, match="unknown home tier 'dramm'; did you mean 'dram'"):
        small.machine(home="dramm")
    assert isinstance(small.machine(), Machine)
