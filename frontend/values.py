"""Values of a configuration that several families read in the same way."""

from collections.abc import Callable
from typing import cast

from tierplan.frontend.architecture import VECTOR_OPS
from tierplan.frontend.fields import Fields
from tierplan.ir.dtypes import dtype_name
from tierplan.ir.errors import InvalidInputError, TierplanError, unknown_name

_DEFAULT_DTYPE = "bfloat16"


def dtype(fields: Fields) -> str:
    """The element type of the checkpoint, by its old name or its new one; bfloat16 where neither is there."""
    name = fields.found("torch_dtype", "dtype")
    text = fields.string("torch_dtype", "dtype")
    if name is None or text is None:
        return _DEFAULT_DTYPE
    try:
        return dtype_name(text)
    except TierplanError as error:
        fields.fail(name, f"is not a dtype: {error}")


def activation(fields: Fields, name: str, default: str) -> str:
    """The activation function under `name`."""
    text = fields.string(name) or default
    if text not in VECTOR_OPS:
        fields.fail(name, f"is not supported: {unknown_name('activation function', text, VECTOR_OPS)}")
    return text


def head_dim(fields: Fields, hidden: int, n_heads: int) -> int:
    """The share of each head, where the heads divide the hidden size."""
    if hidden % n_heads:
        raise InvalidInputError(
            f"{fields.place}: the hidden size {hidden} is not a multiple of the {n_heads} attention heads"
        )
    return hidden // n_heads


def kv_heads(fields: Fields, name: str, n_heads: int, default: int) -> int:
    """The number of key-value heads; null means one for each query head."""
    fields.asked.add(name)
    if name in fields.values and fields.values[name] is None:
        return n_heads
    count = fields.count(name, default=default)
    if n_heads % count:
        fields.fail(name, f"is {count}; it must divide the {n_heads} attention heads")
    return count


def rotary_dims(fields: Fields, head_dim: int, default: float) -> int:
    """The rotating dimensions of a head; newer files keep the share under `rope_parameters`."""
    fields.asked.add("rope_parameters")
    rope = fields.values.get("rope_parameters")
    share = fields.fraction("partial_rotary_factor", default)
    if isinstance(rope, dict) and "partial_rotary_factor" in rope:
        nested = fields.inner("rope_parameters")
        share = nested.fraction("partial_rotary_factor", share)
    dims = int(head_dim * share)
    if dims % 2:
        raise InvalidInputError(f"{fields.place}: {dims} rotary dimensions per head; the number must be even")
    return dims


def window(fields: Fields, default: int | None) -> int | None:
    """The length of the sliding window; null means none, and no field means `default`."""
    fields.asked.add("sliding_window")
    if "sliding_window" in fields.values:
        return fields.optional_count("sliding_window")
    return default


def full_layers(fields: Fields, n_layers: int, is_full: Callable[[int], bool]) -> frozenset[int]:
    """Layers whose tokens attend to all others: those that `layer_types` lists, or by the rule of the family."""
    listed = fields.listed("layer_types")
    if listed is None:
        return frozenset(layer for layer in range(n_layers) if is_full(layer))
    if len(listed) < n_layers:
        fields.fail("layer_types", f"has {len(listed)} entries for {n_layers} layers")
    for kind in listed:
        if kind not in ("full_attention", "sliding_attention", "chunked_attention"):
            fields.fail("layer_types", f"has {str(kind)[:40]!r}; supported: full_attention, sliding_attention")
    return frozenset(layer for layer in range(n_layers) if listed[layer] == "full_attention")


def layer_list(fields: Fields, name: str) -> frozenset[int] | None:
    """A list of indices of layers, or None where the file has none."""
    listed = fields.listed(name)
    if listed is None:
        return None
    for entry in listed:
        if isinstance(entry, bool) or not isinstance(entry, int) or not 0 <= entry < 10**4:
            fields.fail(name, f"has {str(entry)[:40]!r}; write indices of layers")
    return frozenset(cast("list[int]", listed))


def experts_per_token(fields: Fields, n_experts: int, default: int | None = None) -> int:
    """How many experts a token uses."""
    per_token = fields.count("num_experts_per_tok", default=default)
    if per_token > n_experts:
        fields.fail("num_experts_per_tok", f"is {per_token}, but there are only {n_experts} experts")
    return per_token
