"""A graph network, an optimizer's step, and a matrix product by a bilinear scheme."""

import jax
import jax.numpy as jnp
import numpy as np

from programs.layers import Array, Tree, cross_entropy, norm, shape


def gnn(p: Tree, nodes: Array, senders: Array, receivers: Array) -> Array:
    """Message passing over edges, eight rounds."""
    for layer in p["layers"]:
        message = jax.nn.relu(jnp.concatenate([nodes[senders], nodes[receivers]], axis=-1) @ layer["edge"])
        received = jax.ops.segment_sum(message, receivers, nodes.shape[0])
        nodes = norm(nodes + jax.nn.relu(received @ layer["node"]), layer["n"])
    return nodes @ p["head"]


def gnn_shapes(width: int = 512, rounds: int = 8) -> Tree:
    """Parameters of `gnn`."""
    layer = {"edge": shape(2 * width, width), "node": shape(width, width), "n": shape(width)}
    return {"layers": [dict(layer) for _ in range(rounds)], "head": shape(width, 47)}


def gnn_loss(p: Tree, nodes: Array, senders: Array, receivers: Array, labels: Array) -> Array:
    """Loss of `gnn` for a class per node."""
    return cross_entropy(gnn(p, nodes, senders, receivers).astype(jnp.float32), labels)


def adam(p: Tree, gradient: Tree, first: Tree, second: Tree) -> tuple[Tree, Tree, Tree]:
    """One step of Adam (Kingma and Ba 2014)."""
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    p = jax.tree.map(lambda w, m, v: w - 1e-3 * m / (jnp.sqrt(v) + 1e-8), p, first, second)
    return p, first, second


def _strassen() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The factors of Strassen's scheme, [7, 4], [7, 4] and [4, 7]: blocks row by row."""
    left = np.array(
        [[1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0], [-1, 0, 1, 0], [0, 1, 0, -1]]
    )
    right = np.array(
        [[1, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, -1], [-1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]]
    )
    out = np.array([[1, 0, 0, 1, -1, 0, 1], [0, 0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0, 0], [1, -1, 1, 0, 0, 1, 0]])
    return left, right, out


def _squared(factor: np.ndarray) -> np.ndarray:
    """Factors of the scheme applied to blocks of blocks; 4 x 4 blocks row by row."""
    rows, columns = factor.shape
    if columns == 4:
        twice = np.einsum("iab,jcd->ijacbd", factor.reshape(-1, 2, 2), factor.reshape(-1, 2, 2))
        return twice.reshape(rows * rows, 16)
    twice = np.einsum("abi,cdj->acbdij", factor.reshape(2, 2, -1), factor.reshape(2, 2, -1))
    return twice.reshape(16, columns * columns)


def bilinear(a: Array, b: Array) -> Array:
    """The product of two matrices by 49 products of 4 x 4 blocks, as found by search (Fawzi et al. 2022) or by hand."""
    left, right, out = (_squared(factor) for factor in _strassen())
    n = a.shape[0] // 4

    def blocks(x: Array) -> list[Array]:
        return [x[i * n : (i + 1) * n, j * n : (j + 1) * n] for i in range(4) for j in range(4)]

    def mixed(weights: np.ndarray, parts: list[Array]) -> Array:
        chosen = [(int(w), part) for w, part in zip(weights, parts, strict=True) if w]
        total = chosen[0][1] if chosen[0][0] > 0 else -chosen[0][1]
        for w, part in chosen[1:]:
            total = total + part if w > 0 else total - part
        return total

    products = [mixed(u, blocks(a)) @ mixed(v, blocks(b)) for u, v in zip(left, right, strict=True)]
    parts = [mixed(w, products) for w in out]
    return jnp.concatenate([jnp.concatenate(parts[4 * i : 4 * i + 4], axis=1) for i in range(4)], axis=0)
