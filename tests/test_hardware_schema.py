"""The JSON Schema that editors use accepts the built-in files, and marks what the reader refuses."""

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.hardware.load import builtin_names, read_source
from tierplan.hardware.schema import json_schema
from tierplan.ir import units
from tierplan.ir.errors import InvalidInputError

SCHEMA: dict[str, Any] = json.loads(json_schema())
QUANTITIES = [
    units.SIZE, units.BANDWIDTH, units.DURATION, units.RATE, units.ENERGY_PER_BYTE, units.ENERGY_PER_OP,
    units.PRICE,
]  # fmt: skip


def faults(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """What JSON Schema finds wrong; only the words that our schema uses, each read literally."""
    known = {
        "$ref", "$defs", "$schema", "anyOf", "type", "properties", "additionalProperties", "required", "propertyNames",
        "minProperties", "items", "minItems", "maxItems", "pattern", "minLength", "maxLength", "enum", "const",
        "minimum", "maximum", "exclusiveMinimum",
        "title", "description", "default", "examples",
    }  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        return faults(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], path)
    if "anyOf" in schema:
        each = [faults(value, inner, path) for inner in schema["anyOf"]]
        return [] if [] in each else each[0]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    kinds |= {"number": (int, float)}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return [f"{path}: not a {schema['type']}"]
    found: list[str] = []
    if "const" in schema and value != schema["const"]:
        found.append(f"{path}: not {schema['const']}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{path}: {value} does not match")
    if "exclusiveMinimum" in schema and not value > schema["exclusiveMinimum"]:
        found.append(f"{path}: {value} out of range")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{path}: {value} out of range")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{path}: length")
        for index, item in enumerate(value):
            found += faults(item, schema["items"], f"{path}[{index}]")
    if isinstance(value, dict):
        found += [f"{path}: lacks {key}" for key in schema.get("required", ()) if key not in value]
        for key, item in value.items():
            if "propertyNames" in schema and key not in schema["propertyNames"]["enum"]:
                found.append(f"{path}.{key}: unknown")
            if key in schema.get("properties", ()):
                found += faults(item, schema["properties"][key], f"{path}.{key}")
            elif schema["additionalProperties"] is False:
                found.append(f"{path}.{key}: unknown")
            else:
                found += faults(item, schema["additionalProperties"], f"{path}.{key}")
    return found


@pytest.mark.parametrize("name", builtin_names())
def test_the_built_in_files_are_valid(name: str) -> None:
    assert faults(yaml.safe_load(read_source(name)[1]), SCHEMA) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("home: vram", "hoem: vram", ".hoem: unknown"),
        ("capacity: 8 GB", "capacity: 8", ".tiers[0].capacity: not a string"),
        ("capacity: 8 GB", "capacity: 8 GBit", ".tiers[0].capacity: 8 GBit does not match"),
        ("bandwidth: 256 GB/s", "bandwidth: -256 GB/s", ".tiers[0].bandwidth: -256 GB/s does not match"),
        ("queue_depth: 32", "queue_depth: 0", ".tiers[2].queue_depth: 0 out of range"),
        ("bfloat16: 23.2", "bfloat61: 23.2", ".compute.matrix.bfloat61: unknown"),
        ("schema: 1", "schema: 2", ".schema: not 1"),
    ],
)
def test_mistakes_are_marked(old: str, new: str, fault: str) -> None:
    source = read_source("laptop")[1]
    assert old in source
    assert fault in faults(yaml.safe_load(source.replace(old, new)), SCHEMA)


@given(
    st.sampled_from(QUANTITIES),
    st.sampled_from(["1", "2.5", "-3", "+1", "1_000", "1e3", "2.5e-3", ".5", "5.", "nan", "", "0x10", "1,5", "1 2"]),
    st.sampled_from(["", " ", "  "]),
    st.sampled_from(
        [*units.SIZE.units, *units.RATE.units, *units.DURATION.units, *units.BANDWIDTH.units, "pJ/bit", "x", ""]
    ),
)
@settings(max_examples=500, deadline=None)
def test_the_pattern_of_a_quantity_and_its_reader_agree(
    quantity: units.Quantity, number: str, space: str, unit: str
) -> None:
    text = number + space + unit
    matches = re.search(quantity.pattern, text) is not None
    try:
        units.read(text, quantity)
        read = True
    except InvalidInputError as error:
        read = "absurdly" in str(error)
    assert matches == (read and not text.startswith("+"))


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_unit_says_itself(quantity: units.Quantity) -> None:
    for unit, scale in quantity.units.items():
        text = f"2 {unit}"
        if quantity.smallest <= 2 * scale <= quantity.largest:
            assert units.read(text, quantity) == pytest.approx(2 * scale)
        assert re.search(quantity.pattern, text)


@given(st.integers(1, 10**7), st.sampled_from(["kB", "MB", "GB"]))
def test_decimal_sizes_are_exact(hundredths: int, unit: str) -> None:
    text = f"{hundredths // 100}.{hundredths % 100:02d} {unit}"
    assert units.read_bytes(text) == hundredths * {"kB": 10, "MB": 10**4, "GB": 10**7}[unit]


def test_a_fraction_of_a_byte_is_refused() -> None:
    for text in ("1.5 B", "1.0001 kB"):
        with pytest.raises(InvalidInputError, match="not a whole number of bytes"):
            units.read_bytes(text)
    assert units.read_bytes("15.9 GiB") == round(15.9 * 2**30)


def test_network_units() -> None:
    assert units.read_bandwidth("100 Gbit/s") == 12.5e9
    assert units.read_rate("138 TFLOPS") == units.read_rate("138 Tflop/s") == 138e12
    assert units.read_seconds("2 µs") == units.read_seconds("2 us") == 2e-6
