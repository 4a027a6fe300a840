"""Write the `calibration` section of a hardware file, and put it in the place of the one that is there."""

import re
from collections.abc import Mapping
from textwrap import wrap

from tierplan.hardware.calibration_schema import key_of
from tierplan.ir.calibration import KINDS, Calibration, Constants, names_of

_PER_LINE = 5
_WIDTH = 110
_HEAD = re.compile(r"calibration:\n(?:[ \t]+#.*\n)+")
_SECTION = re.compile(r"^calibration:.*\n(?:(?:[ \t#].*)?\n)*", re.MULTILINE)


def with_calibration(text: str, calibration: Calibration, remarks: Mapping[tuple[str, str], str]) -> str:
    """The text of a hardware file with this calibration; comments elsewhere stay.

    `remarks` are comments for the constants of a kind and element type.
    """
    text = text if text.endswith("\n") else text + "\n"
    section = _SECTION.search(text)
    head = _HEAD.match(section.group()) if section else None
    written = calibration_text(calibration, remarks)
    if head:
        written = written.replace("calibration:\n", head.group(), 1)
    return _SECTION.sub("", text).rstrip("\n") + "\n\n" + written


def calibration_text(calibration: Calibration, remarks: Mapping[tuple[str, str], str]) -> str:
    """The section as YAML."""
    lines = ["calibration:", f"  units: {calibration.units}", f"  cache: {_bytes(calibration.cache)}"]
    if calibration.peer_bandwidth:
        lines.append(f"  peer: {calibration.peer_bandwidth / 1e9:g} GB/s")
    if calibration.source:
        lines += ["  source: >-", *(f"    {line}" for line in wrap(calibration.source, _WIDTH, break_long_words=False))]
    for kind in KINDS:
        by_type = calibration.of(kind)
        if by_type:
            lines.append(f"  {kind}:")
        for dtype, constants in by_type.items():
            remark = remarks.get((kind, dtype), "")
            lines.append(f"    {dtype}:{f' # {remark}' if remark else ''}")
            lines += _flow(constants)
    return "\n".join(lines) + "\n"


def _flow(constants: Constants) -> list[str]:
    """The constants as one mapping, a few to a line."""
    pairs = [f"{key_of(name)}: {_show(name, getattr(constants, name))}" for name in names_of(type(constants))]
    rows = [", ".join(pairs[at : at + _PER_LINE]) for at in range(0, len(pairs), _PER_LINE)]
    opened = ["{ " + rows[0], *("  " + row for row in rows[1:])]
    return [f"      {row}{',' if at < len(rows) - 1 else ' }'}" for at, row in enumerate(opened)]


def _show(name: str, value: float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if name.endswith("_s"):
        return f"{value * 1e6:.4g} us" if value >= 1e-7 else f"{value * 1e9:.4g} ns"
    text = f"{value:.4g}"
    return text if "e" not in text or "." in text else text.replace("e", ".0e")  # YAML 1.1 reads 1e9 as text


def _bytes(n: int) -> str:
    return f"{n / 1e6:g} MB" if n % 100_000 == 0 else f"{n} B"


def remarks_of(text: str) -> dict[tuple[str, str], str]:
    """The comments that a file has for the constants of a kind and element type."""
    section = _SECTION.search(text)
    found: dict[tuple[str, str], str] = {}
    kind = ""
    for line in section.group().splitlines() if section else ():
        if match := re.fullmatch(r"  ([a-z]+):", line):
            kind = match.group(1)
        elif match := re.fullmatch(r"    ([a-z0-9_]+): # (.+)", line):
            found[kind, match.group(1)] = match.group(2)
    return found
