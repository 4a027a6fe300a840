"""The verifier: every rule with its evidence, every sentence of docs/semantics.md, and legal plans attacked."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
import small
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import NO_HOME, NO_LINK, Alternative, Choice, Keep, Mode, Problem
from tierplan.ir.verify import reserved_bytes, violations
from tierplan.ir.violation import Rule, Violation
from tierplan.sim.timeline import access_tiers

SRAM, DRAM, FLASH = 0, 1, 2
W, S, Y = 0, 1, 2  # the tensors of `program`: a weight, a state, an output


def lies(tensor: int, tier: int, offset: int, start: int, stop: int) -> Residency:
    return Residency(tensor, tier, offset, start, stop)


def found(problem: Problem, residencies: Iterable[Residency], copies: Sequence[Copy] = (), taken=()) -> list[Violation]:
    return list(violations(problem, Plan(tuple(residencies), tuple(copies), tuple(taken))))


def evidence(broken: Sequence[Violation]) -> list[tuple[object, ...]]:
    return [(v.rule, v.tensors, v.start, v.stop, v.tier, v.bytes) for v in broken]


def program(*, cyclic: bool = False) -> Problem:
    """Four steps: y = f(w); s += w; y = g(y, s); read y."""
    return small.problem(
        ["read w, produce y", "read w, update s", "read s, update y", "read y"],
        {"w": 100, "s": 40, "y": 60},
        home=("w", "s"),
        keep={"s": Keep.HOME, "y": Keep.SOMEWHERE},
        cyclic=cyclic,
    )


BASE = (lies(W, DRAM, 0, 0, 4), lies(S, DRAM, 100, 0, 4), lies(Y, DRAM, 140, 0, 4))


def without(residency: Residency) -> tuple[Residency, ...]:
    return tuple(r for r in BASE if r != residency)


@pytest.mark.parametrize("cyclic", [False, True])
def test_the_base_plan_is_legal(cyclic: bool) -> None:
    assert found(program(cyclic=cyclic), BASE) == []


EDITS: dict[Rule, tuple[Sequence[Residency], Sequence[Copy]]] = {
    Rule.OVERLAP: ((BASE[0], lies(S, DRAM, 99, 0, 4), BASE[2]), ()),
    Rule.CAPACITY: ((lies(W, DRAM, 9901, 0, 4), *BASE[1:]), ()),
    Rule.ALIGNMENT: ((BASE[0], BASE[1], lies(Y, SRAM, 5, 0, 4)), ()),
    Rule.MISSING_OPERAND: ((lies(W, DRAM, 0, 0, 1), *BASE[1:]), ()),
    Rule.UNJUSTIFIED_RESIDENCY: ((*BASE, lies(W, SRAM, 0, 2, 3)), ()),
    Rule.NO_LINK: ((*BASE, lies(W, FLASH, 0, 0, 1)), (Copy(W, DRAM, FLASH, 0, 1),)),
    Rule.LATE_COPY: ((*BASE, lies(W, SRAM, 0, 0, 1)), (Copy(W, DRAM, SRAM, 0, 2),)),
    Rule.LOST_OUTPUT: ((*BASE[:2], lies(Y, DRAM, 140, 0, 3), lies(Y, SRAM, 0, 2, 4)), (Copy(Y, DRAM, SRAM, 2, 4),)),
    Rule.LOST_STATE: ((BASE[0], lies(S, DRAM, 100, 0, 3), BASE[2]), ()),
    Rule.SCRATCH: ((BASE[0], BASE[1], lies(Y, SRAM, 900, 0, 4)), ()),
    Rule.NOT_DIRECT: ((BASE[0], BASE[1], lies(Y, FLASH, 0, 0, 4)), ()),
    Rule.CYCLE: ((lies(W, DRAM, 0, 0, 3), *BASE[1:]), ()),
}


@pytest.mark.parametrize("rule", [rule for rule in Rule if rule is not Rule.CHOICE])
def test_every_rule_can_be_broken_by_one_edit_of_the_base_plan(rule: Rule) -> None:
    residencies, copies = EDITS[rule]
    assert rule in {v.rule for v in found(program(cyclic=rule is Rule.CYCLE), residencies, copies)}


# One rule each, with all its evidence.


def test_overlap_tells_both_tensors_and_the_bytes_that_they_share() -> None:
    broken = found(program(), [lies(W, DRAM, 0, 0, 2), lies(S, DRAM, 90, 0, 4), BASE[2]])
    assert evidence(broken) == [(Rule.OVERLAP, ("w", "s"), 0, 2, "dram", 10)]


def test_residencies_that_only_touch_do_not_overlap() -> None:
    assert found(program(), [lies(W, DRAM, 0, 0, 2), lies(S, DRAM, 100, 0, 4), BASE[2]]) == []
    later = small.problem(["produce a", "read a, produce b", "produce c"], {"a": 50, "b": 50, "c": 50})
    assert found(later, [lies(0, SRAM, 0, 0, 2), lies(1, SRAM, 50, 1, 2), lies(2, SRAM, 0, 2, 3)]) == []


def test_one_tensor_cannot_lie_twice_in_a_tier_at_a_time() -> None:
    twice = lies(Y, DRAM, 500, 2, 4)
    broken = found(program(), [*BASE, twice], [])
    assert (Rule.OVERLAP, ("y",), 2, 4, "dram", 60) in evidence(broken)


def test_overlap_is_found_under_a_long_and_between_many_short_ones() -> None:
    sizes = {f"x{i}": 10 for i in range(6)}
    p = small.problem([", ".join(f"produce {x}" for x in sizes), ", ".join(f"read {x}" for x in sizes)], sizes)
    stacked = [lies(i, DRAM, 10 * i, 0, 2) for i in range(6)]
    assert found(p, stacked) == []
    for i in range(6):
        for j in range(6):
            moved = [replace(r, offset=10 * j + 3 if k == i else r.offset) for k, r in enumerate(stacked)]
            pairs = {frozenset(v.tensors) for v in found(p, moved) if v.rule is Rule.OVERLAP}
            expected = {frozenset((f"x{i}", f"x{k}")) for k in (j, j + 1) if k != i and k < 6}
            assert pairs == expected


def test_capacity_and_scratch_tell_the_bytes_beyond() -> None:
    broken = found(program(), [lies(W, SRAM, 870, 0, 4), *BASE[1:]])
    assert evidence(broken)[:1] == [(Rule.SCRATCH, ("w",), 0, 4, "sram", 70)]
    p = small.problem(["produce y"], {"y": 60})
    assert found(p, [lies(0, SRAM, 840, 0, 1)]) == []
    assert evidence(found(p, [lies(0, SRAM, 850, 0, 1)])) == [(Rule.SCRATCH, ("y",), 0, 1, "sram", 10)]
    assert evidence(found(p, [lies(0, SRAM, 940, 0, 1)])) == [(Rule.SCRATCH, ("y",), 0, 1, "sram", 100)]
    assert evidence(found(p, [lies(0, SRAM, 950, 0, 1)])) == [(Rule.CAPACITY, ("y",), 0, 1, "sram", 10)]
    assert evidence(found(p, [lies(0, DRAM, 9950, 0, 1)])) == [(Rule.CAPACITY, ("y",), 0, 1, "dram", 10)]


def test_what_a_choice_reserves_is_out_of_bounds() -> None:
    choice = Choice("window", (Alternative("none", (0, 0, 0)), Alternative("wide", (200, 0, 0))))
    p = small.problem(["produce y"], {"y": 60}, choices=[choice])
    at_the_edge = [lies(0, SRAM, 640, 0, 1)]
    assert found(p, at_the_edge, taken=[Taken(0, 1)]) == []
    assert reserved_bytes(p, Plan(taken=(Taken(0, 1),)), SRAM) == 200
    above = [lies(0, SRAM, 650, 0, 1)]
    assert found(p, above, taken=[Taken(0, 0)]) == []
    assert evidence(found(p, above, taken=[Taken(0, 1)])) == [(Rule.SCRATCH, ("y",), 0, 1, "sram", 10)]


def test_exactly_one_alternative_of_each_choice_is_taken() -> None:
    choice = Choice("window", (Alternative("none", (0, 0, 0)), Alternative("wide", (0, 0, 0))))
    p = small.problem(["produce y"], {"y": 60}, choices=[choice, replace(choice, name="bundle")])
    y = [lies(0, SRAM, 0, 0, 1)]
    assert found(p, y, taken=[Taken(1, 1), Taken(0, 0)]) == []
    none_of_one = found(p, y, taken=[Taken(0, 0)])
    assert evidence(none_of_one) == [(Rule.CHOICE, (), None, None, None, None)]
    assert none_of_one[0].detail == "0 alternatives of 'bundle' are taken; need one"
    two = found(p, y, taken=[Taken(0, 0), Taken(0, 1), Taken(1, 0)])
    assert [v.detail for v in two] == ["2 alternatives of 'window' are taken; need one"]


def test_alignment_is_that_of_the_tier() -> None:
    p = small.problem(["produce y"], {"y": 60})
    assert evidence(found(p, [lies(0, SRAM, 13, 0, 1)])) == [(Rule.ALIGNMENT, ("y",), 0, 1, "sram", 3)]
    assert found(p, [lies(0, DRAM, 13, 0, 1)]) == []


def test_missing_operand_of_a_step() -> None:
    assert evidence(found(program(), without(BASE[W]))) == [
        (Rule.MISSING_OPERAND, ("w",), 0, 1, None, 100),
        (Rule.MISSING_OPERAND, ("w",), 1, 2, None, 100),
    ]
    shortened = [lies(W, DRAM, 0, 0, 1), *BASE[1:]]
    assert evidence(found(program(), shortened)) == [(Rule.MISSING_OPERAND, ("w",), 1, 2, None, 100)]
    no_room = found(program(), without(BASE[Y]))
    assert evidence(no_room)[0] == (Rule.MISSING_OPERAND, ("y",), 0, 1, None, 60)
    assert no_room[0].detail == "step 0 (op0) produces 'y', but no tier holds room for it"


def test_missing_operand_of_a_copy() -> None:
    p = program()
    up = Copy(W, DRAM, SRAM, 0, 1)
    staged = lies(W, SRAM, 0, 0, 4)
    nothing_there = found(p, [*without(BASE[W]), staged], [up])
    assert evidence(nothing_there)[0] == (Rule.MISSING_OPERAND, ("w",), 0, 1, "dram", None)
    ends_early = found(p, [lies(W, DRAM, 0, 0, 1), *BASE[1:], staged], [replace(up, done=2)])
    assert evidence(ends_early)[0] == (Rule.MISSING_OPERAND, ("w",), 0, 2, "dram", None)
    assert ends_early[0].detail.endswith("its source is given up before it is done")


def test_a_write_during_a_copy_tears_it() -> None:
    p = program()
    two_copies = [*BASE, lies(S, SRAM, 0, 0, 4)]
    broken = found(p, two_copies, [Copy(S, DRAM, SRAM, 0, 2)])
    assert evidence(broken) == [(Rule.MISSING_OPERAND, ("s",), 0, 2, "dram", None)]
    assert broken[0].detail.endswith("the tensor is written before it is done")
    issued_with_the_write = found(p, [*BASE, lies(S, SRAM, 0, 1, 4)], [Copy(S, DRAM, SRAM, 1, 2)])
    assert evidence(issued_with_the_write) == [(Rule.MISSING_OPERAND, ("s",), 1, 2, "dram", None)]
    assert found(p, [*BASE, lies(S, SRAM, 0, 2, 4)], [Copy(S, DRAM, SRAM, 2, 3)]) == []  # after it: no harm


def test_not_direct() -> None:
    away = replace(small.machine(), home="flash")
    p = small.problem(["read w"], {"w": 100}, home=("w",), on=away)
    assert evidence(found(p, [lies(0, FLASH, 0, 0, 1)])) == [(Rule.NOT_DIRECT, ("w",), 0, 1, "flash", 100)]
    p = small.problem(["produce y"], {"y": 100})
    assert evidence(found(p, [lies(0, FLASH, 0, 0, 1)])) == [(Rule.NOT_DIRECT, ("y",), 0, 1, "flash", 100)]


def test_unjustified_residency() -> None:
    p = program()
    appears = found(p, [*BASE, lies(W, SRAM, 0, 1, 3)])
    assert evidence(appears) == [(Rule.UNJUSTIFIED_RESIDENCY, ("w",), 1, 3, "sram", 100)]
    not_its_home = found(p, [lies(W, SRAM, 0, 0, 4), *BASE[1:]])
    assert evidence(not_its_home)[0] == (Rule.UNJUSTIFIED_RESIDENCY, ("w",), 0, 4, "sram", 100)
    after_its_making = found(p, [BASE[0], BASE[1], lies(Y, DRAM, 140, 1, 4)])
    assert (Rule.UNJUSTIFIED_RESIDENCY, ("y",), 1, 4, "dram", 60) in evidence(after_its_making)
    two_places = found(p, [*BASE, lies(Y, SRAM, 0, 0, 4)])
    assert (Rule.UNJUSTIFIED_RESIDENCY, ("y",), 0, 1, "dram", None) in evidence(two_places)


def test_a_residency_cannot_outlast_the_program() -> None:
    broken = found(program(), [replace(BASE[W], stop=5), *BASE[1:]])
    assert evidence(broken) == [(Rule.UNJUSTIFIED_RESIDENCY, ("w",), 0, 5, None, None)]


def test_no_link() -> None:
    p = program()
    broken = found(p, [*BASE, lies(W, FLASH, 0, 0, 4)], [Copy(W, DRAM, FLASH, 0, 4)])
    assert evidence(broken) == [(Rule.NO_LINK, ("w",), 0, 4, "flash", 100)]


def test_late_copy_of_a_step_that_runs_before_it_is_done() -> None:
    away = replace(small.machine(), home="flash")
    p = small.problem(["", "read w", ""], {"w": 100}, home=("w",), on=away)
    there = [lies(0, FLASH, 0, 0, 3), lies(0, DRAM, 0, 0, 3)]
    assert found(p, there, [Copy(0, FLASH, DRAM, 0, 1)]) == []
    # Flash holds a valid copy, so the step is told about the tier that it cannot use.
    assert evidence(found(p, there, [Copy(0, FLASH, DRAM, 0, 2)])) == [(Rule.NOT_DIRECT, ("w",), 1, 2, "flash", 100)]
    p = small.problem(["produce y", "", "read y"], {"y": 100})
    broken = found(p, [lies(0, DRAM, 0, 0, 2), lies(0, SRAM, 0, 1, 3)], [Copy(0, DRAM, SRAM, 1, 3)])
    assert (Rule.LATE_COPY, ("y",), 2, 3, "sram", 100) in evidence(broken)


def test_late_copy_without_room_until_it_is_done() -> None:
    p = program()
    up = Copy(W, DRAM, SRAM, 0, 2)
    assert found(p, [*BASE, lies(W, SRAM, 0, 0, 2)], [up]) == []
    for staged in ([], [lies(W, SRAM, 0, 0, 1)]):
        assert (Rule.LATE_COPY, ("w",), 0, 2, "sram", None) in evidence(found(p, [*BASE, *staged], [up]))


def test_late_copy_beyond_the_end() -> None:
    p = program()
    staged = [*BASE, lies(W, SRAM, 0, 3, 4)]
    assert found(p, staged, [Copy(W, DRAM, SRAM, 3, 4)]) == []
    assert (Rule.LATE_COPY, ("w",), 3, 5, None, None) in evidence(found(p, staged, [Copy(W, DRAM, SRAM, 3, 5)]))
    assert (Rule.LATE_COPY, ("w",), 4, 5, None, None) in evidence(found(p, staged, [Copy(W, DRAM, SRAM, 4, 5)]))


def test_lost_output_and_lost_state() -> None:
    p = program()
    assert evidence(found(p, [BASE[0], BASE[1], replace(BASE[2], stop=4)])) == []
    p = small.problem(["produce y", ""], {"y": 60}, keep={"y": Keep.SOMEWHERE})
    assert evidence(found(p, [lies(0, DRAM, 0, 0, 1)])) == [(Rule.LOST_OUTPUT, ("y",), 2, 2, None, 60)]
    p = small.problem(["update s", "", ""], {"s": 40}, home=("s",), keep={"s": Keep.HOME})
    assert evidence(found(p, [lies(0, DRAM, 0, 0, 2)])) == [(Rule.LOST_STATE, ("s",), 3, 3, None, 40)]
    # Updated above, and not written back: stale at home.
    moved = [lies(0, DRAM, 0, 0, 3), lies(0, SRAM, 0, 0, 3)]
    p = small.problem(["", "update s", ""], {"s": 40}, home=("s",), keep={"s": Keep.HOME})
    up, down = Copy(0, DRAM, SRAM, 0, 1), Copy(0, SRAM, DRAM, 2, 3)
    assert evidence(found(p, moved, [up])) == [(Rule.LOST_STATE, ("s",), 3, 3, None, 40)]
    assert found(p, moved, [up, down]) == []
    # Of a program that repeats, any tier will do.
    p = replace(p, cyclic=True)
    assert found(p, [lies(0, SRAM, 0, 0, 3)]) == []
    assert (Rule.LOST_STATE, ("s",), 3, 3, None, 40) in evidence(found(p, [lies(0, SRAM, 0, 0, 2)]))


def test_cycle() -> None:
    p = program(cyclic=True)
    gone = found(p, [lies(W, DRAM, 0, 0, 3), *BASE[1:]])
    assert evidence(gone)[0] == (Rule.CYCLE, ("w",), 0, 3, "dram", 100)
    p = small.problem(["", "update s", ""], {"s": 40}, home=("s",), cyclic=True)
    stale = found(p, [lies(0, DRAM, 0, 0, 3), lies(0, SRAM, 0, 0, 3)])
    assert evidence(stale) == [(Rule.CYCLE, ("s",), 0, 3, "dram", 40)]
    p = small.problem(["read w", "", ""], {"w": 40}, home=("w",), cyclic=True)
    other_offset = [lies(0, SRAM, 0, 0, 2), lies(0, SRAM, 50, 2, 3), lies(0, DRAM, 0, 0, 3)]
    assert evidence(found(p, other_offset, [Copy(0, DRAM, SRAM, 2, 3)])) == [(Rule.CYCLE, ("w",), 0, 2, "sram", 40)]
    same_offset = [replace(r, offset=0) for r in other_offset]
    assert found(p, same_offset, [Copy(0, DRAM, SRAM, 2, 3)]) == []


def test_a_copy_takes_at_most_one_turn() -> None:
    p = small.problem(["read w", "", ""], {"w": 40}, home=("w",), cyclic=True)
    both = [lies(0, DRAM, 0, 0, 3), lies(0, SRAM, 0, 0, 3)]
    assert found(p, both, [Copy(0, DRAM, SRAM, 1, 4)]) == []
    assert evidence(found(p, both, [Copy(0, DRAM, SRAM, 1, 5)])) == [(Rule.CYCLE, ("w",), 1, 5, None, None)]


def test_names_that_the_problem_lacks_are_an_error_not_a_violation() -> None:
    p = program()
    for plan in (
        Plan((lies(3, DRAM, 0, 0, 1),)),
        Plan((lies(0, 3, 0, 0, 1),)),
        Plan((), (Copy(3, 0, 1, 0, 1),)),
        Plan((), (Copy(0, 3, 1, 0, 1),)),
        Plan((), (Copy(0, 1, 3, 0, 1),)),
        Plan((), (), (Taken(0, 0),)),
    ):
        with pytest.raises(InvalidInputError):
            list(violations(p, plan))


# The order of events at the beginning of a step.


def test_residencies_end_before_others_begin() -> None:
    p = small.problem(["produce a", "read a", "produce b"], {"a": 50, "b": 50})
    assert found(p, [lies(0, SRAM, 0, 0, 2), lies(1, SRAM, 0, 2, 3)]) == []


def test_what_begins_holds_nothing_even_where_the_tensor_has_just_lain() -> None:
    p = program()
    broken = found(p, [lies(W, DRAM, 0, 0, 1), lies(W, DRAM, 0, 1, 4), *BASE[1:]])
    assert evidence(broken) == [
        (Rule.UNJUSTIFIED_RESIDENCY, ("w",), 1, 4, "dram", 100),
        (Rule.MISSING_OPERAND, ("w",), 1, 2, None, 100),
    ]


def test_a_copy_that_is_done_at_a_step_can_be_read_in_it_and_copied_on() -> None:
    away = replace(small.machine(), home="flash")
    p = small.problem(["", "", "read w"], {"w": 40}, home=("w",), on=away)
    chain = [lies(0, FLASH, 0, 0, 3), lies(0, DRAM, 0, 0, 2), lies(0, SRAM, 0, 1, 3)]
    assert found(p, chain, [Copy(0, FLASH, DRAM, 0, 1), Copy(0, DRAM, SRAM, 1, 2)]) == []
    too_early = found(p, chain, [Copy(0, FLASH, DRAM, 0, 2), Copy(0, DRAM, SRAM, 1, 2)])
    assert (Rule.MISSING_OPERAND, ("w",), 1, 2, "dram", None) in evidence(too_early)


def test_the_source_may_end_at_the_step_at_which_the_copy_is_done() -> None:
    p = program()
    assert found(p, [lies(W, DRAM, 0, 0, 1), *BASE[1:], lies(W, SRAM, 0, 0, 2)], [Copy(W, DRAM, SRAM, 0, 1)]) == []


def test_a_copy_takes_up_the_version_at_its_issue() -> None:
    p = small.problem(["produce y", "update y", "read y"], {"y": 60})
    two = [lies(0, SRAM, 0, 0, 3), lies(0, DRAM, 0, 1, 3)]
    torn = found(p, two, [Copy(0, SRAM, DRAM, 1, 2)])
    assert evidence(torn) == [(Rule.MISSING_OPERAND, ("y",), 1, 2, "sram", None)]
    assert found(p, [two[0], lies(0, DRAM, 0, 2, 3)], [Copy(0, SRAM, DRAM, 2, 3)]) == []


def test_an_update_makes_other_copies_stale() -> None:
    p = small.problem(["produce y", "", "update y", "read y"], {"y": 60})
    up, down = Copy(0, DRAM, SRAM, 1, 2), Copy(0, SRAM, DRAM, 3, 4)
    both = [lies(0, DRAM, 0, 0, 4), lies(0, SRAM, 0, 1, 3)]
    # The update is made above, which is given up: what lies below is stale.
    assert evidence(found(p, both, [up])) == [(Rule.MISSING_OPERAND, ("y",), 3, 4, None, 60)]
    above = [both[0], lies(0, SRAM, 0, 1, 4)]
    assert found(p, above, [up]) == []
    assert found(p, above, [up, down]) == []
    assert access_tiers(p, Plan(tuple(above), (up,))).tolist() == [DRAM, SRAM, SRAM]


def test_a_state_is_refreshed_at_home_by_a_copy_into_an_existing_residency() -> None:
    p = small.problem(["", "update s", "", "read s"], {"s": 40}, home=("s",), keep={"s": Keep.HOME}, cyclic=True)
    both = [lies(0, DRAM, 0, 0, 4), lies(0, SRAM, 0, 0, 4)]
    assert found(p, both, [Copy(0, SRAM, DRAM, 2, 4)]) == []
    assert found(p, both, [Copy(0, SRAM, DRAM, 2, 5)]) == []  # wraps: before the next update
    assert evidence(found(p, both, [Copy(0, SRAM, DRAM, 2, 6)])) == [(Rule.MISSING_OPERAND, ("s",), 2, 6, "sram", None)]


def test_production_goes_to_the_fastest_direct_tier_that_has_room_and_no_copy_arriving() -> None:
    p = small.problem(["produce y", "update y", "", "produce y", "read y"], {"y": 60})
    below, above = lies(0, DRAM, 0, 0, 5), lies(0, SRAM, 0, 2, 5)
    plan = Plan((below, above), (Copy(0, DRAM, SRAM, 2, 3),))
    assert list(violations(p, plan)) == []
    assert access_tiers(p, plan).tolist() == [DRAM, DRAM, SRAM, SRAM]
    arriving = Plan((below, above), (Copy(0, DRAM, SRAM, 2, 4),))
    assert [v.rule for v in violations(p, arriving)] == [Rule.MISSING_OPERAND]  # it tears the copy
    assert access_tiers(p, arriving).tolist()[2] == DRAM


def test_a_tensor_made_anew_at_step_0_may_lie_at_home_meanwhile() -> None:
    p = small.problem(["produce s", ""], {"s": 40}, home=("s",), keep={"s": Keep.HOME})
    both = [lies(0, DRAM, 0, 0, 2), lies(0, SRAM, 0, 0, 2)]
    assert found(p, both, [Copy(0, SRAM, DRAM, 1, 2)]) == []
    assert found(replace(p, cyclic=True), both, [Copy(0, SRAM, DRAM, 1, 2)]) == []


def test_a_read_takes_the_fastest_valid_copy() -> None:
    p = program()
    plan = Plan((*BASE, lies(W, SRAM, 0, 0, 2)), (Copy(W, DRAM, SRAM, 0, 1),))
    assert list(violations(p, plan)) == []
    of_w = access_tiers(p, plan)[p.access_tensor == W]
    assert of_w.tolist() == [DRAM, SRAM]


def test_a_wrapped_copy_prefetches_for_the_next_turn() -> None:
    away = replace(small.machine(), home="flash")
    p = small.problem(["", "read w", "", ""], {"w": 40}, home=("w",), on=away, cyclic=True)
    stays = lies(0, FLASH, 0, 0, 4)
    window = [lies(0, DRAM, 0, 3, 4), lies(0, DRAM, 0, 0, 2)]
    assert found(p, [stays, *window], [Copy(0, FLASH, DRAM, 3, 5)]) == []
    other_place = [window[0], replace(window[1], offset=100)]
    assert Rule.CYCLE in {v.rule for v in found(p, [stays, *other_place], [Copy(0, FLASH, DRAM, 3, 5)])}
    late = found(p, [stays, *window], [Copy(0, FLASH, DRAM, 3, 6)])
    assert evidence(late) == [(Rule.NOT_DIRECT, ("w",), 1, 2, "flash", 40)]
    no_room_before = found(p, [stays, window[1]], [Copy(0, FLASH, DRAM, 3, 5)])
    assert (Rule.LATE_COPY, ("w",), 3, 5, "dram", None) in evidence(no_room_before)
    no_room_after = found(p, [stays, window[0]], [Copy(0, FLASH, DRAM, 3, 5)])
    assert (Rule.LATE_COPY, ("w",), 3, 5, "dram", None) in evidence(no_room_after)
    source_ends = found(p, [lies(0, FLASH, 0, 3, 4), *window], [Copy(0, FLASH, DRAM, 3, 5)])
    assert (Rule.MISSING_OPERAND, ("w",), 3, 5, "flash", None) in evidence(source_ends)


def test_a_wrapped_copy_of_a_state_takes_up_what_the_turn_left() -> None:
    p = small.problem(["", "read s", "update s", ""], {"s": 40}, home=("s",), cyclic=True)
    lying = [lies(0, DRAM, 0, 0, 4), lies(0, SRAM, 0, 3, 4), lies(0, SRAM, 0, 0, 2)]
    assert found(p, lying, [Copy(0, DRAM, SRAM, 3, 5)]) == []
    # Room above until after the update: then the update is made there, and below is stale.
    longer = [lying[0], lying[1], lies(0, SRAM, 0, 0, 3)]
    broken = found(p, longer, [Copy(0, DRAM, SRAM, 3, 5)])
    assert (Rule.MISSING_OPERAND, ("s",), 3, 5, "dram", None) in evidence(broken)


def test_in_a_cyclic_program_the_planner_chooses_where_weights_lie() -> None:
    p = program(cyclic=True)
    for tier in (SRAM, DRAM):
        assert found(p, [lies(W, tier, 300, 0, 4), *BASE[1:]]) == []


def test_a_read_only_tensor_is_dropped_without_writing_it_back() -> None:
    assert found(program(), [lies(W, DRAM, 0, 0, 2), *BASE[1:]]) == []


# Legal plans attacked.


@st.composite
def planned(draw: st.DrawFn) -> tuple[Problem, Plan]:
    problem = draw(strategies.problems())
    plan = draw(strategies.legal_plans(problem))
    assume(plan is not None)
    return problem, plan


attack = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def rules(problem: Problem, plan: Plan) -> set[Rule]:
    return {v.rule for v in violations(problem, plan)}


def broken_of(problem: Problem, plan: Plan, rule: Rule) -> list[Violation]:
    return [v for v in violations(problem, plan) if v.rule is rule]


def edited(plan: Plan, index: int, **changes: int) -> Plan:
    changed = replace(plan.residencies[index], **changes)
    return replace(plan, residencies=(*plan.residencies[:index], changed, *plan.residencies[index + 1 :]))


def moved(plan: Plan, index: int, **changes: int) -> Plan:
    return replace(
        plan, copies=(*plan.copies[:index], replace(plan.copies[index], **changes), *plan.copies[index + 1 :])
    )


@given(planned())
@attack
def test_legal_plans_yield_nothing(case: tuple[Problem, Plan]) -> None:
    assert list(violations(*case)) == []


@given(planned(), st.data())
@attack
def test_a_buffer_moved_onto_another_overlaps(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    meets = [
        (i, j)
        for i, r in enumerate(plan.residencies)
        for j, q in enumerate(plan.residencies)
        if r.tensor != q.tensor and r.tier == q.tier and r.start < q.stop and q.start < r.stop
    ]
    assume(meets)
    i, j = data.draw(st.sampled_from(meets))
    onto = edited(plan, i, offset=plan.residencies[j].offset)
    told = {(frozenset(v.tensors), v.start, v.stop, v.tier, v.bytes) for v in broken_of(problem, onto, Rule.OVERLAP)}
    true = _clashes(problem, onto)
    assert any({problem.tensor_names[plan.residencies[k].tensor] for k in (i, j)} == pair for pair, *_ in true)
    assert told
    assert told <= true
    if len(true) == 1:
        assert told == true


def _clashes(problem: Problem, plan: Plan) -> set[tuple[object, ...]]:
    """Every pair of residencies that share bytes, by looking at all of them."""
    pairs = set()
    for r, q in itertools.combinations(plan.residencies, 2):
        low, high = max(r.offset, q.offset), min(x.offset + int(problem.size[x.tensor]) for x in (r, q))
        start, stop = max(r.start, q.start), min(r.stop, q.stop)
        if r.tier == q.tier and low < high and start < stop:
            names = frozenset(problem.tensor_names[x.tensor] for x in (r, q))
            pairs.add((names, start, stop, problem.tiers.names[r.tier], high - low))
    return pairs


@given(planned(), st.data())
@attack
def test_a_buffer_moved_up_leaves_the_tier(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    i = data.draw(st.integers(0, len(plan.residencies) - 1))
    r = plan.residencies[i]
    size, alignment = int(problem.size[r.tensor]), int(problem.tiers.alignment[r.tier])
    capacity = int(problem.tiers.capacity[r.tier])
    beyond = data.draw(st.integers(1, 10**6))
    told = broken_of(problem, edited(plan, i, offset=capacity - size + beyond), Rule.CAPACITY)
    name, tier = problem.tensor_names[r.tensor], problem.tiers.names[r.tier]
    assert evidence(told) == [(Rule.CAPACITY, (name,), r.start, r.stop, tier, beyond)]
    reserved = reserved_bytes(problem, plan, r.tier)
    if reserved:
        into = edited(plan, i, offset=capacity - size)
        assert (Rule.SCRATCH, (name,), r.start, r.stop, tier, reserved) in evidence(list(violations(problem, into)))
    if alignment > 1:
        askew = edited(plan, i, offset=r.offset + 1)
        assert evidence(broken_of(problem, askew, Rule.ALIGNMENT)) == [
            (Rule.ALIGNMENT, (name,), r.start, r.stop, tier, 1)
        ]


@given(planned(), st.data())
@attack
def test_a_tensor_whose_residencies_are_dropped_is_missed(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    used = sorted(set(problem.access_tensor.tolist()))
    assume(used)
    x = data.draw(st.sampled_from(used))
    bare = Plan(
        tuple(r for r in plan.residencies if r.tensor != x), tuple(c for c in plan.copies if c.tensor != x), plan.taken
    )
    broken = list(violations(problem, bare))
    name, size = problem.tensor_names[x], int(problem.size[x])
    first = int(problem.access_step[problem.access_tensor == x][0])
    assert (Rule.MISSING_OPERAND, (name,), first, first + 1, None, size) in evidence(broken)
    assert {v.tensors for v in broken} == {(name,)}
    lost = {Keep.SOMEWHERE: {Rule.LOST_OUTPUT}, Keep.HOME: {Rule.LOST_STATE}}.get(Keep(int(problem.keep[x])), set())
    assert {v.rule for v in broken} == {Rule.MISSING_OPERAND} | lost


@given(planned(), st.data())
@attack
def test_a_residency_is_only_dropped_where_nothing_needs_it(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    """Dropping the only residency that covers an access is told; so is dropping the end of a copy."""
    problem, plan = case
    i = data.draw(st.integers(0, len(plan.residencies) - 1))
    r = plan.residencies[i]
    rest = replace(plan, residencies=(*plan.residencies[:i], *plan.residencies[i + 1 :]))
    others = [q for q in rest.residencies if q.tensor == r.tensor]
    steps = problem.access_step[problem.access_tensor == r.tensor].tolist()
    uncovered = [t for t in steps if not any(q.start <= t < q.stop for q in others)]
    a_copy_arrives = any(c.tensor == r.tensor and c.target == r.tier and c.start == r.start for c in plan.copies)
    if uncovered:
        assert rules(problem, rest) & {Rule.MISSING_OPERAND, Rule.LATE_COPY}
    if a_copy_arrives:
        assert Rule.LATE_COPY in rules(problem, rest)


@given(planned(), st.data())
@attack
def test_a_copy_that_begins_a_residency_cannot_be_removed(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    begins = [
        i
        for i, c in enumerate(plan.copies)
        if any((r.tensor, r.tier, r.start) == (c.tensor, c.target, c.start) and r.start > 0 for r in plan.residencies)
        and sum((d.tensor, d.target, d.start) == (c.tensor, c.target, c.start) for d in plan.copies) == 1
        and not _produced_at(problem, c.tensor, c.start)
    ]
    assume(begins)
    i = data.draw(st.sampled_from(begins))
    c = plan.copies[i]
    rest = replace(plan, copies=(*plan.copies[:i], *plan.copies[i + 1 :]))
    stop = next(r.stop for r in plan.residencies if (r.tensor, r.tier, r.start) == (c.tensor, c.target, c.start))
    name, tier, size = problem.tensor_names[c.tensor], problem.tiers.names[c.target], int(problem.size[c.tensor])
    told = evidence(list(violations(problem, rest)))
    assert (Rule.UNJUSTIFIED_RESIDENCY, (name,), c.start, stop, tier, size) in told


def _produced_at(problem: Problem, tensor: int, step: int) -> bool:
    at = (problem.access_tensor == tensor) & (problem.access_step == step)
    return bool((problem.access_mode[at] == Mode.PRODUCE).any())


@given(planned(), st.data())
@attack
def test_a_copy_over_no_link_is_told(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    unlinked = [
        (i, k)
        for i, c in enumerate(plan.copies)
        for k in range(problem.n_tiers)
        if k != c.target and problem.links.between(k, c.target) == NO_LINK
    ]
    assume(unlinked)
    i, source = data.draw(st.sampled_from(unlinked))
    c = plan.copies[i]
    told = evidence(broken_of(problem, moved(plan, i, source=source), Rule.NO_LINK))
    tier, size = problem.tiers.names[c.target], int(problem.size[c.tensor])
    assert told == [(Rule.NO_LINK, (problem.tensor_names[c.tensor],), c.start, c.done, tier, size)]


@given(planned(), st.data())
@attack
def test_a_copy_delayed_beyond_its_room_or_the_turn_is_told(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    assume(plan.copies)
    i = data.draw(st.integers(0, len(plan.copies) - 1))
    c, n = plan.copies[i], problem.n_steps
    name = problem.tensor_names[c.tensor]
    too_long = evidence(list(violations(problem, moved(plan, i, done=c.start + n + 1))))
    assert (
        (Rule.CYCLE if problem.cyclic else Rule.LATE_COPY),
        (name,),
        c.start,
        c.start + n + 1,
        None,
        None,
    ) in too_long
    after = evidence(list(violations(problem, moved(plan, i, start=n, done=n + 1))))
    assert (Rule.LATE_COPY, (name,), n, n + 1, None, None) in after
    room = [r for r in plan.residencies if (r.tensor, r.tier) == (c.tensor, c.target) and r.start <= c.start < r.stop]
    if room[0].stop < n:
        told = evidence(list(violations(problem, moved(plan, i, done=room[0].stop + 1))))
        assert (Rule.LATE_COPY, (name,), c.start, room[0].stop + 1, problem.tiers.names[c.target], None) in told


@given(planned(), st.data())
@attack
def test_a_source_that_ends_early_is_told(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    long = [i for i, c in enumerate(plan.copies) if c.start + 1 < min(c.done, problem.n_steps)]
    assume(long)
    c = plan.copies[data.draw(st.sampled_from(long))]
    index = next(
        i for i, r in enumerate(plan.residencies)
        if (r.tensor, r.tier) == (c.tensor, c.source) and r.start <= c.start < r.stop
    )  # fmt: skip
    short = edited(plan, index, stop=c.start + 1)
    told = broken_of(problem, short, Rule.MISSING_OPERAND)
    assert any((v.start, v.stop) == (c.start, c.done) and v.tensors == (problem.tensor_names[c.tensor],) for v in told)


@given(planned(), st.data())
@attack
def test_a_residency_from_nowhere_is_told(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    x = data.draw(st.integers(0, problem.n_tensors - 1))
    tier, start = data.draw(st.integers(0, problem.n_tiers - 1)), data.draw(st.integers(0, problem.n_steps - 1))
    free = not any((r.tensor, r.tier) == (x, tier) and r.stop > start for r in plan.residencies)
    copied = any((c.tensor, c.target, c.start) == (x, tier, start) for c in plan.copies)
    at_home = start == 0 and problem.home[x] != NO_HOME and (problem.cyclic or problem.home[x] == tier)
    assume(free and not copied and not at_home and not _produced_at(problem, x, start))
    alignment, top = int(problem.tiers.alignment[tier]), 10**8
    new = Residency(x, tier, top // alignment * alignment, start, problem.n_steps)
    told = evidence(list(violations(problem, replace(plan, residencies=(*plan.residencies, new)))))
    name, size = problem.tensor_names[x], int(problem.size[x])
    assert (Rule.UNJUSTIFIED_RESIDENCY, (name,), start, problem.n_steps, problem.tiers.names[tier], size) in told


@given(planned(), st.data())
@attack
def test_what_must_survive_cannot_be_cut_short(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    kept = [x for x in range(problem.n_tensors) if problem.keep[x] != Keep.NOTHING]
    assume(kept)
    x = data.draw(st.sampled_from(kept))
    n = problem.n_steps
    cut = tuple(
        replace(r, stop=n - 1) if r.tensor == x and r.stop == n and r.start < n - 1 else r
        for r in plan.residencies
        if not (r.tensor == x and r.start == n - 1)
    )
    rule = Rule.LOST_STATE if problem.keep[x] == Keep.HOME else Rule.LOST_OUTPUT
    told = evidence(list(violations(problem, replace(plan, residencies=cut))))
    assert (rule, (problem.tensor_names[x],), n, n, None, int(problem.size[x])) in told


@given(planned(), st.data())
@attack
def test_a_turn_that_does_not_close_is_told(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    n = problem.n_steps
    closing = [
        i for i, r in enumerate(plan.residencies)
        if problem.cyclic and problem.home[r.tensor] != NO_HOME and r.start == 0
        and not any((c.tensor, c.target, c.start) == (r.tensor, r.tier, 0) for c in plan.copies)
        and not _produced_at(problem, r.tensor, 0)
    ]  # fmt: skip
    assume(closing)
    r = plan.residencies[data.draw(st.sampled_from(closing))]
    shifted = tuple(
        replace(q, offset=q.offset + 10**8) if (q.tensor, q.tier, q.stop) == (r.tensor, r.tier, n) and q.start > 0
        else replace(q, stop=n - 1) if (q.tensor, q.tier, q.stop) == (r.tensor, r.tier, n) and n > 1
        else q
        for q in plan.residencies
    )  # fmt: skip
    assume(shifted != plan.residencies)
    told = broken_of(problem, replace(plan, residencies=shifted), Rule.CYCLE)
    assert any(v.tensors == (problem.tensor_names[r.tensor],) and v.tier == problem.tiers.names[r.tier] for v in told)


@given(planned(), st.data())
@attack
def test_none_or_two_alternatives_are_told(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    problem, plan = case
    assume(plan.taken)
    i = data.draw(st.integers(0, len(plan.taken) - 1))
    none = replace(plan, taken=(*plan.taken[:i], *plan.taken[i + 1 :]))
    two = replace(plan, taken=(*plan.taken, plan.taken[i]))
    for wrong in (none, two):
        assert Rule.CHOICE in rules(problem, wrong)


@given(planned(), st.data())
@attack
def test_an_operand_only_where_steps_cannot_reach_is_told(case: tuple[Problem, Plan], data: st.DataObject) -> None:
    """The whole of a tensor's life moved to a tier that is not direct."""
    problem, plan = case
    closed = [k for k in range(problem.n_tiers) if not problem.tiers.direct[k]]
    used = sorted(set(problem.access_tensor.tolist()))
    assume(closed and used)
    x, tier = data.draw(st.sampled_from(used)), data.draw(st.sampled_from(closed))
    start = 0 if problem.home[x] != NO_HOME else int(problem.access_step[problem.access_tensor == x][0])
    alignment = int(problem.tiers.alignment[tier])
    there = Residency(x, tier, 10**8 // alignment * alignment, start, problem.n_steps)
    others = tuple(r for r in plan.residencies if r.tensor != x)
    copies = tuple(c for c in plan.copies if c.tensor != x)
    broken = list(violations(problem, Plan((*others, there), copies, plan.taken)))
    reaches_it = problem.cyclic or problem.home[x] in (NO_HOME, tier) or _produced_at(problem, x, start)
    assert {v.rule for v in broken} & ({Rule.NOT_DIRECT} if reaches_it else {Rule.UNJUSTIFIED_RESIDENCY})
    assert {v.tensors for v in broken} == {(problem.tensor_names[x],)}
