"""Matrix multiplications of models, forward and backward.

Assumes: a square matrix is [outputs, inputs]; of a longer input, a result with one token per sequence takes the last
token, and one without a token axis the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_text import Rows, cascade, reads, rows, whole, writes
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.ir.graph import Op, Tensor


def lower_matmul(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """`Y[t, n] = X[t, k] * W[n, k] + Bias[n]`, or one of its two derivatives."""
    role = op.name.rpartition(".")[2]
    if role == "grad_weight":
        return _grad_weight(op, tensors)
    return _grad_input(op, tensors) if role == "grad_input" else _forward(op, tensors)


def _matrix(matrix: Tensor, n: int, k: int) -> tuple[str, str]:
    """Declaration and index of the matrix, with `{n}` for the place of the output."""
    if matrix.shape == (n, k):
        return "W[N, K]", "W[{n}, k]"
    if matrix.shape == (k, n):
        return "W[K, N]", "W[k, {n}]"
    raise NoLoweringError(f"a matrix of shape {matrix.shape} for {n} outputs and {k} inputs")


def _parts(widths: Sequence[int]) -> list[tuple[str, str]]:
    """The rank variable of each part of the outputs, and where it lies among all of them."""
    if len(widths) == 1:
        return [("n", "n")]
    starts = [sum(widths[:part]) for part in range(len(widths))]
    return [(f"n{part}", f"n{part} + {start}" if start else f"n{part}") for part, start in enumerate(starts)]


def _ranks(widths: Sequence[int], n: int, k: int) -> dict[str, int]:
    split = {f"N{part}": width for part, width in enumerate(widths)} if len(widths) > 1 else {}
    return {**split, "N": n, "K": k}


def _taken(narrow: tuple[int, ...], wide: tuple[int, ...]) -> tuple[Rows, str, str]:
    """Rows of the narrower tensor, the index of those in the wider one, and how that is declared."""
    if narrow == wide:
        found = rows(wide)
        return found, found.at, found.dims
    if len(wide) == 2 and narrow == (wide[0], 1):
        return Rows("B, O", "b, o", {"B": wide[0], "O": 1, "T": wide[1]}), "b, o + T - 1", "B, T"
    if len(wide) == 2 and narrow == wide[:1]:
        return Rows("B", "b", {"B": wide[0], "T": wide[1]}), "b, 0", "B, T"
    raise NoLoweringError(f"rows of shape {narrow} out of {wide}")


def _forward(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    x, matrix, *bias = reads(op, tensors)
    results = writes(op, tensors)
    n, k = whole(op, "n"), whole(op, "k")
    widths = [result.shape[-1] for result in results]
    taken, at, dims = _taken(results[0].shape[:-1], x.shape[:-1])
    declared, weight = _matrix(matrix, n, k)
    lines = [f"input X[{dims}, K], {declared}{', Bias[N]' if bias else ''}"]
    outputs: list[str] = []
    for part, (variable, place) in enumerate(_parts(widths)):
        name = f"Y{part}" if len(widths) > 1 else "Y"
        product = f"X[{at}, k] * {weight.format(n=place)}"
        if bias:
            lines += [
                f"P{name}[{taken.at}, {variable}] = {product}",
                f"{name}[{taken.at}, {variable}] = P{name}[{taken.at}, {variable}] + Bias[{place}]",
            ]
        else:
            lines.append(f"{name}[{taken.at}, {variable}] = {product}")
        outputs.append(name)
    lines.insert(1, f"output {', '.join(outputs)}")
    return cascade("matmul", {**taken.extents, **_ranks(widths, n, k)}, "\n".join(lines))


def _gradients(widths: Sequence[int], taken: Rows) -> tuple[str, list[str]]:
    """Declarations of the gradients, and how several are laid side by side."""
    if len(widths) == 1:
        return f"G[{taken.dims}, N]", []
    declared = ", ".join(f"G{part}[{taken.dims}, N{part}]" for part in range(len(widths)))
    laid = [
        f"  G[{taken.at}, {place}] = G{part}[{taken.at}, n{part}]" for part, (_, place) in enumerate(_parts(widths))
    ]
    return declared, [f"tensor G[{taken.dims}, N]", "init {", *laid, "}"]


def _grad_weight(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    x, *gradients = reads(op, tensors)
    matrix, *bias = writes(op, tensors)
    n, k = whole(op, "m"), whole(op, "n")
    widths = [gradient.shape[-1] for gradient in gradients]
    taken, at, dims = _taken(gradients[0].shape[:-1], x.shape[:-1])
    declared, laid = _gradients(widths, taken)
    _, weight = _matrix(matrix, n, k)
    lines = [
        f"input X[{dims}, K], {declared}",
        *laid,
        f"output DW{', DBias' if bias else ''}",
        f"D{weight.format(n='n')} = G[{taken.at}, n] * X[{at}, k]",
    ]
    if bias:
        lines.append(f"DBias[n] = G[{taken.at}, n]")
    return cascade("matmul_grad_weight", {**taken.extents, **_ranks(widths, n, k)}, "\n".join(lines))


def _grad_input(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    *gradients, matrix = reads(op, tensors)
    (x,) = writes(op, tensors)
    n, k = whole(op, "k"), whole(op, "n")
    widths = [gradient.shape[-1] for gradient in gradients]
    taken, at, dims = _taken(gradients[0].shape[:-1], x.shape[:-1])
    declared, laid = _gradients(widths, taken)
    shape, weight = _matrix(matrix, n, k)
    lines = [
        f"input {declared}, {shape}",
        *laid,
        f"tensor DX[{dims}, K]",
        "output DX",
        f"DX[{at}, k] = G[{taken.at}, n] * {weight.format(n='n')}",
    ]
    return cascade("matmul_grad_input", {**taken.extents, **_ranks(widths, n, k)}, "\n".join(lines))
