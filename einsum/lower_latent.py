"""Latent attention, absorbed and expanded, and its cache.

Rank variables: b sequences, h heads, p queries, m keys, r compressed row, o rotary and n other dimensions of a key,
v dimensions of a value. In queries and keys of a head the rotary dimensions stand first.
Source: DeepSeek-V2, 2024, section 2.1.2 and appendix C; the softmax as in `lower_attention`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_text import cascade, reads, whole, writes
from tierplan.ir.graph import Op, Tensor

_SCORE = "b, h, p, m"


def _ranks(op: Op, used: str) -> dict[str, int]:
    rank, plain, rotary, value = (whole(op, name) for name in ("kv_rank", "plain", "rotary", "value"))
    extents = {
        "B": whole(op, "batch"), "H": whole(op, "heads"), "P": whole(op, "queries"), "M": whole(op, "keys"),
        "R": rank, "O": rotary, "N": plain, "V": value, "D": plain + rotary, "X": rank + rotary, "Y": plain + value,
    }  # fmt: skip
    return {rank: extents[rank] for rank in used}


def _softmax(op: Op, value: str, rank: str) -> str:
    """The attention's result AV out of scores in two parts; `value` is what it mixes, along `rank`."""
    mask = " if m <= p + (M - P)" if whole(op, "queries") > 1 else ""
    scale = repr((whole(op, "plain") + whole(op, "rotary")) ** -0.5)
    low = rank.lower()
    return f"""S[{_SCORE}] = (SP[{_SCORE}] + SR[{_SCORE}]) * {scale}{mask}
GM[b, h, p] = max[m] S[{_SCORE}]
SN[{_SCORE}] = exp(S[{_SCORE}] - GM[b, h, p])
SD[b, h, p] = SN[{_SCORE}]
SNV[b, h, p, {low}] = SN[{_SCORE}] * {value}
AV[b, p, h*{rank} + {low}] = SNV[b, h, p, {low}] / SD[b, h, p]
"""


def lower_latent_attention(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """All heads attend over the compressed rows, which are keys and values at once."""
    body = f"""input A[B, P, H*R], Q[B, P, H*D], C[B, M, X]
tensor S[B, H, P, M] empty -inf
output AV
SP[{_SCORE}] = A[b, p, h*R + r] * C[b, m, r]
SR[{_SCORE}] = Q[b, p, h*D + o] * C[b, m, o + {whole(op, "kv_rank")}]
{_softmax(op, "C[b, m, r]", "R")}"""
    return cascade("latent_attention", _ranks(op, "BHPMRODX"), body)


def lower_expanded_attention(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Each head attends over keys and values of its own; the rotary part of the keys is shared."""
    rotary, plain = whole(op, "rotary"), whole(op, "plain")
    keeps = len(op.writes) == 2
    body = f"""input Q[B, P, H*D], KV[B, M, H*Y], KR[B, M, O]
tensor S[B, H, P, M] empty -inf
output AV{", L" if keeps else ""}
SP[{_SCORE}] = Q[b, p, h*D + n + {rotary}] * KV[b, m, h*Y + n]
SR[{_SCORE}] = Q[b, p, h*D + o] * KR[b, m, o]
{_softmax(op, f"KV[b, m, h*Y + v + {plain}]", "V")}"""
    if keeps:
        body += "L[b, h, p] = log(SD[b, h, p]) + GM[b, h, p]"
    return cascade("expanded_attention", _ranks(op, "BHPMONVDY"), body)


def lower_head_matmul(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Each head times its own matrix: its part of the one for keys and values, or one of a stack."""
    x, matrix = reads(op, tensors)
    keys = op.name.endswith(".keys")
    heads, n, k = whole(op, "heads"), whole(op, "n"), whole(op, "k")
    width, skipped = x.shape[-1] // heads, x.shape[-1] // heads - k
    ranks = {"B": x.shape[0], "T": x.shape[1], "H": heads, "N": n, "K": k, "D": width}
    if len(matrix.shape) == 3:
        dims, at = ("[H, N, K]", "[h, n, k]")
    else:
        ranks["Y"] = each = matrix.shape[0] // heads
        dims, at = ("[H*Y, N]", "[h*Y + k, n]") if keys else ("[H*Y, K]", f"[h*Y + n + {each - n}, k]")
    body = f"""input X[B, T, H*D], W{dims}
Y[b, t, h*N + n] = X[b, t, h*D + k{f" + {skipped}" if skipped else ""}] * W{at}"""
    return cascade("head_matmul", ranks, body)


def lower_latent_append(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Write the last tokens into the last rows of the cache; the other rows stay what they are."""
    row, key = reads(op, tensors)
    (cache,) = writes(op, tensors)
    batch, kept, width = cache.shape
    ranks = {"B": batch, "C": kept, "X": width, "T": row.shape[1], "N": whole(op, "rows") // batch,
             "R": row.shape[2], "O": key.shape[2]}  # fmt: skip
    body = """input ROW[B, T, R], KEY[B, T, O]
tensor CACHE[B, C, X]
output CACHE
CACHE[b, n + C - N, x] = where(x < R, ROW[b, n + T - N, x | 0], KEY[b, n + T - N, x - R | 0])"""
    return cascade("latent_append", ranks, body)
