"""Console blocks of pages: a command, and what the command line prints for it."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"```console\n\$ tierplan ([^\n]*)\n(.*?)```", flags=re.DOTALL)


def commands_and_shown(page: str) -> list[tuple[str, str]]:
    """Each command of a page, and what is shown below it."""
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def timeless(text: str) -> list[str]:
    """Lines without those that say how long planning took, and without blanks at their ends."""
    return [line.rstrip() for line in text.splitlines() if not line.startswith("planning")]
