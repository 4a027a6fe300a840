"""Re-simulation after edits equals a simulation from scratch, and taking an edit back restores everything."""

import numpy as np
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.sim.incremental.session import Session
from tierplan.sim.timeline import access_tiers, cost_s

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def in_order(plan: Plan) -> Plan:
    """The plan with copies of one step in the order in which they are needed."""
    return Plan(
        plan.residencies, tuple(sorted(plan.copies, key=lambda c: (c.start, c.done, c.tensor, c.target))), plan.taken
    )


@st.composite
def two_plans(draw: st.DrawFn) -> tuple[Problem, Plan, Plan]:
    problem = draw(strategies.problems(draw(strategies.machines(capacity=10**9))))
    first, second = draw(strategies.legal_plans(problem)), draw(strategies.legal_plans(problem))
    assume(first is not None and second is not None)
    assert first is not None
    assert second is not None
    return problem, in_order(first), in_order(second)


def assert_same(session: Session, problem: Problem, plan: Plan) -> None:
    wanted = cost_s(problem, plan)
    assert abs(session.seconds - wanted) <= 1e-9 * wanted + 1e-15


@given(two_plans(), st.lists(st.booleans(), min_size=30, max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_edits_from_one_plan_to_another(case: tuple[Problem, Plan, Plan], kept: list[bool]) -> None:
    problem, plan, other = case
    session = Session(problem, plan)
    assert_same(session, problem, plan)
    residencies, copies = list(plan.residencies), list(plan.copies)
    rows = dict(zip(plan.copies, session.rows.tolist(), strict=True))
    for x, keep in zip(range(problem.n_tensors), kept, strict=False):
        moved = [r for r in residencies if r.tensor != x] + [r for r in other.residencies if r.tensor == x]
        added = [c for c in other.copies if c.tensor == x]
        removed = [c for c in copies if c.tensor == x]
        edited = in_order(Plan(tuple(moved), tuple([c for c in copies if c.tensor != x] + added), plan.taken))
        accesses = np.flatnonzero(problem.access_tensor == x)
        tiers = access_tiers(problem, edited)[accesses]
        before = session.seconds
        gone = np.array([rows[c] for c in removed], dtype=np.int64)
        table = np.array([(c.tensor, c.source, c.target, c.start, c.done) for c in added], dtype=np.int64).reshape(
            -1, 5
        )
        assert session.change(accesses, tiers, gone, table) == session.seconds
        assert_same(session, problem, edited)
        if keep:
            residencies, copies = moved, list(edited.copies)
            rows |= dict(zip(added, session.keep().tolist(), strict=True))
        else:
            session.undo()
            assert session.seconds == before
    assert_same(session, problem, in_order(Plan(tuple(residencies), tuple(copies), plan.taken)))
