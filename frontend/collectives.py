"""Collectives on a tape: they are operations, named by their kind and what they are about."""

from tierplan.frontend.tape import Tape
from tierplan.ir.graph import Access, Attribute, TensorKind


def all_reduce(tape: Tape, about: str, x: str, devices: int, *, layer: int | None = None) -> str:
    """Sum the arrays that the devices hold under one name; x itself where there is one device.

    Assumes: each device adds up its share of the array.
    """
    if devices == 1:
        return x
    tensor = tape.tensors[x]
    result = tape.tensor(f"{about}.reduced", tensor.shape)
    adds = -(-(devices - 1) * tensor.n_elements // devices)
    _collective(tape, "all_reduce", about, [tape.whole(x)], [tape.whole(result)], tensor.size, devices, layer, adds)
    return result


def all_gather(tape: Tape, about: str, x: str, devices: int, result: str, *, layer: int | None = None) -> str:
    """Put together `result`, of which each device holds a part, x."""
    size = tape.tensors[result].size
    _collective(tape, "all_gather", about, [tape.whole(x)], [tape.whole(result)], size, devices, layer)
    return result


def all_to_all(
    tape: Tape, about: str, x: Access, result: Access, devices: int, n_bytes: float, *, layer: int | None = None
) -> None:
    """Each device has `n_bytes` for all, itself included, out of x, and gets as many."""
    _collective(tape, "all_to_all", about, [x], [result], n_bytes, devices, layer)


def send(tape: Tape, about: str, x: str, stride: int) -> None:
    """Send an array to the device of the next stage."""
    _transfer(tape, "send", about, [tape.whole(x)], [], tape.tensors[x].size, stride)


def receive(tape: Tape, about: str, shape: tuple[int, ...], stride: int) -> str:
    """Receive an array from the device of the stage before."""
    result = tape.tensor(f"{about}.received", shape, TensorKind.ACTIVATION)
    _transfer(tape, "receive", about, [], [tape.whole(result)], tape.tensors[result].size, stride)
    return result


def _transfer(
    tape: Tape, kind: str, about: str, reads: list[Access], writes: list[Access], n_bytes: int, stride: int
) -> None:
    attributes: dict[str, Attribute] = {"bytes": n_bytes, "devices": 2, "stride": stride, "layer": None}
    tape.op(f"{kind} {about}", kind, reads, writes, attributes=attributes)


def _collective(
    tape: Tape,
    kind: str,
    about: str,
    reads: list[Access],
    writes: list[Access],
    n_bytes: float,
    devices: int,
    layer: int | None,
    vector_ops: int = 0,
) -> None:
    attributes: dict[str, Attribute] = {"bytes": n_bytes, "devices": devices, "stride": 1, "layer": layer}
    tape.op(f"{kind} {about}", kind, reads, writes, vector_ops=vector_ops, attributes=attributes)
