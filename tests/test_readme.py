"""README is true: its Python blocks run, its commands exist, and the demo prints what it shows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
DEMO = re.search(r"```text\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def _without_planning_time(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if not line.startswith("planning")]


def test_demo_prints_what_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tierplan.cli import main

    recipe = re.search(r"^\t\$\(BIN\)/(tierplan plan .*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe is not None
    command = recipe.group(1)
    assert f"`{command}`" in README
    monkeypatch.setattr("sys.argv", command.split())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert DEMO is not None
    assert _without_planning_time(capsys.readouterr().out) == _without_planning_time(DEMO.group(1))


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^check:.*\btest\b", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert "$ make test" in README


def test_commands_of_the_readme_exist() -> None:
    from tierplan.cli import app

    known = {command.name or (command.callback and command.callback.__name__) for command in app.registered_commands}
    assert set(re.findall(r"^\$ tierplan ([\w-]+)", README, flags=re.MULTILINE)) <= known
