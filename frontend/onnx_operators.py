"""Every ONNX operator that is translated, by domain; of any other one only the bytes are counted."""

from collections.abc import Mapping

from tierplan.frontend.onnx_call import Handler
from tierplan.frontend.onnx_contrib import CONTRIB
from tierplan.frontend.onnx_elementwise import ELEMENTWISE, REDUCTIONS
from tierplan.frontend.onnx_layers import LAYERS
from tierplan.frontend.onnx_quantised import QUANTISED
from tierplan.frontend.onnx_recurrent import RECURRENT
from tierplan.frontend.onnx_shapes import SHAPES

_STANDARD: dict[str, Handler] = {**ELEMENTWISE, **REDUCTIONS, **SHAPES, **LAYERS, **QUANTISED, **RECURRENT}

HANDLERS: Mapping[str, Mapping[str, Handler]] = {
    "": _STANDARD,
    "com.microsoft": {**{op: _STANDARD[op] for op in ("QuantizeLinear", "DequantizeLinear")}, **CONTRIB},
}
"""What translates each operator; `If`, `Loop` and `Scan` are the reader's own."""
