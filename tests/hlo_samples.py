"""Small HLO modules: lowered and compiled by JAX, and one by hand with what accelerators write."""

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus" / "hlo"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.txt"))}
SAMPLES = tuple(TEXTS.values())
