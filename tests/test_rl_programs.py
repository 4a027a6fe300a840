"""Programs of the game by name: splits, the suite that comes along, and the generator."""

import numpy as np
import pytest

from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError
from tierplan.rl.generate import FAMILIES, LEVELS, generate
from tierplan.rl.program import program_of
from tierplan.rl.programs import program_names, read_program, split_of, suite_names


def test_no_program_is_in_both_splits() -> None:
    train, test = set(program_names("train")), set(program_names("test"))
    assert not train & test
    assert {name.rsplit("/", 1)[-1] for name in train | test if name.startswith("suite")} == set(suite_names())
    assert all(split_of(name) == "train" for name in train)
    assert all(split_of(name) == "test" for name in test)


@pytest.mark.parametrize("name", suite_names())
def test_every_program_of_the_suite_can_be_played(name: str) -> None:
    assert program_of(read_program(f"suite://{name}")).n_visits > 10


@pytest.mark.parametrize("level", range(LEVELS))
@pytest.mark.parametrize("family", FAMILIES)
def test_generated_programs_can_be_played_and_are_the_same_again(family: str, level: int) -> None:
    machine = load_machine("tpu-v4i")
    for seed in range(3):
        one, again = (generate(family, seed, machine, level) for _ in range(2))
        assert one.name == again.name
        assert np.array_equal(one.size, again.size)
        assert np.array_equal(one.compute_s, again.compute_s)
        assert program_of(one).n_visits > 4
    assert not np.array_equal(generate(family, 0, machine, level).size, generate(family, 1, machine, level).size)


def test_levels_grow() -> None:
    machine = load_machine("tpu-v4i")
    for family in FAMILIES:
        steps = [np.mean([generate(family, s, machine, level).n_steps for s in range(5)]) for level in range(LEVELS)]
        assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("suite://bert-8x51", "did you mean 'bert-8x512'"),
        ("suite://test/bert-8x512", "write suite://train/bert-8x512"),
        ("suite://dev/bert-8x512", "a split before the name: train, test"),
        ("generator://transformer-v1/2", "did you mean 'transformer-v0'"),
        ("generator://transformer-v0/x", "its seed 'x' is no number"),
        ("generator://transformer-v0/2?level=9", "need 0 to 3"),
        ("bert-8x512", "write suite://NAME"),
    ],
)
def test_a_wrong_name_is_refused(uri: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says.replace("?", r"\?")):
        read_program(uri)


def test_the_suite_is_for_one_machine() -> None:
    with pytest.raises(InvalidInputError, match="lowered for tpu-v4i, not for laptop"):
        read_program("suite://bert-8x512", "laptop")
    with pytest.raises(InvalidInputError, match="did you mean 'train'"):
        program_names("trian")
