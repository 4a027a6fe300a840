"""GGUF files: exact sizes out of headers, no byte of data read, and every way in which a header can lie."""

import struct
from pathlib import Path
from typing import Any

import pytest
from model_files import (
    BF16,
    F16,
    F32,
    Q4_K,
    Q6_K,
    Q8_0,
    GgufTensors,
    gguf_bytes,
    gguf_header,
    llama_gguf,
    llama_metadata,
    write_gguf,
)

from tierplan.frontend.checkpoint import checkpoint_graph
from tierplan.frontend.ggml_types import TYPES, block_type
from tierplan.frontend.gguf import read_gguf
from tierplan.frontend.gguf_model import read_gguf_model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind
from tierplan.programs import Shaping, read_program

# Bits per weight as llama.cpp's documentation gives them for its quantised formats; exact for its block structures.
BITS_PER_WEIGHT = {
    "q4_0": 4.5, "q4_1": 5, "q5_0": 5.5, "q5_1": 6, "q8_0": 8.5, "q8_1": 9, "q2_k": 2.625, "q3_k": 3.4375,
    "q4_k": 4.5, "q5_k": 5.5, "q6_k": 6.5625, "q8_k": 9.125, "iq2_xxs": 2.0625, "iq2_xs": 2.3125, "iq2_s": 2.5625,
    "iq3_xxs": 3.0625, "iq3_s": 3.4375, "iq1_s": 1.5625, "iq1_m": 1.75, "iq4_nl": 4.5, "iq4_xs": 4.25,
    "tq1_0": 1.6875, "tq2_0": 2.0625, "mxfp4": 4.25, "nvfp4": 4.5, "q1_0": 1.125, "f32": 32, "f16": 16, "bf16": 16,
    "f64": 64, "i8": 8, "i16": 16, "i32": 32, "i64": 64,
}  # fmt: skip


def small(path: Path, **metadata: Any) -> Path:
    fields = llama_metadata(256, 2, 4, 2, 512) | metadata
    return write_gguf(path / "m.gguf", fields, llama_gguf(256, 2, 128, 512, 64))


def decode(path: Path) -> Graph:
    return checkpoint_graph(read_gguf_model(path), phase=None, batch=None, context=None, dtype=None)


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_gguf_model(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_every_type_has_its_published_bits_per_weight() -> None:
    assert {t.name: t.bytes * 8 / t.elements for t in TYPES.values()} == BITS_PER_WEIGHT
    assert len(TYPES) == len(BITS_PER_WEIGHT)
    with pytest.raises(InvalidInputError, match="q4_0_4_4, which ggml has removed"):
        block_type(31, "x")
    with pytest.raises(InvalidInputError, match="of type 99, which ggml does not have"):
        block_type(99, "x")


def test_a_file_of_40_gb_is_planned_from_its_header_alone(tmp_path: Path) -> None:
    """A llama 3 of 70 billion parameters in Q4_K_M's mix, its data a hole in the file."""
    vocab = 128_256
    words = {"tokenizer.ggml.tokens": [f"w{n}" for n in range(vocab)], "tokenizer.ggml.types": [1] * vocab}
    tensors = llama_gguf(8192, 80, 1024, 28672, vocab)
    path = write_gguf(tmp_path / "llama3-70b-q4_k_m.gguf", llama_metadata(8192, 80, 64, 8, 28672, **words), tensors)
    assert path.stat().st_size > 40e9
    header = len(gguf_header(llama_metadata(8192, 80, 64, 8, 28672, **words), tensors))
    file = read_gguf(path)
    assert file.n_read <= header + 2**16
    graph = decode(path)
    assert graph.n_parameters == 70_553_706_496
    weights = [tensor for tensor in graph.tensors if tensor.kind is TensorKind.WEIGHT]
    assert {t.name: t.size for t in weights} == {name: gguf_bytes(*how) for name, how in tensors.items()}
    read = sum(a.bytes for op in graph.ops for a in op.reads if graph.tensor(a.tensor).kind is TensorKind.WEIGHT)
    table = gguf_bytes((vocab, 8192), Q4_K)
    assert read == sum(t.size for t in weights) - table + gguf_bytes((1, 8192), Q4_K)
    assert graph.tensor("blk.0.k_cache").dtype == "float16"
    assert graph.ops[5].dtype == "float16"


def test_what_a_plan_says_about_the_file(tmp_path: Path) -> None:
    path = small(tmp_path)
    graph = read_program(str(path), Shaping(batch=2, context=64, dtype="bf16"))
    assert graph.name == "m decode"
    assert graph.tensor("blk.1.v_cache").shape == (2, 2, 64, 64)
    assert graph.tensor("blk.1.v_cache").dtype == "bfloat16"
    assert graph.notes[0].startswith("weights as stored: q4_k ")
    assert read_program(str(tmp_path), Shaping(phase="prefill", context=16)).tokens == 16


def test_arrays_and_long_strings_are_passed_over(tmp_path: Path) -> None:
    text = "x" * 10**6
    path = small(tmp_path, **{"a.long": text, "b.list": list(range(5000)), "c.list": [1, 2], "d": 0.5, "e": True})
    metadata = read_gguf(path).metadata
    assert [metadata[key] for key in ("a.long", "b.list", "c.list", "d", "e")] == [None, None, (1, 2), 0.5, True]
    assert read_gguf(path).n_read < 10**5 + 2**16


def test_a_file_of_the_other_byte_order_says_the_same(tmp_path: Path) -> None:
    fields, tensors = llama_metadata(256, 2, 4, 2, 512), llama_gguf(256, 2, 128, 512, 64)
    little, big = (write_gguf(tmp_path / f"{n}.gguf", fields, tensors, order) for n, order in enumerate("<>"))
    assert read_gguf(little).tensors == read_gguf(big).tensors
    assert read_gguf(little).metadata == read_gguf(big).metadata


def test_a_model_in_several_files(tmp_path: Path) -> None:
    tensors = list(llama_gguf(256, 2, 128, 512, 64).items())
    parts = [tensors[:8], tensors[8:]]
    for n, part in enumerate(parts):
        fields = llama_metadata(256, 2, 4, 2, 512) if n == 0 else {}
        write_gguf(tmp_path / f"m-0000{n + 1}-of-00002.gguf", fields | {"split.count": 2}, dict(part))
    path = tmp_path / "m-00001-of-00002.gguf"
    assert decode(path).n_parameters == decode(small(tmp_path)).n_parameters
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    assert "m-00002-of-00002.gguf': No such file" in refusal(path)
    other = tmp_path / "m-00001-of-00003.gguf"
    path.rename(other)
    assert "part of 2 by its header, and of 3 by its name" in refusal(other)


def mixture_gguf() -> tuple[dict[str, Any], GgufTensors]:
    fields = {
        "general.architecture": "qwen3moe", "qwen3moe.block_count": 1, "qwen3moe.embedding_length": 256,
        "qwen3moe.attention.head_count": 4, "qwen3moe.attention.head_count_kv": 2, "qwen3moe.attention.key_length": 32,
        "qwen3moe.feed_forward_length": 512, "qwen3moe.expert_count": 8, "qwen3moe.expert_used_count": 2,
        "qwen3moe.context_length": 4096,
    }  # fmt: skip
    tensors: GgufTensors = {
        "token_embd.weight": ((64, 256), Q8_0), "output_norm.weight": ((256,), F32),
        "blk.0.attn_norm.weight": ((256,), F32), "blk.0.attn_q.weight": ((128, 256), Q4_K),
        "blk.0.attn_k.weight": ((64, 256), Q4_K), "blk.0.attn_v.weight": ((64, 256), Q6_K),
        "blk.0.attn_q_norm.weight": ((32,), F32), "blk.0.attn_k_norm.weight": ((32,), F32),
        "blk.0.attn_output.weight": ((256, 128), Q8_0), "blk.0.ffn_norm.weight": ((256,), F32),
        "blk.0.ffn_gate_inp.weight": ((8, 256), F32), "blk.0.ffn_gate_exps.weight": ((8, 256, 256), Q4_K),
        "blk.0.ffn_up_exps.weight": ((8, 256, 256), Q4_K), "blk.0.ffn_down_exps.weight": ((8, 256, 256), Q6_K),
        "rope_freqs.weight": ((16,), F32),
    }  # fmt: skip
    return fields, tensors


def test_experts_are_read_by_their_share_of_the_stack(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "moe.gguf", *mixture_gguf())
    checkpoint = read_gguf_model(path)
    assert checkpoint.beside == {"rope_freqs.weight": 64}
    graph = checkpoint_graph(checkpoint, phase="decode", batch=1, context=64, dtype=None)
    down = next(op for op in graph.ops if op.name == "blk.0.ffn_down_exps.weight")
    assert down.reads[2].bytes == gguf_bytes((2, 256, 256), Q6_K)
    assert next(op for op in graph.ops if op.name == "output").reads[1].tensor == "token_embd.weight"
    assert any("1 tensors of the files" in note and "rope_freqs" in note for note in graph.notes)


def latent_gguf(*, split: bool) -> tuple[dict[str, Any], GgufTensors]:
    own = {
        "block_count": 2, "embedding_length": 256, "attention.head_count": 4, "attention.head_count_kv": 1,
        "attention.kv_lora_rank": 64, "rope.dimension_count": 16, "feed_forward_length": 512, "context_length": 4096,
        "attention.key_length_mla": 48, "attention.value_length_mla": 32, "attention.key_length": 80,
        "expert_count": 4, "expert_used_count": 2, "leading_dense_block_count": 1,
    }  # fmt: skip
    tensors: GgufTensors = {
        "token_embd.weight": ((64, 256), BF16), "output_norm.weight": ((256,), F32), "output.weight": ((64, 256), BF16)
    }  # fmt: skip
    for layer in range(2):
        shapes: dict[str, tuple[int, ...]] = {
            "attn_norm": (256,), "ffn_norm": (256,), "attn_kv_a_norm": (64,), "attn_q": (4 * 48, 256),
            "attn_kv_a_mqa": (64 + 16, 256), "attn_output": (256, 4 * 32),
        }  # fmt: skip
        kv = {"attn_k_b": (4, 64, 32), "attn_v_b": (4, 32, 64)} if split else {"attn_kv_b": (4 * (32 + 32), 64)}
        mlp = {"ffn_up": (512, 256), "ffn_gate": (512, 256), "ffn_down": (256, 512)}
        experts = {
            "ffn_gate_inp": (4, 256), "ffn_up_exps": (4, 96, 256), "ffn_gate_exps": (4, 96, 256),
            "ffn_down_exps": (4, 256, 96), "ffn_up_shexp": (192, 256), "ffn_gate_shexp": (192, 256),
            "ffn_down_shexp": (256, 192),
        }  # fmt: skip
        for name, shape in {**shapes, **kv, **(experts if layer else mlp)}.items():
            tensors[f"blk.{layer}.{name}.weight"] = (shape, F16 if len(shape) > 1 else F32)
    return {"general.architecture": "deepseek2", **{f"deepseek2.{key}": n for key, n in own.items()}}, tensors


@pytest.mark.parametrize("split", [False, True])
def test_a_latent_attention_is_absorbed_from_one_matrix_or_two(tmp_path: Path, split: bool) -> None:
    path = write_gguf(tmp_path / "ds.gguf", *latent_gguf(split=split))
    checkpoint = read_gguf_model(path)
    assert not checkpoint.beside
    graph = decode(path)
    assert graph.tensor("blk.0.kv_cache").shape == (1, 4096, 80)
    halves = [op for op in graph.ops if op.kind == "head_matmul" and op.name.startswith("blk.1.")]
    assert [op.reads[1].bytes for op in halves] == [4 * 32 * 64 * 2] * 2
    prefill = checkpoint_graph(checkpoint, phase="prefill", batch=1, context=8, dtype=None)
    assert any(op.kind == ("latent_attention" if split else "expanded_attention") for op in prefill.ops)


def test_gemma_has_the_windows_that_llama_cpp_gives_them(tmp_path: Path) -> None:
    fields = {f"gemma3{key.removeprefix('llama')}" if key.startswith("llama") else key: value
              for key, value in llama_metadata(256, 6, 4, 2, 512).items()}  # fmt: skip
    fields |= {"general.architecture": "gemma3", "gemma3.attention.sliding_window": 16}
    tensors = llama_gguf(256, 6, 128, 512, 64)
    for layer in range(6):
        names = ("post_attention_norm", "post_ffw_norm")
        tensors |= {f"blk.{layer}.{name}.weight": ((256,), F32) for name in names}
        tensors |= {f"blk.{layer}.{name}.weight": ((64,), F32) for name in ("attn_q_norm", "attn_k_norm")}
    graph = checkpoint_graph(
        read_gguf_model(write_gguf(tmp_path / "g.gguf", fields, tensors)),
        phase=None,
        batch=None,
        context=64,
        dtype=None,
    )
    assert [graph.tensor(f"blk.{layer}.k_cache").shape[2] for layer in range(6)] == [16] * 5 + [64]


def cut(path: Path, *, at: int, new: bytes) -> Path:
    raw = path.read_bytes()
    path.write_bytes(raw[:at] + new + raw[at + len(new) :])
    return path


def test_hostile_counts_are_refused_before_anything_is_made_for_them(tmp_path: Path) -> None:
    assert "declares 9,223,372,036,854,775,808 tensors" in refusal(
        cut(small(tmp_path), at=8, new=struct.pack("<Q", 2**63))
    )
    assert "pairs of metadata" in refusal(cut(small(tmp_path), at=16, new=struct.pack("<Q", 2**63)))
    assert "a key of its metadata has 9,223,372,036,854,775,808 bytes" in refusal(
        cut(small(tmp_path), at=24, new=struct.pack("<Q", 2**63))
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<II", 9, 8)
    path = tmp_path / "array.gguf"
    path.write_bytes(head + struct.pack("<Q", 2**61))
    assert "'a' declares 2,305,843,009,213,693,952 entries" in refusal(path)
    with path.open("wb") as file:  # five hundred million empty strings, as a hole of 4 GB says
        file.write(head + struct.pack("<Q", 5 * 10**8))
        file.truncate(4 * 2**30)
    assert "declares 500,000,000 entries" in refusal(path)
    nested = b"".join(struct.pack("<IQ", 9, 1) for _ in range(1000))
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 9) + nested
    )
    assert "of a kind that GGUF does not have (9)" in refusal(path)


def edited(tmp_path: Path, fields: dict[str, Any], tensors: GgufTensors) -> Path:
    metadata = {key: value for key, value in (llama_metadata(256, 2, 4, 2, 512) | fields).items() if value is not None}
    return write_gguf(tmp_path / "e.gguf", metadata, llama_gguf(256, 2, 128, 512, 64) | tensors)


@pytest.mark.parametrize(
    ("fields", "tensors", "part"),
    [
        ({"general.architecture": None}, {}, "lack 'general.architecture'"),
        ({"general.architecture": "lama"}, {}, "'lama' is not supported (did you mean 'llama'?)"),
        ({"general.architecture": "l\x00\x1bma"}, {}, "'l??ma' is not supported"),
        ({"llama.block_count": None}, {}, "lack 'llama.block_count'"),
        ({"llama.block_count": "two"}, {}, "'llama.block_count' is two; need a whole number"),
        ({"llama.block_count": 3}, {}, "lacks the tensor 'blk.2.attn_norm.weight' and 8 more"),
        ({"llama.attention.head_count": [4, 2]}, {}, "differs from layer to layer"),
        ({"llama.attention.head_count": [0, 0]}, {}, "is 0 in all layers"),
        ({"llama.attention.head_count_kv": 3}, {}, "4 query heads cannot share 3"),
        ({"llama.embedding_length": 512}, {}, "where the metadata ask for"),
        ({"general.alignment": 0}, {}, "'general.alignment' is 0"),
        ({"general.alignment": 4096}, {}, "no multiple of 4096"),
        ({}, {"token_embd.weight": ((256,), F32)}, "lacks the table 'token_embd.weight'"),
        ({}, {"blk.0.ffn_up.weight": ((512, 128), Q8_0)}, "is [512, 128], 65,536 elements, where the metadata ask"),
    ],
)
def test_files_that_hold_no_proper_model_are_refused(
    tmp_path: Path, fields: dict[str, Any], tensors: GgufTensors, part: str
) -> None:
    assert part in refusal(edited(tmp_path, fields, tensors))


def tensor_entry(name: str, extents: tuple[int, ...], code: int, offset: int) -> bytes:
    raw = name.encode()
    head = struct.pack("<Q", len(raw)) + raw + struct.pack(f"<I{len(extents)}Q", len(extents), *extents)
    return head + struct.pack("<IQ", code, offset)


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ([("a", (8,), F32, 0), ("a", (8,), F32, 32)], "'a' stands there twice"),
        ([("a", (16,), F32, 0), ("b", (8,), F32, 32)], "tensor 'b' overlaps tensor 'a'"),
        ([("a", (8,), F32, 2**60)], "of a file of"),
        ([("a", (8,), F32, 16)], "no multiple of 32"),
        ([("a", (2**63, 2), F32, 0)], "an absurd shape"),
        ([("a", (2**40, 2**40), F32, 0)], "an absurd shape"),
        ([("a", (40,), Q8_0, 0)], "rows of 40 elements, and q8_0 has blocks of 32"),
        ([("a", (1, 1, 1, 1, 1), F32, 0)], "5 dimensions"),
        ([("a", (8,), 4, 0)], "of type q4_2, which ggml has removed"),
        ([("a", (8,), 77, 0)], "of type 77"),
        ([("a\n", (8,), F32, 0)], "not printable"),
    ],
)
def test_tensors_that_lie_where_none_can_are_refused(tmp_path: Path, entries: list[Any], part: str) -> None:
    path = tmp_path / "t.gguf"
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, len(entries), 0) + b"".join(tensor_entry(*e) for e in entries) + bytes(500)
    )
    assert part in refusal(path)


def test_no_model_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for raw, part in [
        (b"", "does not begin with GGUF"), (b"GGML" + bytes(100), "does not begin with GGUF"),
        (b"GGUF", "ends within its header"), (b"GGUF" + struct.pack("<I", 1) + bytes(50), "of version 1"),
        (gguf_header(llama_metadata(256, 2, 4, 2, 512), {}), "holds a vocabulary and no tensors"),
    ]:  # fmt: skip
        path.write_bytes(raw)
        assert part in refusal(path)
    assert "cannot read" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "none.gguf")
    whole = small(tmp_path).read_bytes()
    for length in range(0, 1500, 37):
        path.write_bytes(whole[:length])
        refusal(path)
    path.write_bytes(whole[:-1])
    assert "the file is truncated" in refusal(path)


def test_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"give the config.json of the model instead"):
        read_program(str(small(tmp_path)), Shaping(phase="train"))
    with pytest.raises(InvalidInputError, match=r"--cyclic means nothing for a language model"):
        read_program(str(small(tmp_path)), Shaping(cyclic=True))
    with pytest.raises(InvalidInputError, match=r"no file '.*none.gguf'"):
        read_program(str(tmp_path / "none.gguf"), Shaping())
