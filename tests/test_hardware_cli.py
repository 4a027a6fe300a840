"""`tierplan hardware` on the command line."""

import json

import pytest

from tierplan.commands.hardware import hardware
from tierplan.hardware.load import builtin_names, load_machine, read_source
from tierplan.ir.errors import InvalidInputError


def test_the_table_lists_every_machine_and_tier(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hardware()
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "\u2026" not in out, "something was cut off"
    words = out.split()
    for name in builtin_names():
        assert name in words
        assert {tier.name for tier in load_machine(name).tiers} <= set(words)
    assert "3.35 TB/s" in out
    assert "138 Top/s" in out
    assert "link 15.75 GB/s" in out
    assert "copy 7.88 GB/s" in out


@pytest.mark.parametrize("name", builtin_names())
def test_show_prints_the_file_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    hardware(show=name)
    assert capsys.readouterr().out == read_source(name)[1]


def test_json_gives_base_units(capsys: pytest.CaptureFixture[str]) -> None:
    hardware(as_json=True)
    listed = json.loads(capsys.readouterr().out)["hardware"]
    assert [each["name"] for each in listed] == list(builtin_names())
    hardware(show="tpu-v4i", as_json=True)
    tpu = json.loads(capsys.readouterr().out)
    assert tpu in listed
    assert tpu["home"] == "hbm"
    assert tpu["compute"]["matrix"] == {"peak_per_s": {"bfloat16": 138e12}, "energy_j": 4.2e-14}
    assert tpu["tiers"][0]["capacity_bytes"] == 2**27
    assert tpu["tiers"][0]["read_bytes_per_s"] == 2048e9
    assert [(link["from"], link["to"], link["bytes_per_s"]) for link in tpu["links"]] == [
        ("hbm", "cmem", 614e9),
        ("cmem", "hbm", 614e9),
    ]


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    hardware(schema=True)
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["required"]) == {"schema", "name", "home", "compute", "tiers"}


def test_mistakes_are_input_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'laptop'"):
        hardware(show="labtop")
    with pytest.raises(InvalidInputError, match="--schema stands alone"):
        hardware(schema=True, as_json=True)
    assert capsys.readouterr().out == ""
