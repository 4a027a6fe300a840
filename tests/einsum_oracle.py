"""What a cascade means, told point by point: slow, literal, and written without the package's executor."""

import math
from itertools import product

import numpy as np

from tierplan.einsum.expressions import Access, Apply, Constant, Symbol
from tierplan.einsum.shapes import signatures
from tierplan.einsum.sizes import evaluate

MAPS = {
    "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b, "negate": lambda a: -a, "max": max, "min": min, "exp": math.exp,
    "less": lambda a, b: a < b, "less_equal": lambda a, b: a <= b, "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b, "greater": lambda a, b: a > b, "greater_equal": lambda a, b: a >= b,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
    "where": lambda c, a, b: a if c else b, "abs": abs, "log": math.log, "sqrt": math.sqrt, "tanh": math.tanh,
    "rsqrt": lambda a: 1 / math.sqrt(a), "power": lambda a, b: a**b, "remainder": lambda a, b: a % b,
    "floor_divide": lambda a, b: a // b, "sigmoid": lambda a: 1 / (1 + math.exp(-a)), "erf": math.erf,
}  # fmt: skip
IDENTITY = {"add": 0, "multiply": 1, "max": -math.inf, "min": math.inf, "and": True, "or": False}
JOIN = {"add": MAPS["add"], "multiply": MAPS["multiply"], "max": max, "min": min, "and": MAPS["and"], "or": MAPS["or"]}


class Oracle:
    """Every value is asked for when it is needed; iterative ranks need no schedule."""

    def __init__(self, cascade, inputs, sizes):
        self.cascade, self.inputs, self.sizes = cascade, inputs, sizes
        self.known = {}

    def array(self, tensor):
        shape = [evaluate(extent, self.sizes) for extent in signatures(self.cascade)[tensor]]
        out = np.empty(shape, dtype=object)
        for point in product(*map(range, shape)):
            out[point] = self.value(tensor, point)
        return out

    def value(self, tensor, point):
        if tensor in self.inputs:
            assert all(0 <= c < n for c, n in zip(point, self.inputs[tensor].shape, strict=True))
            return self.inputs[tensor][point].item()
        if (tensor, point) not in self.known:
            self.known[tensor, point] = self._compute(tensor, point)
        return self.known[tensor, point]

    def _compute(self, tensor, point):
        for einsum in self.cascade:
            if einsum.name != tensor:
                continue
            free = einsum.output_variables
            for coordinates in product(*(range(self.sizes[v.upper()]) for v in free)):
                here = dict(zip(free, coordinates, strict=True))
                if all(self.coordinate(i, here) == c for i, c in zip(einsum.output.indices, point, strict=True)):
                    return self._reduced(einsum, list(einsum.reductions), here)[0]
        return self.cascade.empty(tensor)

    def _reduced(self, einsum, reductions, here):
        """(value, whether any point was touched)."""
        if not reductions:
            if all(self.expression(f, here) for f in einsum.filters):
                return self.expression(einsum.expression, here), True
            return self.cascade.empty(einsum.name), False
        reduction, *rest = reductions
        found = []
        for coordinates in product(*(range(self.sizes[v.upper()]) for v in reduction.over)):
            value, touched = self._reduced(
                einsum, rest, {**here, **dict(zip(reduction.over, coordinates, strict=True))}
            )
            if touched:
                found.append((coordinates, value))
        if not found:
            return self.cascade.empty(einsum.name), False
        if reduction.operator.startswith("arg"):
            best = (max if reduction.operator == "argmax" else min)(value for _, value in found)
            return next(c[0] for c, value in found if value == best), True
        total = IDENTITY[reduction.operator]
        for _, value in found:
            total = JOIN[reduction.operator](total, value)
        return total, True

    def coordinate(self, index, here):
        total = 0
        for term in index.terms:
            scale = term.coefficient * math.prod(self.sizes[s] for s in term.symbols)
            if isinstance(term.of, Access):
                scale *= self.expression(term.of, here)
            elif term.of is not None:
                scale *= here[term.of]
            total += scale
        return total

    def expression(self, node, here):
        if isinstance(node, Constant):
            return node.value
        if isinstance(node, Symbol):
            return here[node.name] if node.name in here else self.sizes[node.name]
        if isinstance(node, Access):
            point = tuple(self.coordinate(index, here) for index in node.indices)
            shape = [evaluate(extent, self.sizes) for extent in signatures(self.cascade)[node.tensor]]
            if node.outside is not None and not all(0 <= c < n for c, n in zip(point, shape, strict=True)):
                return node.outside
            return self.value(node.tensor, point)
        assert isinstance(node, Apply)
        if node.operator == "where":
            condition, yes, no = node.operands
            return self.expression(yes if self.expression(condition, here) else no, here)
        return MAPS[node.operator](*(self.expression(operand, here) for operand in node.operands))
