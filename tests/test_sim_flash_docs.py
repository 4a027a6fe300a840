"""docs/flash.md and docs/experts.md print what they show, for the models that they name."""

import re
from pathlib import Path

import pytest
from doc_blocks import ROOT, printed_and_shown
from flash_models import model_bytes
from typer.testing import CliRunner

from tierplan.cli import app

_PAGE = (ROOT / "docs/flash.md").read_text(encoding="utf-8")
_CONSOLE = [
    command
    for block in re.findall(r"```console\n\$ (.*?)```", _PAGE, flags=re.DOTALL)
    for command in block.split("\n$ ")
]


@pytest.mark.parametrize("page", ["docs/flash.md", "docs/experts.md"])
def test_pages_print_what_they_show(page: str) -> None:
    blocks = printed_and_shown(page)
    assert len(blocks) == (ROOT / page).read_text(encoding="utf-8").count("```python\n")
    for printed, shown in blocks:
        assert printed == shown


@pytest.mark.parametrize("name", ["opt-6.7b", "falcon-7b"])
def test_sizes_on_the_page_are_those_of_the_models(name: str) -> None:
    page = (ROOT / "docs/flash.md").read_text(encoding="utf-8")
    model = model_bytes(name)
    for part in (model.attention, model.embedding, model.other):
        assert f"{part:_}" in page
    assert f"{model_bytes('llama2-7b').total:_}" in (ROOT / "docs/experts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(shown, marks=[pytest.mark.slow] if "llama2-70b" in shown else [], id=str(i))
        for i, shown in enumerate(_CONSOLE)
    ],
)
def test_commands_of_the_page_print_what_is_shown(shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of a console block is printed, in this order; the page may leave lines out."""
    yaml = re.search(r"```yaml\n(.*?)```", _PAGE, flags=re.DOTALL)
    assert yaml is not None
    (tmp_path / "relu.yaml").write_text(yaml.group(1))
    monkeypatch.chdir(tmp_path)
    command, *lines = shown.strip().splitlines()
    printed = iter(line.rstrip() for line in CliRunner().invoke(app, command.split()[1:]).output.splitlines())
    assert lines
    assert [line for line in lines if line not in printed] == []
