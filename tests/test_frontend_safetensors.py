"""Safetensors files beside a configuration: exact sizes out of headers, quantised and sharded, and hostile ones."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from model_files import SafeTensors, n_elements, write_safetensors

from tierplan.frontend.checkpoint import checkpoint_graph
from tierplan.frontend.config import read_config
from tierplan.frontend.program import weight_shapes
from tierplan.frontend.safetensors import read_safetensors
from tierplan.frontend.safetensors_model import read_safetensors_model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import TensorKind
from tierplan.models import load
from tierplan.programs import Shaping, read_program

TINY = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 96, "torch_dtype": "bfloat16",
}  # fmt: skip


def tensors_of(config: dict[str, Any], dtype: str = "BF16") -> SafeTensors:
    return {name: (shape, dtype) for name, shape in weight_shapes(read_config(json.dumps(config), "x"))}


def folder(path: Path, config: dict[str, Any], tensors: SafeTensors) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    write_safetensors(path / "model.safetensors", tensors)
    return path


def sharded(path: Path, config: dict[str, Any], shards: list[SafeTensors]) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    places: dict[str, str] = {}
    for n, shard in enumerate(shards, 1):
        name = f"model-{n:05}-of-{len(shards):05}.safetensors"
        write_safetensors(path / name, shard)
        places |= dict.fromkeys(shard, name)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_safetensors_model(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_a_folder_is_planned_at_the_sizes_of_its_file(tmp_path: Path) -> None:
    tensors = tensors_of(TINY)
    path = folder(tmp_path / "tiny", TINY, tensors)
    graph = read_program(str(path), Shaping(context=32))
    assert graph.name == "tiny decode"
    weights = {t.name: t.size for t in graph.tensors if t.kind is TensorKind.WEIGHT}
    assert weights == {name: 2 * n_elements(shape) for name, (shape, _) in tensors.items()}
    assert graph.tensor("model.layers.0.k_cache").dtype == "bfloat16"
    wide = folder(tmp_path / "wide", TINY, tensors_of(TINY, "F32"))
    graph = read_program(str(wide / "model.safetensors"), Shaping(context=32, batch=2, phase="prefill"))
    assert graph.tensor("lm_head.weight").size == 96 * 64 * 4
    assert graph.tensor("logits").size == 2 * 96 * 2
    with pytest.raises(InvalidInputError, match=r"give the config.json"):
        read_program(str(path), Shaping(phase="train"))


def test_a_sharded_model_of_141_gb_is_planned_from_its_headers(tmp_path: Path) -> None:
    config = json.loads(load("llama3-70b"))
    tensors = list(tensors_of(config).items())
    step = len(tensors) // 29
    path = sharded(tmp_path / "llama3", config, [dict(tensors[n : n + step]) for n in range(0, len(tensors), step)])
    files = read_safetensors(path / "model.safetensors.index.json")
    headers = sum(file.stat().st_blocks * 512 for file in path.iterdir())
    assert files.n_read < 31 * 2**16 + 300_000
    assert headers < 10**6
    checkpoint = read_safetensors_model(path)
    assert checkpoint.weight_bytes == 2 * 70_553_706_496
    shard = next(path.glob("model-00003-*.safetensors"))
    assert read_safetensors_model(shard) == read_safetensors_model(path / "model.safetensors.index.json")


def test_names_in_front_of_the_layers_do_not_matter(tmp_path: Path) -> None:
    tensors = tensors_of(TINY)
    plain = read_safetensors_model(folder(tmp_path / "plain", TINY, tensors))
    renamed = {f"language_model.{name}": how for name, how in tensors.items()}
    renamed["vision_tower.patch.weight"] = ((4, 4), "BF16")
    other = read_safetensors_model(folder(tmp_path / "renamed", TINY, renamed))
    assert other.stored == plain.stored
    assert other.beside == {"vision_tower.patch.weight": 32}
    gpt2 = json.loads(load("gpt2")) | {"n_layer": 1, "n_embd": 24, "n_head": 2, "vocab_size": 50}
    bare = {name.removeprefix("transformer."): how for name, how in tensors_of(gpt2).items()}
    assert len(read_safetensors_model(folder(tmp_path / "gpt2", gpt2, bare)).stored) == len(bare)


def test_experts_of_a_checkpoint_make_up_the_stacks(tmp_path: Path) -> None:
    config = {
        "model_type": "qwen3_moe", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2,
        "num_hidden_layers": 1, "num_key_value_heads": 1, "vocab_size": 48, "num_experts": 3, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "head_dim": 16,
    }  # fmt: skip
    tensors = tensors_of(config)
    stacked = read_safetensors_model(folder(tmp_path / "stacked", config, dict(tensors)))
    for name in [name for name in tensors if ".experts." in name]:
        del tensors[name]
    for expert in range(3):
        stem = f"model.layers.0.mlp.experts.{expert}"
        tensors |= {f"{stem}.{name}.weight": ((16, 32), "BF16") for name in ("gate_proj", "up_proj")}
        tensors[f"{stem}.down_proj.weight"] = ((32, 16), "BF16")
    single = read_safetensors_model(folder(tmp_path / "single", config, dict(tensors)))
    assert single.stored == stacked.stored
    assert not single.beside
    del tensors["model.layers.0.mlp.experts.2.up_proj.weight"]
    assert "lacks the tensor 'model.layers.0.mlp.experts.gate_up_proj'" in refusal(
        folder(tmp_path / "less", config, tensors)
    )


def quantised(kind: str) -> SafeTensors:
    """The tiny llama with its matrices as a quantiser leaves them."""
    tensors: SafeTensors = {}
    for name, (shape, dtype) in tensors_of(TINY).items():
        stem = name.removesuffix("weight")
        if not name.endswith("_proj.weight"):
            tensors[name] = (shape, dtype)
        elif kind == "fp8":
            tensors[name] = (shape, "F8_E4M3")
            tensors[stem + "weight_scale_inv"] = ((-(-shape[0] // 128), -(-shape[1] // 128)), "F32")
        elif kind == "gptq":
            groups = shape[1] // 32
            tensors[stem + "qweight"] = ((shape[1] // 8, shape[0]), "I32")
            tensors[stem + "qzeros"] = ((groups, shape[0] // 8), "I32")
            tensors[stem + "scales"] = ((groups, shape[0]), "F16")
        else:
            tensors[name] = ((n_elements(shape) // 2, 1), "U8")
            tensors[stem + "weight.absmax"] = ((n_elements(shape) // 64,), "F32")
    return tensors


@pytest.mark.parametrize(("kind", "bits"), [("fp8", 8 + 32 / (128 * 64)), ("gptq", 4.625), ("bitsandbytes", 4.5)])
def test_quantised_matrices_take_what_all_their_parts_take(tmp_path: Path, kind: str, bits: float) -> None:
    checkpoint = read_safetensors_model(folder(tmp_path / kind, TINY, quantised(kind)))
    graph = checkpoint_graph(checkpoint, phase="decode", batch=1, context=16, dtype=None)
    up = graph.tensor("model.layers.1.mlp.up_proj.weight")
    assert (up.shape, up.dtype) == ((128, 64), "bfloat16")
    assert up.size == 128 * 64 * bits / 8
    assert up.stored is not None
    assert up.stored.format.endswith("with scales")
    assert not checkpoint.beside
    matmul = next(op for op in graph.ops if op.name == "model.layers.1.mlp.up_proj")
    assert (matmul.reads[1].bytes, matmul.dtype) == (up.size, "bfloat16")


def header_of(entries: Any, data: int = 0, length: int | None = None) -> bytes:
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data)


def entry(shape: Any = (4,), dtype: Any = "F32", offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"", "is not a safetensors file: it has 0 bytes"),
        (header_of({}, length=2**60), "its header would have 1,152,921,504,606,846,976 bytes"),
        (header_of({}, length=2**64 - 1), "is truncated"),
        (header_of(b"[1]"), "its header is no JSON object"),
        (header_of(b'{"a": \xff}'), "not UTF-8"),
        (header_of(b'{"a": 1'), "not valid JSON"),
        (header_of(b'{"a":' + b"[" * 10**6), "nested too deeply"),
        (header_of(b'{"a":' * 10**5), "nested too deeply"),
        (header_of(b'{"a": ' + b"9" * 10**5 + b"}"), "thousands of digits"),
        (header_of(b'{"a": {"dtype": "F32"}, "a": {"dtype": "F32"}}'), "'a' stands there twice"),
        (header_of({"a": 3}), "'a' is not described by an object"),
        (header_of({"a": entry(dtype="F33")}, 16), "'F33', which safetensors does not have; did you mean 'F32'?"),
        (header_of({"a": entry(dtype=["F32"])}, 16), "which safetensors does not have"),
        (header_of({"a": entry(shape=[-4])}, 16), "no proper shape"),
        (header_of({"a": entry(shape=[True])}, 16), "no proper shape"),
        (header_of({"a": entry(shape=[2**63])}, 16), "no proper shape"),
        (header_of({"a": entry(shape=[2**50, 2**50])}, 16), "absurd shape"),
        (header_of({"a": entry(shape=[1] * 40)}, 16), "no proper shape"),
        (header_of({"a": entry(offsets=[0])}, 16), "no proper offsets"),
        (header_of({"a": entry(offsets=[-16, 0])}, 16), "no proper offsets"),
        (header_of({"a": entry(offsets=[16, 0])}, 16), "its shape [4] of F32 takes 16"),
        (header_of({"a": entry(shape=[3], dtype="F4", offsets=[0, 1])}, 1), "do not fill whole bytes"),
        (header_of({"a": entry()}, 15), "the file is truncated"),
        (header_of({"a": entry(offsets=[2**59, 2**59 + 16])}, 16), "the file is truncated"),
        (header_of({"a": entry(), "b": entry(offsets=[8, 24])}, 24), "'b' overlaps tensor 'a'"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, raw: bytes, part: str) -> None:
    path = folder(tmp_path / "bad", TINY, {})
    (path / "model.safetensors").write_bytes(raw)
    assert part in refusal(path)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..\\x.safetensors",
                                  "config.json", "", 3, None, ["x"], "x\n.safetensors"])  # fmt: skip
def test_an_index_names_files_of_its_own_folder_alone(tmp_path: Path, name: object) -> None:
    write_safetensors(tmp_path / "secret.safetensors", tensors_of(TINY))
    path = sharded(tmp_path / "m", TINY, [tensors_of(TINY)])
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    assert "files must lie in the folder of the index" in refusal(path)


def test_an_index_that_does_not_fit_its_files(tmp_path: Path) -> None:
    path = sharded(tmp_path / "m", TINY, [tensors_of(TINY)])
    index, shard = path / "model.safetensors.index.json", "model-00001-of-00001.safetensors"
    for content, part in [
        ({}, "has no 'weight_map'"),
        ({"weight_map": []}, "has no 'weight_map'"),
        ({"weight_map": {"x": shard}}, f"'{shard}' does not hold the tensor 'x'"),
        ({"weight_map": {"lm_head.weight": shard}}, "lacks the tensor 'model.embed_tokens.weight' and 19 more"),
        ({"weight_map": {"x": "model-00009-of-00009.safetensors"}}, "No such file"),
    ]:
        index.write_text(json.dumps(content))
        assert part in refusal(path)
    with index.open("wb") as file:
        file.truncate(2**40)
    assert "is too large for an index" in refusal(path)


def test_files_that_do_not_fit_the_configuration(tmp_path: Path) -> None:
    tensors = tensors_of(TINY)
    assert "is [96, 64] of BF16, where the configuration asks for [97, 64]" in refusal(
        folder(tmp_path / "a", TINY | {"vocab_size": 97}, tensors)
    )
    assert "lacks the tensor 'lm_head.weight', which a llama model has" in refusal(
        folder(tmp_path / "b", TINY, {name: how for name, how in tensors.items() if name != "lm_head.weight"})
    )
    (tmp_path / "a" / "config.json").unlink()
    assert "no config.json beside" in refusal(tmp_path / "a")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidInputError, match=r"has no model: no .safetensors, no .gguf and no config.json"):
        read_program(str(empty), Shaping())
    (empty / "config.json").write_text(json.dumps(TINY))
    assert read_program(str(empty), Shaping(context=16)).n_parameters == sum(n_elements(s) for s, _ in tensors.values())
    for name in ("a", "b"):
        write_safetensors(empty / f"{name}.safetensors", tensors)
    assert "has 2 safetensors files and no model.safetensors.index.json" in refusal(empty)
