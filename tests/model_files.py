"""GGUF and safetensors files for tests, written here without the package: real headers over holes instead of data."""

import json
import struct
from pathlib import Path
from typing import Any

F32, F16, Q8_0, Q4_K, Q6_K, BF16 = 0, 1, 8, 12, 14, 30
BLOCKS = {F32: (1, 4), F16: (1, 2), Q8_0: (32, 34), Q4_K: (256, 144), Q6_K: (256, 210), BF16: (1, 2)}

GgufTensors = dict[str, tuple[tuple[int, ...], int]]
SafeTensors = dict[str, tuple[tuple[int, ...], str]]
_BITS = {"BF16": 16, "F16": 16, "F32": 32, "F8_E4M3": 8, "I32": 32, "U8": 8}


def n_elements(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def gguf_bytes(shape: tuple[int, ...], code: int) -> int:
    elements, size = BLOCKS[code]
    return n_elements(shape) // elements * size


def _text(text: str, order: str) -> bytes:
    raw = text.encode()
    return struct.pack(order + "Q", len(raw)) + raw


def _value(value: Any, order: str) -> bytes:
    if isinstance(value, bool):
        return struct.pack(order + "I?", 7, value)
    if isinstance(value, int):
        return struct.pack(order + "II", 4, value)
    if isinstance(value, float):
        return struct.pack(order + "If", 6, value)
    if isinstance(value, str):
        return struct.pack(order + "I", 8) + _text(value, order)
    kind = 8 if value and isinstance(value[0], str) else 4
    head = struct.pack(order + "IIQ", 9, kind, len(value))
    entries = (_text(v, order) if kind == 8 else struct.pack(order + "I", v) for v in value)
    return head + b"".join(entries)


def gguf_header(metadata: dict[str, Any], tensors: GgufTensors, order: str = "<", version: int = 3) -> bytes:
    """A header; tensors lie one after another, each at a multiple of 32."""
    parts = [b"GGUF", struct.pack(order + "IQQ", version, len(tensors), len(metadata))]
    parts += [_text(key, order) + _value(value, order) for key, value in metadata.items()]
    offset = 0
    for name, (shape, code) in tensors.items():
        parts.append(_text(name, order) + struct.pack(order + "I", len(shape)))
        parts.append(struct.pack(f"{order}{len(shape)}Q", *shape[::-1]) + struct.pack(order + "IQ", code, offset))
        offset += -(-gguf_bytes(shape, code) // 32) * 32
    return b"".join(parts)


def write_gguf(path: Path, metadata: dict[str, Any], tensors: GgufTensors, order: str = "<") -> Path:
    header = gguf_header(metadata, tensors, order)
    data = sum(-(-gguf_bytes(shape, code) // 32) * 32 for shape, code in tensors.values())
    with path.open("wb") as file:
        file.write(header)
        file.truncate(-(-len(header) // 32) * 32 + data)
    return path


def safetensors_header(tensors: SafeTensors) -> tuple[bytes, int]:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (shape, dtype) in tensors.items():
        size = n_elements(shape) * _BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    return json.dumps(entries).encode(), offset


def write_safetensors(path: Path, tensors: SafeTensors) -> Path:
    header, data = safetensors_header(tensors)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + data)
    return path


def llama_metadata(hidden: int, layers: int, heads: int, kv_heads: int, ffn: int, **more: Any) -> dict[str, Any]:
    return {
        "general.architecture": "llama", "general.name": "a llama", "llama.block_count": layers,
        "llama.embedding_length": hidden, "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads, "llama.feed_forward_length": ffn, "llama.context_length": 8192,
        "llama.rope.dimension_count": hidden // heads, "general.file_type": 15, **more,
    }  # fmt: skip


def llama_gguf(hidden: int, layers: int, kv_width: int, ffn: int, vocab: int, matrix: int = Q4_K) -> GgufTensors:
    """The tensors of a llama as llama.cpp writes them in its mixed 4-bit formats."""
    tensors: GgufTensors = {"token_embd.weight": ((vocab, hidden), matrix)}
    for layer in range(layers):
        better = Q6_K if matrix == Q4_K and layer % 2 else matrix
        shapes = {
            "attn_q": (hidden, hidden), "attn_k": (kv_width, hidden), "attn_output": (hidden, hidden),
            "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden),
        }  # fmt: skip
        tensors[f"blk.{layer}.attn_norm.weight"] = ((hidden,), F32)
        tensors |= {f"blk.{layer}.{name}.weight": (shape, matrix) for name, shape in shapes.items()}
        tensors[f"blk.{layer}.attn_v.weight"] = ((kv_width, hidden), better)
        tensors[f"blk.{layer}.ffn_down.weight"] = ((hidden, ffn), better)
        tensors[f"blk.{layer}.ffn_norm.weight"] = ((hidden,), F32)
    tensors["output_norm.weight"] = ((hidden,), F32)
    tensors["output.weight"] = ((vocab, hidden), Q6_K if matrix == Q4_K else matrix)
    return tensors
