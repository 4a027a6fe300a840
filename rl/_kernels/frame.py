# pyright: basic, reportCallIssue=false
"""Where the arrays of a program and of one play lie: all that a kernel is told is the address of one *frame*.

A frame is a table of integers, one row for each array of rl/tables.py: address, rows, columns. `Play` reads the row of
an array when code asks for that. To pass the arrays themselves would cost more than most kernels do.

Assumes: whoever calls a kernel keeps the frame and the arrays alive as long as that runs (rl/memory.py does).
"""

from typing import Any, Protocol

from llvmlite import ir
from numba import njit, types
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, register_model
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import from_dtype

from tierplan.ir.problem import Floats, Ints
from tierplan.rl.tables import FIXED, OF_PLAY, Rows

_ARRAYS = [(name, dtype, n_axes) for name, (dtype, n_axes) in (FIXED | OF_PLAY).items()]
_TYPES = {name: types.Array(from_dtype(dtype), n_axes, "C") for name, dtype, n_axes in _ARRAYS}
_WORD = ir.IntType(64)


kernel = njit(cache=True, error_model="numpy")  # what Python calls
inner = njit(cache=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(cache=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


class Play(Protocol):
    """A program, then one play of it: what a kernel opens, by name. V visits, N tensors, S steps, K tiers, L links.

    Fixed: `rules` [3] (window, 1 for best fit, 1 if steps may wait), `visits` [V], `tensors` [N], `tiers` [K], `pairs`
    [K, K], `base_loads` [S, 2K + L], `base_rates` [S, K * K] and `base_own` [S] with all in base, `compute` [S],
    `promised` [L, S + 1], `cap` [N, K], `link_rate` [L]. Of the play: `head`, `total` [1] (seconds saved so far),
    `moves` [V], `served` [V], `placed` [N], `steps` [S + 1], `loads`, `rates` (bytes per second at which a copy alone
    runs beside a step, for each pair of tiers), `live` [K, slots], `room` [K, 4], `queue` [pending], `options` [A =
    2K - 1], `way` [K * K, 3], `busy` [K + L] (scratch), `rects`, `copies`. The fields of rows stand in rl/tables.py.
    """

    rules: Ints
    visits: Rows
    tensors: Rows
    tiers: Rows
    pairs: Rows
    base_loads: Ints
    base_rates: Floats
    base_own: Floats
    compute: Floats
    promised: Floats
    cap: Floats
    link_rate: Floats
    head: Ints
    total: Floats
    moves: Rows
    served: Ints
    placed: Rows
    steps: Rows
    loads: Ints
    rates: Floats
    live: Ints
    room: Ints
    queue: Rows
    options: Rows
    way: Ints
    busy: Floats
    rects: Rows
    copies: Rows


class PlayType(types.Type):
    """The type of a `Play` in compiled code: the address of its frame."""

    def __init__(self) -> None:
        super().__init__("Play")


@register_model(PlayType)
class _PlayModel(models.PrimitiveModel):
    def __init__(self, manager: Any, its_type: Any) -> None:
        super().__init__(manager, its_type, _WORD)


@infer_getattr
class _PlayAttributes(AttributeTemplate):
    key = PlayType

    def generic_resolve(self, typ: Any, attr: str) -> Any:
        return _TYPES.get(attr)


@lower_getattr_generic(PlayType)
def _array(context: Any, builder: Any, typ: Any, value: Any, attr: str) -> Any:
    """The array of that name, without a count of who refers to it."""
    del typ
    i, dtype, n_axes = next((i, dtype, n) for i, (name, dtype, n) in enumerate(_ARRAYS) if name == attr)
    frame = builder.inttoptr(value, _WORD.as_pointer())
    address, *shape = [builder.load(builder.gep(frame, [_WORD(3 * i + j)])) for j in range(1 + n_axes)]
    itemsize = _WORD(dtype.itemsize)
    strides = [itemsize] if n_axes == 1 else [builder.mul(shape[1], itemsize), itemsize]
    array = context.make_array(_TYPES[attr])(context, builder)
    pointer = context.get_data_type(_TYPES[attr].dtype).as_pointer()
    populate_array(array, builder.inttoptr(address, pointer), shape, strides, itemsize, meminfo=None)
    return array._getvalue()


@intrinsic
def opened(typingctx, where):
    """The play whose frame has that address."""
    del typingctx, where

    def codegen(context, builder, signature, args):
        return args[0]

    return PlayType()(types.int64), codegen
