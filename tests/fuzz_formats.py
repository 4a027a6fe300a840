"""The formats that are fuzzed: what a spoilt file of each is made from, and how it is read."""

import io
import json
import random
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch_programs
from hlo_samples import SAMPLES
from model_files import (
    gguf_header,
    llama_gguf,
    llama_metadata,
    safetensors_header,
    write_gguf,
    write_safetensors,
)
from mutations import EXTREMES, as_text, mutated, mutated_json, mutated_text
from onnx_small import SEEDS, respelt

from tierplan.frontend.aten_operators import HANDLERS as ATEN
from tierplan.frontend.checkpoint import checkpoint_graph
from tierplan.frontend.config import read_config
from tierplan.frontend.gguf_model import read_gguf_model
from tierplan.frontend.hlo_graph import graph_of_hlo
from tierplan.frontend.hlo_lifespans import slots_of
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.hlo_values import values_of
from tierplan.frontend.onnx_graph import load_onnx
from tierplan.frontend.program import model_graph, weight_shapes
from tierplan.frontend.safetensors_model import read_safetensors_model
from tierplan.frontend.torch_archive import load_pt2
from tierplan.models import load, names

CONFIG = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4,
    "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 128,
}  # fmt: skip


class Format(ABC):
    """Files of one format in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def spoil(self, draw: random.Random) -> None:
        """Write the files of a mutant into the folder."""

    @abstractmethod
    def read(self) -> None:
        """Make a graph of what lies in the folder."""


class Gguf(Format):
    """Mutations of the header of a small llama."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        metadata = llama_metadata(256, 2, 4, 2, 512, **{"tokenizer.tokens": ["a", "b"], "tokenizer.types": [1, 2]})
        tensors = llama_gguf(256, 2, 128, 512, 64)
        self.path = write_gguf(folder / "m.gguf", metadata, tensors)
        self.size = self.path.stat().st_size
        self.header = gguf_header(metadata, tensors)

    def spoil(self, draw: random.Random) -> None:
        raw = mutated(self.header, draw)
        with self.path.open("wb") as file:
            file.write(raw)
            if draw.random() < 0.9:
                file.truncate(max(len(raw), self.size + draw.choice((0, 0, 0, 32, -32, 4096))))

    def read(self) -> None:
        checkpoint_graph(read_gguf_model(self.path), phase=None, batch=None, context=None, dtype=None)


class Safetensors(Format):
    """Mutations of the header of a small llama, of its index, or of its configuration."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        arch = read_config(json.dumps(CONFIG), "m/config.json")
        self.tensors = {name: (shape, "BF16") for name, shape in weight_shapes(arch)}
        self.shard = folder / "model-00001-of-00001.safetensors"
        self.index = {"metadata": {}, "weight_map": dict.fromkeys(self.tensors, self.shard.name)}
        header, self.data = safetensors_header(self.tensors)
        self.entries = json.loads(header)

    def spoil(self, draw: random.Random) -> None:
        which = draw.randrange(5)
        write_safetensors(self.shard, self.tensors)
        if which < 3:
            raw = as_text(mutated_json(self.entries, draw), draw)
            length = draw.choice((len(raw), len(raw), len(raw), len(raw) - 1, *EXTREMES))
            self.shard.write_bytes(struct.pack("<Q", length % 2**64) + raw)
            with self.shard.open("r+b") as file:
                file.truncate(8 + len(raw) + draw.choice((self.data, self.data, self.data // 2)))
        index = as_text(mutated_json(self.index, draw), draw) if which == 3 else json.dumps(self.index).encode()
        config = as_text(mutated_json(CONFIG, draw), draw) if which == 4 else json.dumps(CONFIG).encode()
        (self.folder / "model.safetensors.index.json").write_bytes(index)
        (self.folder / "config.json").write_bytes(config)

    def read(self) -> None:
        checkpoint_graph(read_safetensors_model(self.folder), phase=None, batch=None, context=None, dtype=None)


class Config(Format):
    """Mutations of every built-in configuration; of a few the graph is made too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.configs = [json.loads(load(name)) for name in names()]
        self.phase: str | None = None
        self.whole = False

    def spoil(self, draw: random.Random) -> None:
        value = mutated_json(draw.choice(self.configs), draw)
        (self.folder / "config.json").write_bytes(as_text(value, draw))
        self.phase = draw.choice((None, "decode", "prefill", "train"))
        self.whole = draw.random() < 0.05

    def read(self) -> None:
        path = self.folder / "config.json"
        arch = read_config(path.read_bytes().decode("utf-8", "replace"), str(path))
        if self.whole:
            model_graph(arch, phase=self.phase, batch=None, context=64, dtype=None)


class Hlo(Format):
    """Mutations of modules, before and after XLA's own work."""

    def spoil(self, draw: random.Random) -> None:
        text = mutated_text(draw.choice(SAMPLES), draw)
        (self.folder / "m.txt").write_bytes(text.encode("utf-8", "replace"))

    def read(self) -> None:
        text = (self.folder / "m.txt").read_bytes().decode()
        graph_of_hlo(text, "m.txt")
        module = read_hlo(text, "m.txt")
        if module.scheduled:
            slots_of(values_of(module))


class Onnx(Format):
    """Mutations of small models, as bytes or as messages that onnx writes."""

    def spoil(self, draw: random.Random) -> None:
        content = draw.choice(SEEDS)
        if draw.random() < 0.6:
            content = respelt(onnx.ModelProto.FromString(content), draw).SerializeToString()
        else:
            content = mutated(content, draw)
        (self.folder / "m.onnx").write_bytes(content)

    def read(self) -> None:
        load_onnx(self.folder / "m.onnx")


class Pt2(Format):
    """Mutations of archives: of their bytes, of the JSON within as text, as values, and of the operators it names."""

    _OPERATORS = sorted(ATEN)

    def spoil(self, draw: random.Random) -> None:
        document, kind = draw.choice(torch_programs.ALL), draw.randrange(4)
        if kind == 0:
            content = mutated(torch_programs.archive(torch_programs.text(document)), draw)
        elif kind == 1:
            content = self._stored(mutated(torch_programs.text(document), draw))
        else:
            spoilt: object = document
            if kind == 2:
                spoilt = json.loads(json.dumps(document))
                draw.choice(spoilt["graph_module"]["graph"]["nodes"])["target"] = self._operator(draw)
            for _ in range(draw.randint(0 if kind == 2 else 1, 3)):
                spoilt = mutated_json(spoilt, draw)
            content = self._stored(as_text(spoilt, draw) if kind == 3 else torch_programs.text(spoilt))
        (self.folder / "m.pt2").write_bytes(content)

    def _operator(self, draw: random.Random) -> str:
        overload = draw.choice(("default", "Tensor", "int", "Scalar", "dim"))
        return f"torch.ops.aten.{draw.choice(self._OPERATORS)}.{overload}"

    def _stored(self, text: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("m/models/model.json", text)
        return made.getvalue()

    def read(self) -> None:
        load_pt2(self.folder / "m.pt2")


FORMATS: Mapping[str, type[Format]] = {
    "config": Config, "gguf": Gguf, "hlo": Hlo, "onnx": Onnx, "pt2": Pt2, "safetensors": Safetensors,
}  # fmt: skip
