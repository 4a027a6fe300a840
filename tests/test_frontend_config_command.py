"""`tierplan models`."""

import json

import pytest

from tierplan.commands.models import models
from tierplan.ir.errors import InvalidInputError
from tierplan.models import load, names


def test_the_table_lists_every_model(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    models()
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert set(names()) <= set(out.split())
    assert {"qwen3_moe,", "deepseek2,", "whisper"} <= set(out.split())
    assert "6,738,415,616" in out
    assert "13.48 GB" in out


def test_json_has_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    models(as_json=True)
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["name"] for row in rows] == list(names())
    gpt2 = next(row for row in rows if row["name"] == "gpt2")
    assert gpt2 == {
        "name": "gpt2",
        "family": "gpt2",
        "parameters": 124_439_808,
        "weight_bytes_bf16": 248_879_616,
        "layers": 12,
    }


def test_show_prints_the_configuration_itself(capsys: pytest.CaptureFixture[str]) -> None:
    models(show="phi-2")
    assert capsys.readouterr().out == load("phi-2")
    models(show="phi-2", as_json=True)
    assert json.loads(capsys.readouterr().out)["config"] == json.loads(load("phi-2"))


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown model 'llama2-7'; did you mean 'llama2-7b'\?"):
        models(show="llama2-7")
