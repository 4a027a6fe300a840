"""What fusing means for its reader: the kernels, their operational intensity, and what the other cuts cost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tierplan.fusing import Cut, Fused
from tierplan.ir.graph import Op
from tierplan.ir.loops import executions
from tierplan.ir.machine import Machine
from tierplan.ir.units import show_bytes, show_seconds
from tierplan.sim.timeline import access_tiers, base_loads
from tierplan.terminal import console

_LONGEST = 28


@dataclass(frozen=True, slots=True)
class KernelRow:
    """A kernel of the plan that was kept, all its executions together.

    `border_bytes` cross its border, wherever its operands lie; `tier_bytes` are those that it streams from and to
    each tier under the plan. `intensity` is operations per border byte.
    """

    name: str
    kinds: tuple[str, ...]
    slices: int
    passes: int
    scratch_bytes: int
    ops: int
    border_bytes: int
    tier_bytes: dict[str, int]

    @property
    def intensity(self) -> float | None:
        """Operations per byte that crosses the border; None where nothing does."""
        return self.ops / self.border_bytes if self.border_bytes else None

    def intensity_of(self, tier: str) -> float | None:
        """Operations per byte of a tier; None where nothing is streamed from or to it."""
        return self.ops / self.tier_bytes[tier] if self.tier_bytes.get(tier) else None


def kernel_rows(found: Fused, cut: Cut) -> list[KernelRow]:
    """The kernels of a cut, in their order."""
    problem, plan = cut.problem, cut.outcome.plan
    by_step: dict[str, dict[str, int]] = {}
    if plan is not None:
        _, read, write, _ = base_loads(problem, plan, access_tiers(problem, plan))
        names = problem.tiers.names
        by_step = {
            step: {name: int(read[t, k] + write[t, k]) for k, name in enumerate(names)}
            for t, step in enumerate(problem.step_names)
        }
    rows: list[KernelRow] = []
    for kernel, op, trips in zip(cut.kernels, cut.graph.ops, executions(cut.graph), strict=True):
        members = found.graph.ops[kernel.region.start : kernel.region.stop]
        form = kernel.form
        rows.append(
            KernelRow(
                op.name, tuple(member.kind for member in members), form.slices, form.n_passes, form.footprint,
                (op.matrix_ops + op.vector_ops) * trips, _border(op) * trips, by_step.get(op.name, {}),
            )
        )  # fmt: skip
    return rows


def _border(op: Op) -> int:
    return sum(access.bytes for access in (*op.reads, *op.writes))


def ridges(machine: Machine, dtype: str) -> dict[str, float]:
    """Per tier, the operations per byte at which arithmetic takes as long as reading: below it, memory is the limit."""
    return {tier.name: machine.matrix.rate(dtype) / tier.read_bandwidth for tier in machine.tiers}


def fusion_answer(found: Fused) -> dict[str, Any]:
    """The part of an answer's JSON that is about fusing. Seconds, bytes, operations; null where there is no figure."""
    record = found.record
    rows = kernel_rows(found, found.kept)
    members = {region.operations[0]: region.operations for region in record.regions}
    dtype = _dtype(found)
    return {
        "mode": record.mode,
        "kept": record.kept,
        "launch_s": record.launch_s,
        "limit_bytes": record.limit_bytes,
        "peak_rates": found.peak_rates,
        "alternatives": [
            {
                "name": cut.name, "n_kernels": len(cut.kernels), "scratch_bytes": cut.scratch,
                "launch_s": launches_s(found, cut), "time_s": cut.outcome.cost_s, "bound_s": alternative.bound_s,
                "status": cut.outcome.status.name,
            }
            for cut, alternative in zip(found.cuts, record.alternatives, strict=True)
        ],
        "ridge": {"dtype": dtype, "ops_per_byte": ridges(found.machine, dtype)},
        "kernels": [
            {
                "name": row.name,
                "operations": list(members.get(row.name.split("..")[0], (row.name,))),
                "slices": row.slices, "passes": row.passes, "scratch_bytes": row.scratch_bytes,
                "ops": row.ops, "border_bytes": row.border_bytes, "ops_per_byte": row.intensity,
                "tier_bytes": row.tier_bytes,
                "ops_per_tier_byte": {tier: row.intensity_of(tier) for tier in row.tier_bytes},
            }
            for row in rows
        ],
    }  # fmt: skip


def launches_s(found: Fused, cut: Cut) -> float:
    """Seconds that go into starting the kernels of a cut."""
    return found.machine.launch_s * sum(executions(cut.graph))


def _dtype(found: Fused) -> str:
    """The element type of most arithmetic."""
    work: Counter[str] = Counter()
    for op in found.graph.ops:
        work[op.dtype] += op.matrix_ops
    return work.most_common(1)[0][0]


def print_fusion(found: Fused) -> None:
    """What each cut costs, and the kernels of the one that was kept, like ones together."""
    out = console()
    out.print(cuts_table(found))
    rows = kernel_rows(found, found.kept)
    out.print(kernels_table(rows, [tier.name for tier in found.machine.tiers]))
    dtype = _dtype(found)
    shown = ", ".join(f"{tier} {ridge:.4g}" for tier, ridge in ridges(found.machine, dtype).items())
    out.print(f"ridge       {shown} ops/byte ({dtype}): below it memory limits, above it compute")
    if found.peak_rates:
        name = found.machine.name
        out.print(f"rates       peak ones: the constants of {name} are not used, as no fused kernel was measured")


def cuts_table(found: Fused) -> Table:
    """Every cut that was planned, with what it costs."""
    table = Table(title="ways to fuse", title_justify="left")
    table.add_column("fusion")
    for column in ("kernels", "largest", "scratch", "launches", "predicted", "bound"):
        table.add_column(column, justify="right")
    table.add_column("")
    for cut in found.cuts:
        cost = "does not fit" if cut.outcome.cost_s is None else show_seconds(cut.outcome.cost_s)
        table.add_row(
            cut.name,
            str(len(cut.kernels)),
            _plural(max(kernel.region.n_ops for kernel in cut.kernels)),
            show_bytes(cut.scratch),
            show_seconds(launches_s(found, cut)),
            cost,
            show_seconds(cut.outcome.bound_s),
            "kept" if cut is found.kept else "",
        )
    return table


def kernels_table(rows: Sequence[KernelRow], tiers: Sequence[str]) -> Table:
    """Kernels with their operational intensity; those that do the same on as many bytes share a line."""
    like: dict[tuple[object, ...], list[KernelRow]] = {}
    for row in rows:
        key = (row.kinds, row.slices, row.passes, row.scratch_bytes, row.ops, row.border_bytes)
        like.setdefault((*key, tuple(row.tier_bytes.items())), []).append(row)
    table = Table(title="kernels", title_justify="left")
    table.add_column("from", no_wrap=True)
    for column in ("times", "ops", "slices", "passes", "scratch", "border", "ops/byte"):
        table.add_column(column, justify="right")
    shown = [tier for tier in tiers if any(row.tier_bytes.get(tier) for row in rows)]
    for tier in shown:
        table.add_column(f"per {tier} byte", justify="right")
    for group in like.values():
        row = group[0]
        table.add_row(
            _short(row.name), str(len(group)), str(len(row.kinds)), str(row.slices), str(row.passes),
            show_bytes(row.scratch_bytes), show_bytes(row.border_bytes), _number(row.intensity),
            *(_number(row.intensity_of(tier)) for tier in shown),
        )  # fmt: skip
    return table


def _short(name: str) -> str:
    """The first operation of a kernel, and of a long name its end."""
    first = name.split("..")[0]
    return first if len(first) <= _LONGEST else "…" + first[1 - _LONGEST :]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _plural(n: int) -> str:
    return f"{n} op" if n == 1 else f"{n} ops"
