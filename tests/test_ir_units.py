"""Quantities as people write them."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierplan.ir import units
from tierplan.ir.errors import InvalidInputError


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (units.read_bytes, "520 MiB", 520 * 2**20),
        (units.read_bytes, "16 GB", 16 * 10**9),
        (units.read_bytes, "1B", 1),
        (units.read_bytes, "1_000 kB", 10**6),
        (units.read_bytes, " 2TiB ", 2 * 2**40),
        (units.read_bandwidth, "1.8 TB/s", 1.8e12),
        (units.read_bandwidth, "16.312 TB/s", 16_312_000_000_000.0),
        (units.read_bandwidth, "100 Gbit/s", 12.5e9),
        (units.read_bandwidth, "1 GiB/s", 2**30),
        (units.read_seconds, "2 us", 2e-6),
        (units.read_seconds, "2 µs", 2e-6),
        (units.read_seconds, "1.5e-3 s", 1.5e-3),
        (units.read_rate, "138 Tflop/s", 138e12),
        (units.read_rate, "138 TFLOPS", 138e12),
        (units.read_energy_per_byte, "7 pJ/bit", 56e-12),
        (units.read_energy_per_byte, "7 pJ/B", 7e-12),
        (units.read_energy_per_op, "0.5 pJ/op", 0.5e-12),
    ],
)
def test_a_quantity_is_read(reader: Callable[[str], float], text: str, value: float) -> None:
    assert reader(text) == pytest.approx(value, rel=1e-15)


READERS = (
    units.read_bytes, units.read_bandwidth, units.read_seconds,
    units.read_rate, units.read_energy_per_byte, units.read_energy_per_op,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a size; write a number and a unit, like '16 GiB'"),
        ("GB", "'GB' is not a size; write a number and a unit, like '16 GiB'"),
        ("16", "'16' has no unit; write a size like '16 GiB'"),
        ("16 GBB", "unknown unit 'GBB' in '16 GBB'; did you mean 'GB'?"),
        ("16 gb", "unknown unit 'gb' in '16 gb'; did you mean 'GB'?"),
        ("16 parsecs", "unknown unit 'parsecs' in '16 parsecs'; write a size like '16 GiB'"),
        ("0 GB", "'0 GB' must be a positive, finite size"),
        ("-3 GB", "'-3 GB' must be a positive, finite size"),
        ("nan GB", "'nan GB' must be a positive, finite size"),
        ("inf GB", "'inf GB' must be a positive, finite size"),
        ("1e400 GB", "'1e400 GB' must be a positive, finite size"),
        ("1e30 GB", "'1e30 GB' is absurdly large for a size; check the unit"),
        ("0.1 B", "'0.1 B' is absurdly small for a size; check the unit"),
        ("1.5 B", "'1.5 B' is not a whole number of bytes"),
    ],
)
def test_a_bad_size_is_told(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        units.read_bytes(text)
    assert str(error.value) == message


@pytest.mark.parametrize("reader", READERS)
@given(st.text(max_size=30) | st.from_regex(r"[-+]?[0-9]*\.?[0-9eE_-]{0,8} ?[a-zA-Zµ/]{0,8}", fullmatch=True))
def test_any_text_is_read_as_a_positive_number_or_refused_in_one_line(
    reader: Callable[[str], float], text: str
) -> None:
    message, value = "", 1.0
    try:
        value = reader(text)
    except InvalidInputError as error:
        message = str(error)
    assert value > 0
    assert "\n" not in message


@given(st.integers(1, 10**9), st.sampled_from(sorted(units.SIZE.units)))
def test_the_schema_pattern_admits_what_is_read(number: int, unit: str) -> None:
    assert re.search(units.SIZE.pattern, f"{number} {unit}")


@given(st.integers(1, 10**17))
def test_a_size_that_is_shown_reads_back_to_four_digits(size: int) -> None:
    assert units.read(units.show_bytes(size), units.SIZE) == pytest.approx(size, rel=1e-3)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (units.show_bytes(999_950), "1000 kB"),
        (units.show_bytes(1), "1 B"),
        (units.show_bandwidth(15.75e9), "15.75 GB/s"),
        (units.show_rate(2.5e3), "2.5 kop/s"),
        (units.show_seconds(0.0), "0 s"),
        (units.show_seconds(90.0), "90 s"),
        (units.show_seconds(1e-10), "0.1 ns"),
        (units.show_joules(2500.0), "2.5 kJ"),
    ],
)
def test_what_is_shown(shown: str, text: str) -> None:
    assert shown == text
