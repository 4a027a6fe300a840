"""Which regions of a program were fused for a plan, and what the other ways to fuse would have cost."""

from dataclasses import asdict, dataclass
from typing import Any

from tierplan.ir.problem_rows import Amount, Count, Row


@dataclass(frozen=True, slots=True)
class FusedRegion:
    """Operations that run as one kernel: in `slices` of a shared rank, in `passes` over it, with bytes in scratch."""

    operations: tuple[str, ...]
    slices: int
    passes: int
    scratch_bytes: int


@dataclass(frozen=True, slots=True)
class FusionAlternative:
    """One way to fuse: how many kernels, what they hold, and the cost of its plan. None: no plan, no bound."""

    name: str
    n_kernels: int
    scratch_bytes: int
    time_s: float | None
    bound_s: float | None


@dataclass(frozen=True, slots=True)
class FusionRecord:
    """What was asked for, what was kept, and all that was planned.

    Units: bytes, seconds. `launch_s` is the time to start one kernel, `limit_bytes` the scratch that regions may use.
    """

    mode: str
    kept: str
    launch_s: float
    limit_bytes: int
    alternatives: tuple[FusionAlternative, ...]
    regions: tuple[FusedRegion, ...]


class _RegionRow(Row):
    operations: list[str]
    slices: Count
    passes: Count
    scratch_bytes: Count


class _AlternativeRow(Row):
    name: str
    n_kernels: Count
    scratch_bytes: Count
    time_s: Amount | None
    bound_s: Amount | None


class FusionRow(Row):
    """A record as it stands in a plan file."""

    mode: str
    kept: str
    launch_s: Amount
    limit_bytes: Count
    alternatives: list[_AlternativeRow]
    regions: list[_RegionRow]


FUSION_PARTS = (_RegionRow, _AlternativeRow)


def fusion_rows(record: FusionRecord) -> dict[str, Any]:
    """A record as plain values."""
    return asdict(record)


def fusion_of(row: FusionRow) -> FusionRecord:
    """A record from its row in a plan file."""
    return FusionRecord(
        row.mode,
        row.kept,
        row.launch_s,
        row.limit_bytes,
        tuple(FusionAlternative(**a.model_dump()) for a in row.alternatives),
        tuple(FusedRegion(tuple(r.operations), r.slices, r.passes, r.scratch_bytes) for r in row.regions),
    )
