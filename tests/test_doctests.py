"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import tierplan

MODULES = [
    module.name for module in pkgutil.walk_packages(tierplan.__path__, "tierplan.") if "._kernels" not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
