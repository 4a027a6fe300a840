"""Write a table that a benchmark measured into a page of the documentation, between its marks."""

from collections.abc import Sequence
from pathlib import Path

_DOCS = Path(__file__).parent.parent / "docs"


def write_table(page: str, mark: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Replace what stands between `<!-- MARK -->` and `<!-- end MARK -->`; numbers are set to the right."""
    path = _DOCS / page
    before, _, rest = path.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, _, after = rest.partition(f"<!-- end {mark} -->")
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    path.write_text(f"{before}<!-- {mark} -->\n{table}<!-- end {mark} -->{after}", encoding="utf-8")
