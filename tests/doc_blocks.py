"""Pages whose Python blocks run, each followed by what it prints."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", flags=re.DOTALL)


def printed_and_shown(page: str) -> list[tuple[str, str]]:
    """What each block of a page prints when it runs after those before it, and what the page shows below it."""
    names: dict[str, Any] = {"__name__": "page"}
    found: list[tuple[str, str]] = []
    for code, shown in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, page, "exec"), names)
        found.append((printed.getvalue(), shown))
    return found
