"""Spoilt files of every format are read or refused in one line; a hundred thousand of each in the slow test."""

import random

import pytest
from fuzz import fuzz
from fuzz_formats import FORMATS
from mutations import mutated, mutated_json


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_spoilt_files_are_read_or_refused(kind: str) -> None:
    fates = fuzz(kind, 400, seed=7)
    assert fates.wrong == {}
    assert fates.ends["read"] > 5
    assert fates.ends["refused"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_hundred_thousand_spoilt_files_are_read_or_refused(kind: str) -> None:
    assert fuzz(kind, 100_000, seed=1).wrong == {}


def test_a_mutant_is_drawn_anew_from_its_seed() -> None:
    value = {"a": [1, 2, {"b": 3}], "c": "x"}
    for seed in range(50):
        draws = [random.Random(seed) for _ in range(2)]
        assert mutated(b"abcdefgh" * 20, draws[0]) == mutated(b"abcdefgh" * 20, draws[1])
        assert mutated_json(value, draws[0]) == mutated_json(value, draws[1])
