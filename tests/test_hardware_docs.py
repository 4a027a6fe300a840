"""What docs/hardware.md shows works, and it names every key."""

import re
from pathlib import Path

import yaml
from pydantic import BaseModel

from tierplan.hardware.build import read_hardware
from tierplan.hardware.execution_schema import ExecutionEntry
from tierplan.hardware.schema import HardwareFile, LinkEntry, NetworkEntry, TierEntry
from tierplan.hardware.spatial_schema import ArrayEntry, BufferEntry, SpatialEntry

TEXT = (Path(__file__).parent.parent / "docs" / "hardware.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_example_file_loads() -> None:
    (example,) = [block for block in blocks("yaml") if yaml.safe_load(block)]
    machine = read_hardware(example, "example").machine
    assert machine.name == "my-pc"
    assert [tier.name for tier in machine.tiers] == ["card", "host"]


def test_the_python_block_runs() -> None:
    (example,) = blocks("python")
    exec(example, {})


def test_every_key_is_explained() -> None:
    explained = set(re.findall(r"^\|(?: `[a-z_]+`,?)+ \|", TEXT, re.MULTILINE))
    named = set(re.findall(r"`([a-z_]+)`", " ".join(explained)))
    models: list[type[BaseModel]] = [
        HardwareFile,
        TierEntry,
        LinkEntry,
        NetworkEntry,
        ExecutionEntry,
        SpatialEntry,
        ArrayEntry,
        BufferEntry,
    ]
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert keys == named
