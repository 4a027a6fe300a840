"""The timeline: what a simulation of a plan tells."""

from dataclasses import dataclass

from tierplan.ir.problem import Floats, Ints
from tierplan.ir.tables import html_table
from tierplan.ir.units import show_bytes, show_joules, show_seconds

COMPUTE = 0  # code of the compute unit in `Timeline.limit`


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When each step and copy of a plan ran, and what each waited for.

    Shapes: S steps, C copies, K tiers, L links; one turn of a cyclic program in its steady state,
    seconds from the beginning of that turn.
    `begin_s[S]`, `end_s[S]`: when each step runs. `wait_s[S]`: how long the step before it had been over.
    `waited_copy[S]`, `waited_link[S]`: the copy of the plan that it waited for longest, and its link; -1 if none.
    `limit[S]`: what bounds the step's own time: `COMPUTE`, 1 + tier, or 1 + K + link.
    `copy_begin_s[C]`, `copy_end_s[C]`: when each copy was issued and done, the end possibly in the next turn.
    `read_tier[A]`: the tier that each access of the problem reads or writes.
    `tier_read[K]`, `tier_write[K]`: bytes that steps stream. `link_bytes[L]`: bytes of copies and streams.
    `energy_j`: joules, as far as the machine gives figures; `energy_without`: what it gives none for.
    """

    time_s: float
    tail_wait_s: float
    tail_link: int
    begin_s: Floats
    end_s: Floats
    wait_s: Floats
    waited_link: Ints
    waited_copy: Ints
    limit: Ints
    copy_begin_s: Floats
    copy_end_s: Floats
    read_tier: Ints
    tier_read: Ints
    tier_write: Ints
    link_bytes: Ints
    energy_j: float | None
    energy_without: tuple[str, ...]

    def _repr_html_(self) -> str:
        """For notebooks: time, stalls and bytes, tiers and links in order; `tierplan.show` has their names."""
        waited = float(self.wait_s.sum()) + self.tail_wait_s
        share = f" ({waited / self.time_s:.1%})" if self.time_s > 0 else ""
        read = ", ".join(show_bytes(n) for n in self.tier_read.tolist())
        written = ", ".join(show_bytes(n) for n in self.tier_write.tolist())
        rows = [
            ("time", show_seconds(self.time_s)),
            ("waiting for copies", show_seconds(waited) + share),
            ("steps, copies", f"{len(self.begin_s)}, {len(self.copy_begin_s)}"),
            ("read by steps, tier by tier", read),
            ("written by steps", written),
            ("over links, link by link", ", ".join(show_bytes(n) for n in self.link_bytes.tolist()) or "none"),
        ]
        energy = [] if self.energy_j is None else [("energy", show_joules(self.energy_j))]
        return html_table([*rows, *energy])
