"""Mutated model files: GGUF, safetensors, indices of them and configurations, and what reading each must come to.

Run as a script for a long session: `python tests/model_fuzz.py gguf 100000 [seed]`; the tests run a short one.
"""

import json
import random
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from model_files import (
    gguf_header,
    llama_gguf,
    llama_metadata,
    safetensors_header,
    write_gguf,
    write_safetensors,
)

from tierplan.frontend.checkpoint import checkpoint_graph
from tierplan.frontend.config import read_config
from tierplan.frontend.gguf_model import read_gguf_model
from tierplan.frontend.program import model_graph
from tierplan.frontend.safetensors_model import read_safetensors_model
from tierplan.ir.errors import InvalidInputError
from tierplan.models import load, names

EXTREMES = (0, 1, 2, 31, 255, 2**16, 2**31 - 1, 2**32 - 1, 2**60, 2**63, 2**64 - 1)
CONFIG = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4,
    "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 128,
}  # fmt: skip


def mutated_bytes(raw: bytes, draw: random.Random) -> bytes:
    """One to four small changes: bits, numbers, pieces left out, doubled or put elsewhere, the end cut off."""
    data = bytearray(raw)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at : at + 8] = struct.pack("<Q", draw.choice(EXTREMES))
        elif kind == 2:
            data[at : at + 4] = struct.pack("<I", draw.choice(EXTREMES) & 0xFFFFFFFF)
        elif kind == 3:
            del data[at : at + draw.randint(1, 40)]
        elif kind == 4:
            data[at:at] = data[at : at + draw.randint(1, 200)]
        elif kind == 5:
            data[at:at] = draw.randbytes(draw.randint(1, 20))
        elif draw.random() < 0.2:
            del data[at:]
    return bytes(data)


_VALUES = (None, True, -1, 0, 1, 3, 10**9, 2**63, 1e308, "", "x", "../x", [], [1], {}, {"a": 1}, [[]], [None] * 3)


def mutated_json(value: object, draw: random.Random) -> object:
    """One entry somewhere within replaced, left out or renamed."""
    if isinstance(value, dict) and value:
        key = draw.choice(list(value))
        kind = draw.randrange(5)
        rest = {k: v for k, v in value.items() if k != key}
        if kind == 0:
            return rest
        if kind == 1:
            return rest | {key + draw.choice(("s", "_", "\u0000", "é")): value[key]}
        if kind == 2:
            return value | {key: draw.choice(_VALUES)}
        return value | {key: mutated_json(value[key], draw)}
    if isinstance(value, list) and value:
        at = draw.randrange(len(value))
        return [*value[:at], mutated_json(value[at], draw), *value[at + 1 :]]
    return draw.choice(_VALUES)


def _as_text(value: object, draw: random.Random) -> bytes:
    text = json.dumps(value)
    if draw.random() < 0.1 and text.startswith("{"):
        text = "{" + text[1:-1] + ", " + text[1:-1] + "}"
    raw = text.encode()
    return mutated_bytes(raw, draw) if draw.random() < 0.3 else raw


class Gguf:
    """Mutations of the header of a small llama."""

    def __init__(self, folder: Path) -> None:
        metadata = llama_metadata(256, 2, 4, 2, 512, **{"tokenizer.tokens": ["a", "b"], "tokenizer.types": [1, 2]})
        tensors = llama_gguf(256, 2, 128, 512, 64)
        self.path = write_gguf(folder / "m.gguf", metadata, tensors)
        self.size = self.path.stat().st_size
        self.header = gguf_header(metadata, tensors)

    def read(self, draw: random.Random) -> None:
        raw = mutated_bytes(self.header, draw)
        with self.path.open("wb") as file:
            file.write(raw)
            if draw.random() < 0.9:
                file.truncate(max(len(raw), self.size + draw.choice((0, 0, 0, 32, -32, 4096))))
        checkpoint_graph(read_gguf_model(self.path), phase=None, batch=None, context=None, dtype=None)


class Safetensors:
    """Mutations of the header of a small llama, of its index, or of its configuration."""

    def __init__(self, folder: Path) -> None:
        arch = read_config(json.dumps(CONFIG), "m/config.json")
        from tierplan.frontend.program import weight_shapes

        self.tensors = {name: (shape, "BF16") for name, shape in weight_shapes(arch)}
        self.folder = folder
        self.shard = folder / "model-00001-of-00001.safetensors"
        self.index = {"metadata": {}, "weight_map": dict.fromkeys(self.tensors, self.shard.name)}
        header, self.data = safetensors_header(self.tensors)
        self.entries = json.loads(header)

    def read(self, draw: random.Random) -> None:
        which = draw.randrange(5)
        write_safetensors(self.shard, self.tensors)
        if which < 3:
            raw = _as_text(mutated_json(self.entries, draw), draw)
            length = draw.choice((len(raw), len(raw), len(raw), len(raw) - 1, *EXTREMES))
            self.shard.write_bytes(struct.pack("<Q", length % 2**64) + raw)
            with self.shard.open("r+b") as file:
                file.truncate(8 + len(raw) + draw.choice((self.data, self.data, self.data // 2)))
        index = mutated_json(self.index, draw) if which == 3 else self.index
        (self.folder / "model.safetensors.index.json").write_bytes(
            _as_text(index, draw) if which == 3 else json.dumps(index).encode()
        )
        config = _as_text(mutated_json(CONFIG, draw), draw) if which == 4 else json.dumps(CONFIG).encode()
        (self.folder / "config.json").write_bytes(config)
        checkpoint_graph(read_safetensors_model(self.folder), phase=None, batch=None, context=None, dtype=None)


class Config:
    """Mutations of every built-in configuration."""

    def __init__(self, folder: Path) -> None:
        self.configs = [json.loads(load(name)) for name in names()]

    def read(self, draw: random.Random) -> None:
        value = mutated_json(draw.choice(self.configs), draw)
        text = _as_text(value, draw).decode("utf-8", "replace")
        phase = draw.choice((None, "decode", "prefill", "train"))
        arch = read_config(text, "m/config.json")
        if draw.random() < 0.05:
            model_graph(arch, phase=phase, batch=None, context=64, dtype=None)


FORMATS: dict[str, Callable[[Path], Gguf | Safetensors | Config]] = {
    "gguf": Gguf, "safetensors": Safetensors, "config": Config,
}  # fmt: skip


def _refusal(reader: Gguf | Safetensors | Config, seed: str) -> str:
    """Why a mutant is refused; empty where it is read."""
    try:
        reader.read(random.Random(seed))
    except InvalidInputError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"mutant {seed}: {error!r}") from error
    return ""


def fuzz(kind: str, n: int, seed: int = 0) -> Counter[str]:
    """Read so many mutants; each is read, or refused in one line. Returns how many of each."""
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        reader = FORMATS[kind](Path(folder))
        for k in range(n):
            refusal = _refusal(reader, f"{kind} {seed} {k}")
            ends["refused" if refusal else "read"] += 1
            assert "\n" not in refusal, f"{kind} {seed} {k}: {refusal}"
            assert len(refusal) < 1000, f"{kind} {seed} {k}: {refusal[:200]}"
    return ends


if __name__ == "__main__":
    import resource
    import time

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    wanted, began = sys.argv[1], time.process_time()
    made = fuzz(wanted, int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{wanted}: {dict(made)}, {time.process_time() - began:.0f} CPU s, peak {peak:.0f} MiB")
