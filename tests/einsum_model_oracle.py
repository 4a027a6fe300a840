"""What each kind of model operation computes, in plain jax.numpy, written without the package's lowerings.

`FORWARD[kind](op, shapes, *reads)` returns what the operation writes; `shapes` are those of its writes. `First` and
`Step`, which a graph does not hold, are FIRST and STEP.
"""

import jax
import jax.numpy as jnp
import numpy as np

FIRST, STEP = 2, 3
ACTIVATIONS = {
    "relu": jax.nn.relu, "relu2": lambda x: jax.nn.relu(x) ** 2, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu, "swish": jax.nn.silu, "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False), "gelu_python": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": jax.nn.gelu, "gelu_fast": jax.nn.gelu, "gelu_pytorch_tanh": jax.nn.gelu,
}  # fmt: skip


def matmul(op, shapes, x, w, bias=None):
    rows = shapes[0][:-1]
    if x.ndim == 3 and len(rows) == 1:
        x = x[:, 0]
    elif x.ndim == 3 and rows != x.shape[:-1]:
        x = x[:, -1:]
    n, k = op.attributes["n"], op.attributes["k"]
    y = x @ (w.T if w.shape == (n, k) else w)
    y = y if bias is None else y + bias
    return jnp.split(y, np.cumsum([shape[-1] for shape in shapes])[:-1], axis=-1)


def rms_norm(op, shapes, x, *scale):
    width = op.attributes["width"]
    rows = x.reshape(*x.shape[:-1], -1, width)
    y = rows / jnp.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5)
    return [(y * scale[0] if scale else y).reshape(x.shape)]


def layer_norm(op, shapes, x, *affine):
    rows = x.reshape(*x.shape[:-1], -1, op.attributes["width"])
    y = (rows - rows.mean(-1, keepdims=True)) / jnp.sqrt(rows.var(-1, keepdims=True) + 1e-5)
    return [(y * affine[0] + affine[1] if affine else y).reshape(x.shape)]


def rotary(op, shapes, q, k):
    def turned(x, heads):
        x = x.reshape(*x.shape[:2], heads, -1)
        dims = op.attributes["dims"]
        angle = (FIRST + jnp.arange(x.shape[1]))[:, None] / 10000.0 ** (2 * jnp.arange(dims // 2) / dims)
        cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
        a, b, rest = x[..., : dims // 2], x[..., dims // 2 : dims], x[..., dims:]
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1).reshape(*x.shape[:2], -1)

    return [turned(q, op.attributes["heads"]), turned(k, op.attributes["kv_heads"])]


def attention(op, shapes, q, k, v):
    a = op.attributes
    batch, heads, groups = a["batch"], a["heads"], a["heads"] // a["kv_heads"]
    n, m, e = a["queries"], a["keys"], a["head_dim"]

    def keys(x):
        x = x if x.ndim == 4 else x.reshape(batch, m, a["kv_heads"], e).transpose(0, 2, 1, 3)
        return jnp.repeat(x, groups, axis=1)

    scores = jnp.einsum("bphe,bhme->bhpm", q.reshape(batch, n, heads, e), keys(k)) / np.sqrt(e)
    place, key = np.arange(m - n, m)[:, None], np.arange(m)
    if a["alibi"]:
        scores = scores + (2.0 ** (-8 * np.arange(1, heads + 1) / heads))[:, None, None] * (key - place)
    if a["causal"] and n > 1:
        seen = key <= place
        if a["window"] is not None:
            seen &= key > place - a["window"]
        scores = jnp.where(seen, scores, -jnp.inf)
    mixed = jnp.einsum("bhpm,bhme->bphe", jax.nn.softmax(scores, axis=-1), keys(v)).reshape(batch, n, -1)
    return [mixed, jax.scipy.special.logsumexp(scores, axis=-1)][: len(shapes)]


def activation(op, shapes, x, *up):
    y = ACTIVATIONS[op.attributes["function"]](x)
    return [y * up[0] if up else y]


def add_positions(op, shapes, x, positions, *types):
    y = x + positions[FIRST : FIRST + x.shape[1]]
    return [y + types[0][0] if types else y]


def top_k(op, shapes, logits):
    best, chosen = jax.lax.top_k(jax.nn.softmax(logits, axis=-1), op.attributes["per_token"])
    return [best / best.sum(-1, keepdims=True), chosen]


def sent(chosen, rows):
    """For each expert a matrix of ones, [row of its buffer, token], for the tokens that fit, in their order."""
    flat, found = np.asarray(chosen).reshape(-1, chosen.shape[-1]), []
    for expert, n in enumerate(rows):
        matrix = np.zeros((n, len(flat)))
        for row, token in enumerate([t for t, experts in enumerate(flat) if expert in experts][:n]):
            matrix[row, token] = 1
        found.append(matrix)
    return found


def dispatch(op, shapes, x, chosen):
    return [matrix @ x.reshape(-1, x.shape[-1]) for matrix in sent(chosen, [shape[0] for shape in shapes])]


def combine(op, shapes, *reads):
    *buffers, routing, chosen = reads
    gates, experts, y = routing.reshape(-1, routing.shape[-1]), np.asarray(chosen).reshape(-1, routing.shape[-1]), 0
    for expert, matrix in enumerate(sent(chosen, [buffer.shape[0] for buffer in buffers])):
        gate = (gates * (experts == expert)).sum(1, keepdims=True)
        y = y + gate * (matrix.T @ buffers[expert])
    return [y.reshape(shapes[0])]


def cross_entropy(op, shapes, logits, labels):
    lse = jax.scipy.special.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return [(lse - picked).mean(), lse]


def loss(op, shapes, *outputs):
    return [sum((x**2).sum() for x in outputs) / sum(x.size for x in outputs)]


FORWARD = {
    "matmul": matmul, "rms_norm": rms_norm, "layer_norm": layer_norm, "rotary": rotary, "attention": attention,
    "embedding": lambda op, shapes, ids, table: [table[ids]], "add_positions": add_positions,
    "add": lambda op, shapes, *terms: [sum(terms)], "top_k": top_k, "dispatch": dispatch, "combine": combine,
    "cross_entropy": cross_entropy, "loss": loss,
    **{f"{kind}{gate}": activation for kind in ("relu", "relu2", "tanh", "sigmoid", "silu", "gelu")
       for gate in ("", "_mul")},
}  # fmt: skip


def adamw(reads):
    """The new moments and weight of one step, in numpy, from the textbook."""
    g, m, v, w = (np.asarray(x, np.float64) for x in reads[:4])
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    w = w - 0.001 * (m / (1 - 0.9**STEP) / (np.sqrt(v / (1 - 0.999**STEP)) + 1e-8) + 0.01 * w)
    return [m, v, w]
