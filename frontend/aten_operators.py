"""Every ATen operator that is translated, in place or not; of any other one only the bytes are counted."""

from collections.abc import Mapping

from tierplan.frontend.aten_call import Handler
from tierplan.frontend.aten_elementwise import ELEMENTWISE, REDUCTIONS
from tierplan.frontend.aten_layers import LAYERS
from tierplan.frontend.aten_shapes import SHAPES, VIEWS

HANDLERS: Mapping[str, Handler] = {**ELEMENTWISE, **REDUCTIONS, **SHAPES, **LAYERS}
"""What translates each operator, overloads together."""

__all__ = ["HANDLERS", "VIEWS"]
