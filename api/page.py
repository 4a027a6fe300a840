"""The report of a plan: one self-contained HTML page that needs no network."""

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from tierplan.answer import limits, occupancy, tokens_per_s, traffic
from tierplan.ir.outcome import Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.timeline import Timeline
from tierplan.ir.units import show_bytes, show_joules, show_seconds
from tierplan.page_rows import page_rows
from tierplan.traffic_svg import traffic_svg
from tierplan.what_if import Help, resource_name

_FRAME_HEIGHT = 900
_CLOSE = 0.005  # of the time: what saves less is not worth a row of its own


@dataclass(frozen=True, slots=True)
class Planned:
    """What the page says of how the plan came about; `helps`: what more of each resource brings, None if not asked."""

    title: str
    planner: str
    status: Status
    bound_s: float
    helps: Sequence[Help] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page; notebooks show it in a frame. What is printed of one leaves the text of the page out."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" width="100%" height="{_FRAME_HEIGHT}" style="border:0" '
            'title="report of a plan"></iframe>'
        )


def page(problem: Problem, plan: Plan, timeline: Timeline, planned: Planned) -> Page:
    """The page of a plan that keeps the rules."""
    turn = "a turn" if problem.cyclic else "a run"
    rows = json.dumps(page_rows(problem, plan, timeline), separators=(",", ":"))
    packed = base64.b64encode(gzip.compress(rows.encode(), 9, mtime=0)).decode()
    flows = traffic(problem, plan, timeline)
    parts = {
        "title": escape(planned.title),
        "subtitle": escape(
            f"planned by {planned.planner}: {planned.status.value}. {problem.n_steps:,} steps, "
            f"{problem.n_tensors:,} tensors, {len(plan.copies):,} copies {turn}."
        ),
        "cards": _cards(problem, plan, timeline, planned, turn),
        "turn": turn,
        "traffic": traffic_svg(flows, problem.tiers.names),
        "limits": _limits(problem, timeline),
        "helps": _helps(planned.helps, timeline.time_s, turn),
        "notes": _notes(problem.notes),
        "css": _read("page.css"),
        "js": _read("page.js"),
        "data": packed,
    }
    text = _read("page.html")
    pieces = text.split("{{")
    filled = pieces[0] + "".join(
        parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:])
    )
    return Page(filled)


def _read(name: str) -> str:
    return files("tierplan").joinpath(name).read_text(encoding="utf-8")


def _cards(problem: Problem, plan: Plan, timeline: Timeline, planned: Planned, turn: str) -> str:
    rate = tokens_per_s(problem, timeline)
    gap = timeline.time_s / planned.bound_s - 1 if planned.bound_s > 0 else None
    stalled = float(timeline.wait_s.sum()) + timeline.tail_wait_s
    cards = [(show_seconds(timeline.time_s), f"predicted, {turn}")]
    if rate is not None:
        cards.append((f"{rate:.4g}", "tokens per second"))
    cards.append((show_seconds(planned.bound_s), "bound: no plan is faster"))
    cards.append(("not known" if gap is None else f"{max(0.0, gap):.2%}", "gap to the bound, at most"))
    if timeline.time_s > 0:
        cards.append((f"{stalled / timeline.time_s:.1%}", "of it stalled, waiting for copies"))
    if timeline.energy_j is not None:
        cards.append((show_joules(timeline.energy_j), f"energy, {turn}"))
    cards += [
        (f"{show_bytes(tier.peak_bytes)}", f"peak in {tier.name}, {tier.peak_bytes / tier.capacity_bytes:.0%} of it")
        for tier in occupancy(problem, plan)
        if tier.peak_bytes
    ]
    return "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in cards
    )


def _limits(problem: Problem, timeline: Timeline) -> str:
    rows = [
        f'<tr class="{"wait" if share.what.startswith("waiting") else ""}"><td>{escape(share.what)}</td>'
        f'<td class="track"><i style="width:{share.share:.2%}"></i></td><td>{share.share:.1%}</td></tr>'
        for share in limits(problem, timeline)
    ]
    return f'<table class="limits">{"".join(rows)}</table>' if rows else "<p>no step takes time</p>"


def _helps(helps: Sequence[Help] | None, time_s: float, turn: str) -> str:
    """Seconds saved by each resource, the largest first; those that bring nothing in one line."""
    if helps is None:
        return '<p class="sub">Not asked for.</p>'
    useful = [each for each in helps if each.most_s > _CLOSE * time_s]
    rest = [resource_name(each.resource) for each in helps if each.most_s <= _CLOSE * time_s]
    rows = [
        f"<tr><td>{escape(resource_name(each.resource))}</td><td>{_saved(each.tenth_s, time_s)}</td>"
        f"<td>{_saved(each.same_s, time_s)}</td><td>{_saved(each.replanned_s, time_s)}</td></tr>"
        for each in useful
    ]
    head = (
        "<tr><th>more of</th><th>10% more, by the relaxation</th><th>twice as much, same plan</th>"
        "<th>twice as much, planned again</th></tr>"
    )
    table = f"<table>{head}{''.join(rows)}</table>" if rows else ""
    nothing = f'<p class="sub">Less than {_CLOSE:.1%} each: {escape(", ".join(rest))}.</p>' if rest else ""
    return (
        f'<p class="sub">Time saved {turn}. By the relaxation: what its optimum falls by, from its duals (plans may '
        "save more, or less). Same plan: simulated on that machine. Planned again: the better of that and "
        "a new plan by the greedy planner, so at least so much; latencies stay as they are. "
        "Not known: there was no time (--budget).</p>"
        f"{table}{nothing}"
    )


def _saved(seconds: float | None, time_s: float) -> str:
    if seconds is None:
        return "not known"
    if seconds <= 0 or time_s <= 0:
        return "nothing"
    return f"{show_seconds(seconds)} ({seconds / time_s:.1%})"


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section><h2>Notes</h2><ul class="sub">{items}</ul></section>'
