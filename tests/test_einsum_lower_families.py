"""Operations of the recent families: their cascades, executed, against plain numpy."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from einsum_model_oracle import FIRST

from tierplan.einsum.execute import execute
from tierplan.einsum.lower import lower_graph, lower_op
from tierplan.frontend.config import read_config
from tierplan.frontend.program import model_graph
from tierplan.ir.graph import Graph, Op, TensorKind

_BASE = {"hidden_size": 12, "intermediate_size": 10, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 11,
         "num_key_value_heads": 1, "head_dim": 4}  # fmt: skip
_EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 5}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2_moe": _BASE | _EXPERTS | {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 7},
    "gemma2": _BASE | {"model_type": "gemma2", "sliding_window": 3, "attn_logit_softcapping": 5.0},
    "deepseek_v3": {key: value for key, value in _BASE.items() if key != "head_dim"} | {
        "model_type": "deepseek_v3", "q_lora_rank": 6, "kv_lora_rank": 5, "qk_nope_head_dim": 3, "qk_rope_head_dim": 2,
        "v_head_dim": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1,
        "moe_intermediate_size": 5, "first_k_dense_replace": 0},
    "llama4_text": _BASE | {"model_type": "llama4_text", "intermediate_size_mlp": 9, "num_local_experts": 3},
    "t5": {"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 6, "num_layers": 1, "num_heads": 2, "vocab_size": 11,
           "feed_forward_proj": "gated-gelu"},
    "whisper": {"model_type": "whisper", "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 11,
                "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 6, "decoder_ffn_dim": 6,
                "num_mel_bins": 3, "max_source_positions": 5, "max_target_positions": 9},
    "vit": {"model_type": "vit", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,
            "intermediate_size": 6, "image_size": 4, "patch_size": 2},
}  # fmt: skip


def graph_of(family: str, phase: str) -> Graph:
    context = None if family == "vit" else 7
    arch = read_config(json.dumps(CONFIGS[family]), "x")
    return model_graph(arch, phase=phase, batch=2, context=context, dtype="float64")


def softmax(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def _seen(op: Op) -> np.ndarray:
    n, m = op.attributes["queries"], op.attributes["keys"]
    if not op.attributes["causal"]:
        return np.ones((n, m), bool)
    return np.arange(m) <= np.arange(m - n, m)[:, None] if n > 1 else np.ones((n, m), bool)


def _mixed(op: Op, scores: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    scale = (op.attributes["plain"] + op.attributes["rotary"]) ** -0.5
    shares = softmax(np.where(_seen(op), scores * scale, -np.inf))
    mixed = np.einsum("bhpm,bmhv->bphv", shares, values)
    return [mixed.reshape(*mixed.shape[:2], -1)]


def latent_attention(op: Op, shapes: Any, absorbed: Any, q: Any, cache: Any) -> list[np.ndarray]:
    h, r, o = (op.attributes[name] for name in ("heads", "kv_rank", "rotary"))
    scores = np.einsum("bphr,bmr->bhpm", absorbed.reshape(*absorbed.shape[:2], h, r), cache[..., :r])
    scores += np.einsum("bpho,bmo->bhpm", q.reshape(*q.shape[:2], h, -1)[..., :o], cache[..., r:])
    return _mixed(op, scores, np.repeat(cache[:, :, None, :r], h, axis=2))


def expanded_attention(op: Op, shapes: Any, q: Any, kv: Any, key: Any) -> list[np.ndarray]:
    h, o, n = (op.attributes[name] for name in ("heads", "rotary", "plain"))
    q, kv = q.reshape(*q.shape[:2], h, -1), kv.reshape(*kv.shape[:2], h, -1)
    scores = np.einsum("bphn,bmhn->bhpm", q[..., o:], kv[..., :n]) + np.einsum("bpho,bmo->bhpm", q[..., :o], key)
    return _mixed(op, scores, kv[..., n:])


def head_matmul(op: Op, shapes: Any, x: Any, w: Any) -> list[np.ndarray]:
    h, n, k = (op.attributes[name] for name in ("heads", "n", "k"))
    own = w.reshape(h, -1, w.shape[-1])
    own = own[:, :k].transpose(0, 2, 1) if op.name.endswith(".keys") else own[:, -n:]
    y = np.einsum("bthk,hnk->bthn", x.reshape(*x.shape[:2], h, -1)[..., -k:], own)
    return [y.reshape(shapes[0])]


def latent_append(op: Op, shapes: Any, row: Any, key: Any) -> list[np.ndarray]:
    n, cache = op.attributes["rows"] // shapes[0][0], np.zeros(shapes[0])
    cache[:, -n:] = np.concatenate([row, key], -1)[:, -n:]
    return [cache]


def expert_matmul(op: Op, shapes: Any, x: Any, chosen: Any, w: Any) -> list[np.ndarray]:
    w = w if w.shape[1:] == (op.attributes["n"], op.attributes["k"]) else w.transpose(0, 2, 1)
    x = x if x.ndim == 4 else np.repeat(x[:, :, None], chosen.shape[-1], axis=2)
    return [np.einsum("btjk,btjnk->btjn", x, w[chosen])]


def gated_halves(op: Op, shapes: Any, x: Any) -> list[np.ndarray]:
    gate, up = np.split(x, 2, axis=-1)
    return [gate / (1 + np.exp(-gate)) * up]


def conv1d(op: Op, shapes: Any, x: Any, w: Any, bias: Any) -> list[np.ndarray]:
    padded, stride = np.pad(x, ((0, 0), (1, 1), (0, 0))), x.shape[1] // shapes[0][1]
    steps = [padded[:, stride * t : stride * t + 3] for t in range(shapes[0][1])]
    return [np.stack([np.einsum("bsc,ncs->bn", step, w) for step in steps], 1) + bias]


def attention(op: Op, shapes: Any, q: Any, k: Any, v: Any) -> list[np.ndarray]:
    a = op.attributes
    heads, groups, cap = a["heads"], a["heads"] // a["kv_heads"], a["cap"]

    def keys(x: Any) -> Any:
        x = x if x.ndim == 4 else x.reshape(*x.shape[:2], a["kv_heads"], -1).transpose(0, 2, 1, 3)
        return np.repeat(x, groups, axis=1)

    scores = np.einsum("bphe,bhme->bhpm", q.reshape(*q.shape[:2], heads, -1), keys(k)) / a["head_dim"] ** 0.5
    n, m = a["queries"], a["keys"]
    distance = np.arange(m - n, m)[:, None] - np.arange(m)
    seen = _seen(op) & (distance < (a["window"] or m)) if n > 1 else _seen(op)
    scores = scores if cap is None else cap * np.tanh(scores / cap)
    shares = softmax(np.where(seen, scores, -np.inf))
    return [np.einsum("bhpm,bhme->bphe", shares, keys(v)).reshape(*q.shape[:2], -1)]


def corrected_top_k(op: Op, shapes: Any, logits: Any, *correction: Any) -> list[np.ndarray]:
    share = softmax(logits)
    chosen = np.argsort(-(share + (correction[0] if correction else 0)), axis=-1)[..., : op.attributes["per_token"]]
    best = np.take_along_axis(share, chosen, -1)
    return [best / best.sum(-1, keepdims=True), chosen]


def rotary(op: Op, shapes: Any, q: Any, k: Any) -> list[np.ndarray]:
    def turned(x: Any, heads: int) -> Any:
        dims, y = op.attributes["dims"], x.reshape(*x.shape[:2], heads, -1)
        angle = (FIRST + np.arange(x.shape[1]))[:, None] / 10000.0 ** (2 * np.arange(dims // 2) / dims)
        turn = np.exp(1j * angle)[:, None] * (y[..., : dims // 2] + 1j * y[..., dims // 2 : dims])
        return np.concatenate([turn.real, turn.imag, y[..., dims:]], -1).reshape(x.shape)

    return [turned(q, op.attributes["heads"]), turned(k, op.attributes["kv_heads"])]


ORACLE = {
    "latent_attention": latent_attention, "expanded_attention": expanded_attention, "head_matmul": head_matmul,
    "latent_append": latent_append, "expert_matmul": expert_matmul, "gated_halves": gated_halves, "conv1d": conv1d,
    "attention": attention, "top_k": corrected_top_k, "rotary": rotary,
    "weighted_sum": lambda op, shapes, x, routing: [np.einsum("btjd,btj->btd", x, routing)],
    "gate_rows": lambda op, shapes, x, gate: [x / (1 + np.exp(-gate))],
    "prepend_and_add": lambda op, shapes, x, positions, first: [
        np.concatenate([np.repeat(first, len(x), axis=0), x], axis=1) + positions],
}  # fmt: skip


def filled(graph: Graph, op: Op, draw: np.random.Generator) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    for access in op.reads:
        tensor = graph.tensor(access.tensor)
        whole = tensor.dtype.startswith("int")
        arrays.append(draw.integers(0, 3, tensor.shape) if whole else draw.standard_normal(tensor.shape))
    return arrays


PHASES = [("deepseek_v3", "decode"), *((family, "prefill") for family in sorted(CONFIGS))]


@pytest.mark.parametrize(("family", "phase"), PHASES)
def test_every_new_operation_equals_its_formula(family: str, phase: str) -> None:
    graph, draw, checked = graph_of(family, phase), np.random.default_rng(3), set[tuple[object, ...]]()
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    for op in graph.ops:
        shapes = [tensors[access.tensor].shape for access in op.writes]
        key = (op.kind, op.name.rpartition(".")[2] if op.kind == "head_matmul" else "", len(op.reads), *shapes[:1])
        if op.kind not in ORACLE or key in checked:
            continue
        checked.add(key)
        cascade = lower_op(op, tensors)
        assert cascade is not None, op.name
        arrays = filled(graph, op, draw)
        inputs = dict(zip(cascade.inputs, arrays, strict=False))
        if "First" in cascade.inputs and "First" not in inputs:
            inputs["First"] = np.asarray(FIRST)
        made = execute(cascade, inputs)
        for name, wanted in zip(cascade.outputs, ORACLE[op.kind](op, shapes, *arrays), strict=True):
            np.testing.assert_allclose(np.asarray(made[name]), wanted, rtol=1e-9, atol=1e-10, err_msg=op.name)
    assert checked


@pytest.mark.parametrize(
    ("family", "kind", "attributes", "reason"),
    [
        ("t5", "biased_attention", {}, "'biased_attention' has no lowering"),
        ("vit", "matmul", {}, "a matrix of shape"),
        ("llama4_text", "attention", {"window": 3}, "attention within chunks"),
    ],
)
def test_what_has_no_cascade_says_why(family: str, kind: str, attributes: dict[str, Any], reason: str) -> None:
    graph = graph_of(family, "prefill")
    op = next(op for op in graph.ops if op.kind == kind)
    alone = replace(op, attributes={**op.attributes, **attributes})
    given = tuple(replace(tensor, kind=TensorKind.INPUT) for tensor in graph.tensors)
    (entry,) = lower_graph(Graph(graph.name, given, (alone,)))
    assert entry.reason.startswith(reason)
