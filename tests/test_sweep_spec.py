"""What a spec says, which points it has, and how its mistakes are told."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_specs import SPEC, spec

from tierplan.hardware.load import read_source
from tierplan.hardware.tree import read_tree
from tierplan.hardware.vary import vary
from tierplan.ir import units
from tierplan.ir.errors import InvalidInputError
from tierplan.sweep.axes import Range, Values, base_number, read_range
from tierplan.sweep.points import corners, n_points, points
from tierplan.sweep.spec import HardwarePart, LimitsPart, PointsPart, SpecFile, parse_spec


def test_a_product_has_every_combination_once_in_order() -> None:
    found = parse_spec(spec(seeds=[0, 1]), "s.yaml")
    values = [tuple(point.values.values())[2:4] + tuple(point.values.values())[4::2] for point in points(found)]
    wanted = itertools.product(["200 B", "500 B", "1 kB"], ["1 GB/s", "2 GB/s"], ["greedy", "msa"], [0, 1])
    assert values == list(wanted)
    assert n_points(found) == len(values) == 24
    assert [point.index for point in points(found)] == list(range(24))


def test_each_machine_has_the_axes_of_its_own() -> None:
    machines = ["laptop", {"base": "bench.yaml", "set": {"launch": ["1 us", "2 us"]}}]
    found = list(points(parse_spec(spec(hardware=machines, planners="greedy"), "s.yaml")))
    assert [(p.values["hardware"], p.values.get("launch")) for p in found] == [
        ("laptop", None),
        ("bench.yaml", "1 us"),
        ("bench.yaml", "2 us"),
    ]


def test_ranges_are_stepped_evenly_or_by_a_factor() -> None:
    assert read_range("32 GiB", "64 GiB", 3, False).stepped().values == ("32 GiB", "48 GiB", "64 GiB")
    assert read_range("10 GB/s", "1 TB/s", 3, True).stepped().values == ("10 GB/s", "100 GB/s", "1000 GB/s")
    assert read_range(1, 64, 7, True).stepped().values == (1, 2, 4, 8, 16, 32, 64)
    assert read_range(1, 3, 9, False).stepped().values == (1, 2, 3)


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1.001, 1e6), st.booleans(), st.floats(0, 1))
def test_a_value_of_a_range_lies_in_it(low: float, factor: float, log: bool, share: float) -> None:
    found = Range(low, low * factor, "B", None, log)
    number = base_number(found.value(share))
    assert number is None or low * (1 - 1e-9) <= number <= low * factor * (1 + 1e-9)


def test_a_sample_draws_the_same_points_again_and_keeps_to_its_axes() -> None:
    capacity = {"from": "100 B", "to": "100 kB", "log": True}
    hardware = [{"base": "bench.yaml", "set": {"tiers.near.capacity": capacity}}]
    text = spec(hardware=hardware, points={"sample": 200, "seed": 3})
    found = list(points(parse_spec(text, "s.yaml")))
    assert found == list(points(parse_spec(text, "s.yaml")))
    assert found != list(points(parse_spec(text.replace("seed: 3", "seed: 4"), "s.yaml")))
    sizes = [units.read_bytes(f"{float(str(p.values['tiers.near.capacity']).split()[0]):.0f} B") for p in found]
    assert all(100 <= size <= 100_000 for size in sizes)
    assert 0.35 < sum(size < 3162 for size in sizes) / 200 < 0.65  # half of them below the geometric mean
    assert {p.values["planner"] for p in found} == {"greedy", "msa"}


def test_corners_take_every_value() -> None:
    (branch,) = parse_spec(spec(), "s.yaml").branches
    seen = [tuple(values.items()) for values in corners(branch)]
    assert len(seen) == 1 + 2 + 1 + 1
    for name, axis in branch.axes.items():
        assert isinstance(axis, Values)
        assert {dict(values)[name] for values in seen} == set(axis.values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "x"}, "model: unknown key 'model'; did you mean 'models'?"),
        ({"planer": "x"}, "unknown key 'planer'; did you mean 'planners'?"),
        ({"models": None}, "missing key 'models'"),
        ({"models": []}, "models: an empty list"),
        ({"hardware": []}, "hardware: an empty list"),
        ({"planners": [["a"]]}, "planners[0]: need a plain value"),
        ({"planners": ["greedy", "greedy"]}, "planners: 'greedy' stands there twice"),
        ({"batches": ["8"]}, "batches[0]: '8': need a whole number"),
        ({"batches": [0]}, "batches[0]: '0': need a whole number"),
        ({"batches": {"from": 8, "to": 8, "steps": 2}}, "batches: an empty range from '8' to '8'"),
        ({"seeds": {"from": 0, "to": 8, "steps": 2, "log": True}}, "no logarithm"),
        ({"contexts": {"from": 1, "to": 8, "step": 2}}, "contexts.step: unknown key 'step'; did you mean 'steps'?"),
        ({"contexts": {"from": 1, "to": 8}}, "contexts: a range needs 'steps: N'"),
        ({"contexts": {"from": 1, "steps": 3}}, "contexts: a range needs 'to'"),
        ({"contexts": {"from": 1, "to": 8, "steps": 1}}, "need at least 2"),
        ({"planners": {"from": 1, "to": 2, "steps": 2}}, "planners[0]: '1': need text"),
        ({"sweep": 2}, "write 'sweep: 1'"),
        ({"points": {"sample": 3, "search": 3}}, "either 'sample' or 'search'"),
        ({"points": {"search": 3, "objectives": ["tme"]}}, "unknown objective 'tme'; did you mean 'time'?"),
        ({"points": "all"}, "need a mapping, like {sample: 100}, or 'product'"),
        ({"limits": {"tme": "1 s"}}, "unknown key 'tme'; did you mean 'time'?"),
        ({"hardware": [{"base": "laptop", "sets": {}}]}, "hardware[0].sets: unknown key 'sets'; did you mean 'set'?"),
        ({"hardware": [{"base": "a", "set": {"x.y": {"from": "1 GB", "to": "2 us", "steps": 2}}}]}, "not of one kind"),
        ({"hardware": [{"base": "a", "set": {"x.y": {"from": "2 GiB", "to": "1 GiB", "steps": 2}}}]}, "an empty range"),
        ({"hardware": [{"base": "a", "set": {"x.y": 1, "x.z, x.y": 2}}]}, "'x.y' is set twice"),
        ({"hardware": [{"base": "a", "set": {"seed": 1}}]}, "'seed' is no key of a hardware file"),
    ],
)
def test_mistakes_are_told_with_their_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as told:
        parse_spec(spec(**changes), "s.yaml")
    assert message in str(told.value)
    assert str(told.value).startswith("s.yaml:")
    assert "\n" not in str(told.value)


def test_an_empty_spec_points_to_its_page() -> None:
    with pytest.raises(InvalidInputError, match=r"docs/sweeps\.md"):
        parse_spec("# nothing\n", "s.yaml")
    assert (Path(__file__).parent.parent / "docs" / "sweeps.md").is_file()


def test_the_page_shows_the_example_and_explains_every_key() -> None:
    root = Path(__file__).parent.parent
    page = (root / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    example = (root / "examples" / "moe_sweep.yaml").read_text(encoding="utf-8")
    assert shown == "".join(example.splitlines(keepends=True)[1:])
    assert n_points(parse_spec(example, "moe_sweep.yaml")) == 30
    named = set(re.findall(r"`([a-z]+)`", page)) | set(re.findall(r"([a-z]+):", page))
    for part in (SpecFile, PointsPart, HardwarePart, LimitsPart):
        assert set(part.model_fields) <= named, part


def test_the_small_spec_is_what_it_seems() -> None:
    assert yaml.safe_load(spec()) == SPEC


def machine(**settings: str) -> Any:
    file, text = read_source("laptop")
    return vary(read_tree(text, file), {key.replace("__", "."): value for key, value in settings.items()}).machine


def test_any_key_of_a_machine_can_be_set() -> None:
    file, text = read_source("laptop")
    settings = {
        "tiers.vram.capacity": "12 GB",
        "links.vram->ddr.bandwidth": "1 GB/s",
        "compute.matrix.bfloat16": "1 Tflop/s",
        "launch": "2 us",
        "tiers.ddr.price": "3 USD/GB",
    }
    found = vary(read_tree(text, file), settings).machine
    assert found.tiers[0].capacity == 12 * 10**9
    assert {link.name: link.bandwidth for link in found.links}["ddr->vram"] == 1e9  # a duplex link is one entry
    assert found.matrix.rate("bfloat16") == 1e12
    assert found.launch_s == 2e-6
    assert found.price == pytest.approx(3 * 16)
    assert machine().price is None
    assert machine() == machine(tiers__vram__capacity="8 GB") != found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tiers.vrm.capacity", "1 GB", "unknown entry in 'tiers' 'vrm'; did you mean 'vram'?"),
        ("tiers.vram.capcity", "1 GB", "unknown key 'capcity'; did you mean 'capacity'?"),
        ("tier.vram.capacity", "1 GB", "unknown entry 'tier'; did you mean 'tiers'?"),
        ("tiers.vram.capacity", "1 GBs", "unknown unit 'GBs'"),
        ("tiers.vram", "1 GB", "'tiers.vram' is no value"),
        ("links.vram->flash.bandwidth", "1 GB/s", "unknown entry in 'links' 'vram->flash'"),
        ("tiers.vram.price", "1 EUR/GB", "unknown unit 'EUR/GB'"),
    ],
)
def test_what_cannot_be_set_is_told(key: str, value: str, message: str) -> None:
    file, text = read_source("laptop")
    with pytest.raises(InvalidInputError) as told:
        vary(read_tree(text, file), {key: value})
    assert message in str(told.value)
