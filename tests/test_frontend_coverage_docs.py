"""The tables of operator coverage in the docs are those that the script writes."""

import importlib.util
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "docs" / "operator_coverage.py"


def test_the_tables_are_current():
    spec = importlib.util.spec_from_file_location("operator_coverage", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.FILE.read_text(encoding="utf-8")
    assert text == module.current(text), "run: python docs/operator_coverage.py"
    assert "dot_general" in module.tables()
