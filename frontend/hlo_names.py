"""What HLO's opcodes are called elsewhere in the project, so that fusing and updates in place know them."""

from tierplan.frontend.hlo_module import Instruction, Module

_NAMES = {
    "abs": "abs", "add": "add", "and": "and", "atan2": "atan2", "broadcast": "broadcast_in_dim", "cbrt": "cbrt",
    "ceil": "ceil", "clamp": "clamp", "compare": "eq", "complex": "complex", "convert": "convert_element_type",
    "convolution": "conv_general_dilated", "cosine": "cos", "count-leading-zeros": "clz", "divide": "div",
    "dot": "dot_general", "erf": "erf", "exponential": "exp", "exponential-minus-one": "expm1", "floor": "floor",
    "imag": "imag", "is-finite": "is_finite", "log": "log", "log-plus-one": "log1p", "logistic": "logistic",
    "maximum": "max", "minimum": "min", "multiply": "mul", "negate": "neg", "not": "not", "or": "or",
    "popcnt": "population_count", "power": "pow", "real": "real", "reduce-precision": "reduce_precision",
    "remainder": "rem", "reverse": "rev", "round-nearest-afz": "round", "round-nearest-even": "round",
    "rsqrt": "rsqrt", "select": "select_n", "shift-left": "shift_left",
    "shift-right-arithmetic": "shift_right_arithmetic", "shift-right-logical": "shift_right_logical", "sign": "sign",
    "sine": "sin", "sqrt": "sqrt", "subtract": "sub", "tan": "tan", "tanh": "tanh", "xor": "xor",
}  # fmt: skip
_REDUCTIONS = {
    "add": "reduce_sum", "maximum": "reduce_max", "minimum": "reduce_min", "multiply": "reduce_prod",
    "and": "reduce_and", "or": "reduce_or", "xor": "reduce_xor",
}  # fmt: skip


def primitive_of(instruction: Instruction, module: Module) -> str:
    """The name of the operation: JAX's where there is one, else the opcode's own."""
    opcode = instruction.opcode
    if opcode == "reduce" and not instruction.shape.is_tuple:
        root = module.computations[instruction.called["to_apply"][0]].root
        return _REDUCTIONS.get(root.opcode, "reduce")
    if opcode == "scatter" and not instruction.shape.is_tuple:
        root = module.computations[instruction.called["to_apply"][0]].root
        return "scatter" if root.opcode == "parameter" else "scatter_add"
    return _NAMES.get(opcode, opcode.replace("-", "_"))
