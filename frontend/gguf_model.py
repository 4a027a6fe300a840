"""A GGUF file as a checkpoint: the architecture from its metadata, the sizes from its tensors.

Source: the metadata keys and tensor names of llama.cpp's gguf-py, `constants.py`; llama.cpp's `llama-model.cpp` for
what each architecture takes from them.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

from tierplan.frontend.architecture import LAYER_NORM, Architecture, Block, Experts, Latent
from tierplan.frontend.checkpoint import Checkpoint, lacking
from tierplan.frontend.gguf import FileTensor, GgufFile, read_gguf
from tierplan.frontend.gguf_fields import Metadata
from tierplan.frontend.naming import GGUF, Names
from tierplan.frontend.weights import weights
from tierplan.ir.errors import InvalidInputError, nearest, one_line
from tierplan.ir.graph import Stored

FAMILIES = {
    "bert": "bert", "deepseek2": "deepseek_v2", "falcon": "falcon", "gemma": "gemma", "gemma2": "gemma2",
    "gemma3": "gemma3_text", "gpt2": "gpt2", "llama": "llama", "llama4": "llama4_text", "phi2": "phi", "qwen2": "qwen2",
    "qwen2moe": "qwen2_moe", "qwen3": "qwen3", "qwen3moe": "qwen3_moe",
}  # fmt: skip
"""The family of each `general.architecture` that is read; mistral and mixtral files say `llama`."""

_COMPUTE = "float16"
_ACTIVATIONS = {
    "bert": "gelu", "falcon": "gelu", "gpt2": "gelu_new", "phi": "gelu_new",
    "gemma": "gelu_pytorch_tanh", "gemma2": "gelu_pytorch_tanh", "gemma3_text": "gelu_pytorch_tanh",
}  # fmt: skip
_LLAMA4_CHUNK = 8192
_LLAMA4_PLAIN_EVERY = 4


def read_gguf_model(path: Path) -> Checkpoint:
    """The model in a GGUF file; its header is read, its data are not.

    Activations and caches are in half precision unless asked for otherwise, as llama.cpp has them.

    Raises: InvalidInputError: the file is damaged, holds an architecture that is not supported, or no model at all.
    """
    file = read_gguf(path)
    family = _family(file)
    if not file.tensors:
        raise InvalidInputError(f"{path}: holds a vocabulary and no tensors; name the file of a whole model")
    names = _names(file, family)
    arch = _architecture(file, family, names)
    stored = _stored(file, arch, names)
    lacking(arch, names, stored, file.source)
    used = {name for name, _ in weights(arch, names).shapes()}
    beside = {tensor.name: tensor.bytes for tensor in file.tensors.values() if tensor.name not in used}
    return Checkpoint(file.source, arch, names, stored, beside)


def _family(file: GgufFile) -> str:
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str):
        raise InvalidInputError(f"{file.source}: its metadata lack 'general.architecture'")
    if name not in FAMILIES:
        guess = nearest(name, FAMILIES)
        hint = f" (did you mean '{guess}'?)" if guess else ""
        raise InvalidInputError(
            f"{file.source}: the architecture '{one_line(name[:40])}' is not supported{hint}; supported: "
            f"{', '.join(sorted(FAMILIES))}; docs/frontends.md says how to add one"
        )
    return FAMILIES[name]


def _names(file: GgufFile, family: str) -> Names:
    """The names of this file: fused or split queries, keys and values; one matrix or two of a latent attention."""
    has, names = file.tensors, GGUF
    if "blk.0.attn_qkv.weight" in has:
        names = replace(names, qkv=("attn_qkv",))
    if "blk.0.attn_k_b.weight" in has:
        names = replace(names, latent=replace(names.latent, kv_b=("attn_k_b", "attn_v_b")))
    if family == "falcon":
        names = replace(names, two_norms=("attn_norm_2", "attn_norm"))
    if family == "bert":
        names = replace(names, attention_norm="attn_output_norm", mlp_norm="layer_output_norm", pooler="")
    if not any(name.endswith(".ffn_gate.weight") for name in has):
        names = replace(names, mlp=replace(names.mlp, gate=""))
    return names


def _architecture(file: GgufFile, family: str, names: Names) -> Architecture:
    fields = Metadata(file)
    has = file.tensors
    hidden, n_heads = fields.count("embedding_length"), fields.count_of_all("attention.head_count")
    n_layers = fields.count("block_count") - fields.count("nextn_predict_layers", 0)
    head_dim = fields.count("attention.key_length", hidden // n_heads or 1)
    kv_heads = fields.count_of_all("attention.head_count_kv", n_heads)
    rows = _rows(file, names.tokens)
    latent = _latent(fields, head_dim) if "attention.kv_lora_rank" in fields else None
    arch = Architecture(
        name=Path(file.source).name.removesuffix(".gguf"),
        family=family,
        dtype=_COMPUTE,
        hidden=hidden,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads if latent else kv_heads,
        head_dim=latent.key if latent else head_dim,
        ffn=fields.count_of_all("feed_forward_length", 4 * hidden),
        vocab=rows,
        max_positions=_rows(file, names.positions) if names.positions in has else fields.count("context_length", 2048),
        embedding_width=hidden,
        activation=_ACTIVATIONS.get(family, "silu"),
        tied=f"{names.head}.weight" not in has,
        block=_block(file, family),
        mlp_norm="blk.0.ffn_norm.weight" in has or "blk.0.attn_norm_2.weight" in has or family == "bert",
        final_norm=f"{names.final_norm}.weight" in has,
        qkv_bias=f"blk.0.{names.qkv[0]}.bias" in has,
        out_bias="blk.0.attn_output.bias" in has,
        mlp_bias="blk.0.ffn_up.bias" in has,
        head_bias=f"{names.head}.bias" in has,
        qk_norm="blk.0.attn_q_norm.weight" in has or family == "llama4_text",
        rotary_dims=0 if names.positions in has else _rotary(fields, latent, head_dim),
        token_types=_rows(file, names.token_types) if names.token_types in has else 0,
        latent=latent,
        score_cap=fields.number("attn_logit_softcapping"),
    )
    return _with_layers(replace(arch, experts=_experts(fields, file, n_layers)), fields)


def _rotary(fields: Metadata, latent: Latent | None, head_dim: int) -> int:
    return latent.rotary if latent else min(fields.count("rope.dimension_count", head_dim), head_dim) // 2 * 2


def _block(file: GgufFile, family: str) -> Block:
    if family == "bert":
        return Block.POST_NORM
    if family in LAYER_NORM and "blk.0.ffn_norm.weight" not in file.tensors:
        return Block.PARALLEL
    return Block.SANDWICH if family in ("gemma2", "gemma3_text") else Block.SEQUENTIAL


def _latent(fields: Metadata, head_dim: int) -> Latent:
    """Newer files give the extents of a head under `_mla`, and those of the cache without."""
    rotary = fields.count("rope.dimension_count")
    key = fields.count("attention.key_length_mla", head_dim)
    if key <= rotary:
        raise InvalidInputError(f"{fields.source}: heads of {key} dimensions, of which {rotary} rotate; it is damaged")
    return Latent(
        query_rank=fields.count("attention.q_lora_rank", 0),
        kv_rank=fields.count("attention.kv_lora_rank"),
        plain=key - rotary,
        rotary=rotary,
        value=fields.count("attention.value_length_mla", fields.count("attention.value_length", key)),
    )


def _experts(fields: Metadata, file: GgufFile, n_layers: int) -> Experts | None:
    """The layers with experts are those that have a router in the file."""
    n = fields.count("expert_count", 0)
    layers = frozenset(layer for layer in range(n_layers) if f"blk.{layer}.ffn_gate_inp.weight" in file.tensors)
    if not n or not layers:
        return None
    first = min(layers)
    inner = file.tensors.get(f"blk.{first}.ffn_up_exps.weight")
    shared = file.tensors.get(f"blk.{first}.ffn_up_shexp.weight")
    ffn = inner.shape[-2] if inner and len(inner.shape) == 3 else fields.count("expert_feed_forward_length")
    return Experts(
        n=n,
        per_token=fields.count("expert_used_count"),
        ffn=ffn,
        layers=layers,
        shared=shared.shape[0] if shared and len(shared.shape) == 2 else 0,
        shared_gate=f"blk.{first}.ffn_gate_inp_shexp.weight" in file.tensors,
        corrected=f"blk.{first}.exp_probs_b.bias" in file.tensors,
    )


def _with_layers(arch: Architecture, fields: Metadata) -> Architecture:
    """Windows by layer, which most files do not spell out: llama.cpp knows the pattern of each architecture."""
    layers = range(arch.n_layers)
    if arch.family == "llama4_text":
        plain = frozenset(layer for layer in layers if (layer + 1) % _LLAMA4_PLAIN_EVERY == 0)
        return replace(arch, sliding_window=_LLAMA4_CHUNK, chunked=True, full_layers=plain, plain_layers=plain)
    period = {"gemma2": 2, "gemma3_text": 6}.get(arch.family)
    window = fields.count("attention.sliding_window", 4096 if arch.family == "gemma2" else 0)
    if not window or (period is None and arch.family.startswith("qwen")):
        return arch
    if period is None:
        return replace(arch, sliding_window=window)
    full = frozenset(layer for layer in layers if (layer + 1) % period == 0)
    return replace(arch, sliding_window=window, full_layers=full)


def _rows(file: GgufFile, name: str) -> int:
    tensor = file.tensors.get(name)
    if tensor is None or len(tensor.shape) != 2:
        raise InvalidInputError(f"{file.source}: lacks the table '{name}'")
    return tensor.shape[0]


def _stored(file: GgufFile, arch: Architecture, names: Names) -> Mapping[str, Stored]:
    stored: dict[str, Stored] = {}
    for name, shape in weights(arch, names).shapes():
        tensor = file.tensors.get(name)
        if tensor is None:
            continue
        if _squeezed(tensor.shape) != _squeezed(shape):
            raise InvalidInputError(_other_shape(file, tensor, shape))
        stored[name] = Stored(tensor.type.name, tensor.bytes)
    return stored


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)


def _other_shape(file: GgufFile, tensor: FileTensor, shape: tuple[int, ...]) -> str:
    return (
        f"{file.source}: tensor '{tensor.name}' is {list(tensor.shape)}, {prod(tensor.shape):,} elements, "
        f"where the metadata ask for {list(shape)}"
    )
