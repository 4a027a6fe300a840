"""Mutated model files are read, or refused in one line; a hundred thousand of each in the slow test."""

import random

import pytest
from model_fuzz import FORMATS, fuzz, mutated_bytes, mutated_json


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_mutants_are_read_or_refused(kind: str) -> None:
    ends = fuzz(kind, 400, seed=7)
    assert ends["read"] > 5
    assert ends["refused"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_hundred_thousand_mutants_are_read_or_refused(kind: str) -> None:
    assert sum(fuzz(kind, 100_000, seed=1).values()) == 100_000


def test_a_mutant_is_drawn_anew_from_its_seed() -> None:
    value = {"a": [1, 2, {"b": 3}], "c": "x"}
    for seed in range(50):
        draws = [random.Random(seed) for _ in range(2)]
        assert mutated_bytes(b"abcdefgh" * 20, draws[0]) == mutated_bytes(b"abcdefgh" * 20, draws[1])
        assert mutated_json(value, draws[0]) == mutated_json(value, draws[1])
