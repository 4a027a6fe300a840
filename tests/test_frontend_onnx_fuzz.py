"""Spoilt ONNX and .pt2 files: read, or refused in one line; nothing else, and quickly."""

import io
import random
import zipfile
from pathlib import Path

import pytest
import torch_programs
from mutations import mutated
from onnx_small import SEEDS

from tierplan.frontend.onnx_graph import load_onnx
from tierplan.frontend.torch_archive import load_pt2
from tierplan.ir.errors import InvalidInputError


def read(load, path: Path, content: bytes) -> bool:
    """Whether the content was read; an error must be of the input, and of one line."""
    path.write_bytes(content)
    try:
        load(path)
    except InvalidInputError as error:
        if not str(error).isprintable():
            raise AssertionError(f"an error of several lines: {error!r}") from error
        return False
    return True


def spoilt_archives(n: int, seed: int):
    """Archives whose JSON is spoilt, and archives that are spoilt as a whole."""
    draw = random.Random(seed)
    texts = [torch_programs.text(program) for program in torch_programs.ALL]
    for number in range(n):
        text = draw.choice(texts)
        if number % 2:
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w") as archive:
                archive.writestr("m/models/model.json", mutated(text, draw))
            yield made.getvalue()
        else:
            yield mutated(torch_programs.archive(text), draw)


def fuzz_onnx(tmp_path: Path, n: int, seed: int) -> int:
    draw = random.Random(seed)
    path = tmp_path / "m.onnx"
    return sum(read(load_onnx, path, mutated(draw.choice(SEEDS), draw)) for _ in range(n))


def fuzz_pt2(tmp_path: Path, n: int, seed: int) -> int:
    path = tmp_path / "m.pt2"
    return sum(read(load_pt2, path, content) for content in spoilt_archives(n, seed))


def test_spoilt_onnx_files(tmp_path):
    assert 0 < fuzz_onnx(tmp_path, 400, 1) < 400


def test_spoilt_archives(tmp_path):
    assert 0 < fuzz_pt2(tmp_path, 400, 1) < 400


@pytest.mark.slow
@pytest.mark.parametrize("fuzz", [fuzz_onnx, fuzz_pt2])
def test_a_hundred_thousand_spoilt_files(tmp_path, fuzz):
    assert fuzz(tmp_path, 100_000, 2) > 0
