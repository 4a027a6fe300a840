"""Attention, rotary embeddings and caches of models.

Attention is lowered to its two-pass form with the division at the end, which does the arithmetic that a fused kernel
does. Rank variables: b sequences, h key-value heads, g query heads of each, p queries, m keys, e head dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_text import cascade, reads, whole, writes
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.ir.graph import Op, Tensor

_QUERY = "b, p, h*G*E + g*E + e"
_SCORE = "b, h, g, p, m"


def _ranks(op: Op) -> dict[str, int]:
    heads, kv_heads = whole(op, "heads"), whole(op, "kv_heads")
    return {
        "B": whole(op, "batch"), "H": kv_heads, "G": heads // kv_heads, "P": whole(op, "queries"),
        "M": whole(op, "keys"), "E": whole(op, "head_dim"),
    }  # fmt: skip


def _keys(tensor: Tensor) -> tuple[str, str]:
    """Declaration and index of keys or values: in a cache, or as they were projected."""
    return ("[B, H, M, E]", "[b, h, m, e]") if len(tensor.shape) == 4 else ("[B, M, H*E]", "[b, m, h*E + e]")


def _mask(op: Op) -> str:
    """Filters on the keys that a query sees: those up to its own position, and of these the nearest."""
    if not op.attributes["causal"] or whole(op, "queries") == 1:
        return ""
    window = op.attributes["window"]
    if op.attributes.get("chunked") and isinstance(window, int) and window < whole(op, "keys"):
        raise NoLoweringError("attention within chunks")
    near = f", m + {window} > p + (M - P)" if isinstance(window, int) and window < whole(op, "keys") else ""
    return f" if m <= p + (M - P){near}"


def _scale(op: Op) -> str:
    """1 / sqrt E as a number, so that it is not computed at every point."""
    return repr(whole(op, "head_dim") ** -0.5)


def _scores(op: Op) -> str:
    """Scaled scores, softly bounded by a cap; ALiBi adds to each its distance times a slope per head."""
    bias = ""
    if op.attributes["alibi"]:
        bias = " + 2 ** ((h*G + g + 1) * (-8) / (H*G)) * (m - p - (M - P))"
    scaled, cap = f"QK[{_SCORE}] * {_scale(op)}", op.attributes.get("cap")
    if cap is not None:
        scaled = f"{cap!r} * tanh({scaled} * {1 / cast('float', cap)!r})"
    return f"S[{_SCORE}] = {scaled}{bias}{_mask(op)}"


def lower_attention(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """softmax(Q K / sqrt E) V, and the log-sum-exp of each row where it is kept.

    Source: FuseMax (MICRO 2024), the stable cascade with deferred division. ALiBi: Press et al., 2022.
    """
    _, k, v = reads(op, tensors)
    (k_dims, k_at), (v_dims, v_at) = _keys(k), _keys(v)
    keeps = len(op.writes) == 2
    body = f"""input Q[B, P, H*G*E], KEY{k_dims}, VAL{v_dims}
tensor S[B, H, G, P, M] empty -inf
output AV{", L" if keeps else ""}
QK[{_SCORE}] = Q[{_QUERY}] * KEY{k_at}
{_scores(op)}
GM[b, h, g, p] = max[m] S[{_SCORE}]
SN[{_SCORE}] = exp(S[{_SCORE}] - GM[b, h, g, p])
SD[b, h, g, p] = SN[{_SCORE}]
SNV[b, h, g, p, e] = SN[{_SCORE}] * VAL{v_at}
AV[{_QUERY}] = SNV[b, h, g, p, e] / SD[b, h, g, p]
"""
    if keeps:
        body += "L[b, h*G + g, p] = log(SD[b, h, g, p]) + GM[b, h, g, p]"
    return cascade("attention", _ranks(op), body)


def lower_attention_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradients of queries, keys and values; the scores are computed again.

    Source: Dao, FlashAttention-2, 2023, section 2.2 and algorithm 2.
    """
    if op.attributes.get("cap") is not None:
        raise NoLoweringError("the gradient of capped scores")
    _, _, k, v, *_ = reads(op, tensors)
    (k_dims, k_at), (v_dims, v_at) = _keys(k), _keys(v)
    body = f"""input DO[B, P, H*G*E], Q[B, P, H*G*E], KEY{k_dims}, VAL{v_dims}, AV[B, P, H*G*E], L[B, H*G, P]
tensor S[B, H, G, P, M] empty -inf
output DQ, DKEY, DVAL
QK[{_SCORE}] = Q[{_QUERY}] * KEY{k_at}
{_scores(op)}
SM[{_SCORE}] = exp(S[{_SCORE}] - L[b, h*G + g, p])
DVAL{v_at} = SM[{_SCORE}] * DO[{_QUERY}]
DSM[{_SCORE}] = DO[{_QUERY}] * VAL{v_at}
DELTA[b, h, g, p] = DO[{_QUERY}] * AV[{_QUERY}]
DS[{_SCORE}] = SM[{_SCORE}] * (DSM[{_SCORE}] - DELTA[b, h, g, p]) * {_scale(op)}
DQ[{_QUERY}] = DS[{_SCORE}] * KEY{k_at}
DKEY{k_at} = DS[{_SCORE}] * Q[{_QUERY}]"""
    return cascade("attention_grad", _ranks(op), body)


def lower_rotary(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Rotate pairs (i, i + half) of each head by the position; `First` is the position of the first token.

    Source: Su et al., RoFormer, 2021, equation 34.
    Assumes: base 10000, and halves as pairs; a graph holds neither.
    """
    return _rotated(op, tensors, "rotary", 1)


def lower_rotary_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Rotate the gradients back."""
    return _rotated(op, tensors, "rotary_grad", -1)


def _rotated(op: Op, tensors: Mapping[str, Tensor], name: str, sign: int) -> Cascade:
    q, k = reads(op, tensors)
    heads, dims = {"q": whole(op, "heads"), "k": whole(op, "kv_heads")}, whole(op, "dims")
    batch, tokens, _ = q.shape
    sizes = {"Q": q.shape[-1] // heads["q"], "K": k.shape[-1] // heads["k"]}
    partly = {size for size in sizes.values() if size != dims}
    if len(partly) > 1 or k.shape[-1] != heads["k"] * sizes["K"]:
        raise NoLoweringError(f"queries and keys of {sizes['Q']} and {sizes['K']} dimensions per head")
    ranks = {"B": batch, "T": tokens, "HQ": heads["q"], "HK": heads["k"]}
    ranks |= {"D": partly.pop()} if partly else {}
    ranks |= {"S": 2, "I": dims // 2}
    stride = {x: "S*I" if size == dims else "D" for x, size in sizes.items()}
    lines = [
        f"input Q[B, T, HQ*{stride['Q']}], K[B, T, HK*{stride['K']}], First",
        "output RQ, RK",
        f"Angle[t, i] = (First + t) * 10000.0 ** (i * (-2) / {dims})",
        "Cos[t, i] = cos(Angle[t, i])",
        f"Sin[t, s, i] = (s*2 - 1) * {sign} * sin(Angle[t, i])",
    ]
    for x, h in (("Q", "hq"), ("K", "hk")):
        own, other = f"b, t, {h}*{stride[x]} + s*I + i", f"b, t, {h}*{stride[x]} + I - s*I + i"
        turned = f"{x}[{own}] * Cos[t, i] + {x}[{other}] * Sin[t, s, i]"
        if dims == sizes[x]:
            lines.append(f"R{x}[{own}] = {turned}")
        else:
            lines += [
                f"T{x}[b, t, {h}, s*I + i] = {turned}",
                f"R{x}[b, t, {h}*D + d] = where(d < 2*I, T{x}[b, t, {h}, d | 0], {x}[b, t, {h}*D + d])",
            ]
    return cascade(name, ranks, "\n".join(lines))


def lower_cache_append(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Write the last tokens into the last rows of the caches; the other rows stay what they are."""
    k, _ = reads(op, tensors)
    cache = writes(op, tensors)[0]
    batch, heads, rows, size = cache.shape
    ranks = {"B": batch, "H": heads, "C": rows, "E": size, "T": k.shape[1], "N": whole(op, "rows") // batch}
    body = """input K[B, T, H*E], V[B, T, H*E]
tensor KC[B, H, C, E], VC[B, H, C, E]
output KC, VC
KC[b, h, n + C - N, e] = K[b, n + T - N, h*E + e]
VC[b, h, n + C - N, e] = V[b, n + T - N, h*E + e]"""
    return cascade("cache_append", ranks, body)
