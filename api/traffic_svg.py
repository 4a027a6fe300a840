"""Bytes between compute and the tiers as a flow diagram in SVG: arcs as wide as what moves."""

import math
from collections.abc import Sequence
from html import escape

from tierplan.answer import COMPUTE_NAME, Flow
from tierplan.ir.units import show_bytes

_BOX, _GAP, _HEIGHT = 110, 60, 46
_WIDEST, _LEAST = 26.0, 1.5
_RISE = 46  # of an arc between neighbours


def traffic_svg(flows: Sequence[Flow], tiers: Sequence[str]) -> str:
    """Compute at the left, then the tiers; towards compute above, away from it below.

    Widths go with the bytes of the largest flow, but none is thinner than can be seen.
    """
    places = {name: i for i, name in enumerate((COMPUTE_NAME, *tiers))}
    farthest = max((abs(places[f.source] - places[f.target]) for f in flows), default=1)
    above = _rise(farthest) + 30
    width, height = len(places) * (_BOX + _GAP) - _GAP + 8, 2 * above + _HEIGHT
    most = max((flow.bytes for flow in flows), default=1)
    parts = [_arc(flow, places, most, above) for flow in sorted(flows, key=lambda flow: -flow.bytes)]
    for name, i in places.items():
        x = 4 + i * (_BOX + _GAP)
        parts.append(f'<rect class="box" x="{x}" y="{above}" width="{_BOX}" height="{_HEIGHT}" rx="6"/>')
        parts.append(
            f'<text x="{x + _BOX / 2}" y="{above + _HEIGHT / 2 + 4}" text-anchor="middle">{escape(_fit(name))}</text>'
        )
    label = "; ".join(f"{flow.source} to {flow.target} {show_bytes(flow.bytes)}" for flow in flows) or "nothing moves"
    return (
        f'<svg class="traffic" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _rise(distance: int) -> float:
    return _RISE * math.sqrt(distance) + 12 * (distance - 1)


def _arc(flow: Flow, places: dict[str, int], most: int, above: float) -> str:
    """A curve from box to box with its bytes at the top."""
    a, b = places[flow.source], places[flow.target]
    inward, distance = b < a, abs(a - b)
    side = -1 if inward else 1
    edge = above if inward else above + _HEIGHT
    shift = 12 * (distance - 1)
    left, right = sorted((a, b))
    x0 = 4 + left * (_BOX + _GAP) + _BOX / 2 + 14 + shift * 0.5
    x1 = 4 + right * (_BOX + _GAP) + _BOX / 2 - 14 - shift * 0.5
    top = edge + side * _rise(distance)
    wide = max(_LEAST, _WIDEST * flow.bytes / most)
    kind = "copy" if COMPUTE_NAME not in (flow.source, flow.target) else "in" if inward else "out"
    ends = (x1, x0) if inward else (x0, x1)
    control = edge + side * _rise(distance) * 4 / 3
    tip = ends[1]
    head = max(5.0, wide * 0.7)
    points = f"{tip:.1f},{edge:.1f} {tip - head:.1f},{edge + side * head:.1f} {tip + head:.1f},{edge + side * head:.1f}"
    text = top + side * (wide / 2 + (6 if inward else 15))
    fill = {"in": "weight", "out": "state", "copy": "activation"}[kind]
    return (
        f"<g><title>{escape(flow.source)} to {escape(flow.target)}: {show_bytes(flow.bytes)}</title>"
        f'<path class="{kind}" stroke-width="{wide:.1f}" stroke-opacity=".75" '
        f'd="M{ends[0]:.1f} {edge:.1f} C{ends[0]:.1f} {control:.1f} {ends[1]:.1f} {control:.1f} '
        f'{ends[1]:.1f} {edge + side * head * 0.8:.1f}"/><polygon points="{points}" fill="var(--{fill})"/>'
        f'<text class="small" x="{(x0 + x1) / 2:.1f}" y="{text:.1f}" text-anchor="middle">'
        f"{show_bytes(flow.bytes)}</text></g>"
    )


def _fit(name: str) -> str:
    return name if len(name) <= 15 else f"{name[:14]}…"
