"""docs/emit.md, docs/sensitivity.md and docs/jax_offload.md show what is printed."""

import pytest
from console_blocks import commands_and_shown
from doc_blocks import printed_and_shown
from test_cli_commands import Run, run

__all__ = ["run"]

BLOCKS = [block for page in ("docs/emit.md", "docs/sensitivity.md") for block in commands_and_shown(page)]


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 2


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=["emit", "sensitivity"])
def test_commands_print_what_is_shown(run: Run, command: str, shown: str) -> None:
    ran = run(*command.split())
    assert ran.code == 0
    assert [line.rstrip() for line in ran.out.splitlines()] == [line.rstrip() for line in shown.splitlines()]


def test_python_prints_what_is_shown() -> None:
    (block,) = printed_and_shown("docs/jax_offload.md")
    assert block[0] == block[1]
