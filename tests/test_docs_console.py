"""docs/experts.md, docs/parallelism.md and docs/serving.md show what the command line prints."""

import pytest
from console_blocks import commands_and_shown, timeless
from test_cli_commands import Run, run

__all__ = ["run"]

PAGES = ("docs/experts.md", "docs/parallelism.md", "docs/serving.md")
BLOCKS = [(page, *block) for page in PAGES for block in commands_and_shown(page)]


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 6


@pytest.mark.parametrize(("page", "command", "shown"), BLOCKS, ids=[command[:20] for _, command, _ in BLOCKS])
def test_commands_print_what_is_shown(run: Run, page: str, command: str, shown: str) -> None:
    ran = run(*command.split())
    assert (ran.code, ran.err) == (0, "")
    assert timeless(ran.out) == timeless(shown)
