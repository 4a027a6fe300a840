"""Operators by name: map, reduce and merge, with what the analyses must know of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class MapOperator:
    """A map operator.

    `infix` is its sign in text, `binds` how tightly the sign binds. `kind` is the name under which its uses
    are counted. `left` and `right` are the values an absent operand stands for when a merge operator touches
    a point where only the other is present; None means the absent operand's empty value.
    """

    arity: int
    kind: str
    infix: str | None = None
    binds: int = 0
    left: float | None = None
    right: float | None = None
    truth: bool = False
    real: bool = False

    def __post_init__(self) -> None:
        if self.arity < 1:
            raise InvalidInputError(f"a map operator needs at least one operand, not {self.arity}")


MAPS: Mapping[str, MapOperator] = {
    "or": MapOperator(2, "logic", "or", 1, False, False, truth=True),
    "and": MapOperator(2, "logic", "and", 2, True, True, truth=True),
    "not": MapOperator(1, "logic", "not", 3, truth=True),
    "less": MapOperator(2, "compare", "<", 4, truth=True),
    "less_equal": MapOperator(2, "compare", "<=", 4, truth=True),
    "equal": MapOperator(2, "compare", "==", 4, truth=True),
    "not_equal": MapOperator(2, "compare", "!=", 4, truth=True),
    "greater_equal": MapOperator(2, "compare", ">=", 4, truth=True),
    "greater": MapOperator(2, "compare", ">", 4, truth=True),
    "add": MapOperator(2, "add", "+", 5, 0, 0),
    "subtract": MapOperator(2, "subtract", "-", 5, 0, 0),
    "multiply": MapOperator(2, "multiply", "*", 6, 1, 1),
    "divide": MapOperator(2, "divide", "/", 6, 1, 1, real=True),
    "floor_divide": MapOperator(2, "divide", "//", 6, None, 1),
    "remainder": MapOperator(2, "divide", "%", 6),
    "negate": MapOperator(1, "negate", "-", 7),
    "power": MapOperator(2, "power", "**", 8, None, 1),
    "max": MapOperator(2, "max", left=-inf, right=-inf),
    "min": MapOperator(2, "min", left=inf, right=inf),
    "left": MapOperator(2, "select"),
    "right": MapOperator(2, "select"),
    "where": MapOperator(3, "select"),
    "abs": MapOperator(1, "abs"),
    "sign": MapOperator(1, "compare"),
    "floor": MapOperator(1, "round"),
    "ceil": MapOperator(1, "round"),
    "round": MapOperator(1, "round"),
    "exp": MapOperator(1, "exp", real=True),
    "expm1": MapOperator(1, "exp", real=True),
    "log": MapOperator(1, "log", real=True),
    "log1p": MapOperator(1, "log", real=True),
    "sqrt": MapOperator(1, "sqrt", real=True),
    "rsqrt": MapOperator(1, "rsqrt", real=True),
    "sin": MapOperator(1, "sin", real=True),
    "cos": MapOperator(1, "cos", real=True),
    "tan": MapOperator(1, "tan", real=True),
    "tanh": MapOperator(1, "tanh", real=True),
    "arctan2": MapOperator(2, "arctan", real=True),
    "erf": MapOperator(1, "erf", real=True),
    "sigmoid": MapOperator(1, "sigmoid", real=True),
    "float": MapOperator(1, "convert", real=True),
    "int": MapOperator(1, "convert"),
}

# Operators that take truth values as the numbers 0 and 1.
ARITHMETIC = frozenset(
    {"add", "subtract", "multiply", "divide", "floor_divide", "remainder", "negate", "power", "abs", "sign"}
)

INFIX: Mapping[str, str] = {o.infix: name for name, o in MAPS.items() if o.infix and o.arity == 2}


@dataclass(frozen=True, slots=True)
class ReduceOperator:
    """A reduce operator: its identity, and whether it yields a coordinate or populates an output rank."""

    kind: str
    identity: float
    coordinate: bool = False
    populates: bool = False


REDUCES: Mapping[str, ReduceOperator] = {
    "add": ReduceOperator("add", 0),
    "multiply": ReduceOperator("multiply", 1),
    "max": ReduceOperator("max", -inf),
    "min": ReduceOperator("min", inf),
    "and": ReduceOperator("logic", True),
    "or": ReduceOperator("logic", False),
    "argmax": ReduceOperator("max", -inf, coordinate=True),
    "argmin": ReduceOperator("min", inf, coordinate=True),
    "top": ReduceOperator("top", -inf, populates=True),
    "argtop": ReduceOperator("top", -inf, coordinate=True, populates=True),
}

# What people write for a reduction, beside its own name.
REDUCE_ALIASES: Mapping[str, str] = {
    "sum": "add", "prod": "multiply", "product": "multiply", "any": "or", "all": "and",
}  # fmt: skip

# Which points a merge operator touches: (both present, only the left, only the right, neither).
# Source: the sixteen merge operators of EDGE, one per truth table of two presence flags.
MERGES: Mapping[str, tuple[bool, bool, bool, bool]] = {
    "pass_through": (True, True, True, True),
    "no_pass": (False, False, False, False),
    "intersect": (True, False, False, False),
    "take_left_only": (False, True, False, False),
    "take_left": (True, True, False, False),
    "take_right_only": (False, False, True, False),
    "take_right": (True, False, True, False),
    "xor": (False, True, True, False),
    "union": (True, True, True, False),
    "nor": (False, False, False, True),
    "xnor": (True, False, False, True),
    "not_right": (False, True, False, True),
    "not_left": (False, False, True, True),
    "implies_left": (True, True, False, True),
    "implies_right": (True, False, True, True),
    "nand": (False, True, True, True),
}
