"""Collectives: what devices that work on one program tell each other, and the bytes that this takes.

| kind | `bytes` is | sent by each of n devices |
|---|---|---|
| all_reduce | the array that is summed | 2 (n - 1) / n of it |
| all_gather | the array that is put together | (n - 1) / n of it |
| all_to_all | what one device has for all, itself included | (n - 1) / n of it |
| send | what is sent | all of it |
| receive | what is received | none |

Source: Thakur, Rabenseifner and Gropp, Optimization of collective communication operations in MPICH, 2005, section 4.
"""

from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.graph import Op

KINDS = ("all_reduce", "all_gather", "all_to_all", "send", "receive")


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective of `devices` devices that stand `stride` apart; it is about so many `bytes`."""

    kind: str
    bytes: float
    devices: int
    stride: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("collective", self.kind, KINDS)
        if self.bytes < 0 or self.devices < 2 or self.stride < 1:
            raise InvalidInputError(
                f"{self.kind} of {self.bytes} bytes among {self.devices} devices, {self.stride} apart: "
                "need bytes of 0 or more, 2 or more devices and a stride of 1 or more"
            )

    @property
    def reach(self) -> int:
        """Devices from the first to the last, those between included."""
        return (self.devices - 1) * self.stride + 1

    @property
    def sent(self) -> float:
        """Bytes that each device sends.

        >>> Collective("all_reduce", 1024, 8).sent, Collective("all_gather", 1024, 8).sent
        (1792.0, 896.0)
        """
        rest = (self.devices - 1) / self.devices
        share = {"all_reduce": 2 * rest, "all_gather": rest, "all_to_all": rest, "send": 1.0, "receive": 0.0}
        return share[self.kind] * self.bytes


def collective_of(op: Op) -> Collective | None:
    """The collective that an operation is; None for one of a single device."""
    if op.kind not in KINDS:
        return None
    n_bytes, devices, stride = (op.attributes[name] for name in ("bytes", "devices", "stride"))
    assert isinstance(n_bytes, int | float)
    assert isinstance(devices, int)
    assert isinstance(stride, int)
    return Collective(op.kind, n_bytes, devices, stride)


def communicates(step: str) -> bool:
    """Whether a step is a collective, by its name, which begins with the kind and a space.

    >>> communicates("all_reduce model.layers.0.mlp"), communicates("all_reduce")
    (True, False)
    """
    kind, space, _ = step.partition(" ")
    return bool(space) and kind in KINDS
