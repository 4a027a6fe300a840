"""docs/mallocgame.md is true: its Python runs, and the agent of somebody else trains on the environment."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "mallocgame.md").read_text(encoding="utf-8")


def test_the_environment_is_used_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(block, "mallocgame.md", "exec"), {"__name__": "page"})
    assert re.fullmatch(r"\d+\.\d% of \d+\.\d\d ms saved: \d+\.\d\d ms\n", capsys.readouterr().out)


def test_commands_of_the_page_exist() -> None:
    from tierplan.rl.methods.registry import method_names

    named = re.findall(r"^\| `([a-z-]+)` \|", PAGE, flags=re.MULTILINE)
    assert set(named) <= set(method_names())
    assert len(named) >= 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_maskable_ppo_trains_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sb3_contrib", reason="pip install sb3-contrib")
    (block,) = re.findall(r"```py\n(.*?)```", PAGE, flags=re.DOTALL)
    assert "agent.learn(20_000)" in block
    exec(compile(block.replace("20_000", "500"), "mallocgame.md", "exec"), {"__name__": "page"})
    time_s, slow_s = (float(word) for word in capsys.readouterr().out.split())
    assert 0 < time_s <= slow_s
