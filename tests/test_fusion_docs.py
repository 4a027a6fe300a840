"""docs/fusion.md prints what it shows."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "fusion.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n\$ tierplan (.*)\n((?:.*\n)*?)```", PAGE)


def test_the_page_has_its_examples() -> None:
    assert len(BLOCKS) == PAGE.count("```console") == 5


@pytest.mark.parametrize(("arguments", "shown"), BLOCKS, ids=[block[0][:60] for block in BLOCKS])
def test_the_page_tells_the_truth(
    arguments: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part of an answer that the page shows is there; `...` stands for what it leaves out."""
    from tierplan.cli import main

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["tierplan", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    parts = [part.strip("\n") for part in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE)]
    assert len([part for part in parts if part]) >= 2
    for part in parts:
        assert part in printed
