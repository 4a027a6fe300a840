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
    away = [places[f.target] - places[f.source] for f in flows]
    above, below = (_rise(max((side * n for n in away), default=0)) + 22 for side in (-1, 1))
    width, height = len(places) * (_BOX + _GAP) - _GAP + 8, above + _HEIGHT + below
    most = max((flow.bytes for flow in flows), default=1)
    arcs = [_arc(flow, places, most, above) for flow in sorted(flows, key=lambda flow: -flow.bytes)]
    parts = [curve for curve, _ in arcs]
    for name, i in places.items():
        x = 4 + i * (_BOX + _GAP)
        parts.append(f'<rect class="box" x="{x}" y="{above}" width="{_BOX}" height="{_HEIGHT}" rx="6"/>')
        parts.append(
            f'<text x="{x + _BOX / 2}" y="{above + _HEIGHT / 2 + 4}" text-anchor="middle">{escape(_fit(name))}</text>'
        )
    parts += [text for _, text in arcs]
    label = "; ".join(f"{flow.source} to {flow.target} {show_bytes(flow.bytes)}" for flow in flows) or "nothing moves"
    return (
        f'<svg class="traffic" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _rise(distance: int) -> float:
    if distance <= 0:
        return 0.0
    return _RISE * math.sqrt(distance) + 16 * (distance - 1)


def _arc(flow: Flow, places: dict[str, int], most: int, above: float) -> tuple[str, str]:
    """A curve from box to box, and its bytes at the farthest point, to be drawn over all curves."""
    a, b = places[flow.source], places[flow.target]
    inward, distance = b < a, abs(a - b)
    side = -1 if inward else 1
    edge = above if inward else above + _HEIGHT
    left, right = sorted((a, b))
    x0 = _middle(left) + 8 + 8 * min(distance, 4)  # longer arcs leave the left box nearer to its right side
    x1 = _middle(right) - 16
    control = edge + side * _rise(distance) * 4 / 3
    wide = max(_LEAST, _WIDEST * flow.bytes / most)
    head = max(5.0, wide * 0.7)
    begin, end = (x1, x0) if inward else (x0, x1)
    base = edge + side * head
    kind = "copy" if COMPUTE_NAME not in (flow.source, flow.target) else "in" if inward else "out"
    fill = {"in": "by-tier", "out": "by-link", "copy": "fetch"}[kind]
    shown, y = show_bytes(flow.bytes), edge + side * _rise(distance) + 4
    curve = (
        f"<g><title>{escape(flow.source)} to {escape(flow.target)}: {shown}</title>"
        f'<path class="{kind}" stroke-width="{wide:.1f}" stroke-opacity=".75" '
        f'd="M{begin:.1f} {edge:.1f} C{begin:.1f} {control:.1f} {end:.1f} {control:.1f} {end:.1f} {base:.1f}"/>'
        f'<polygon points="{end:.1f},{edge:.1f} {end - head:.1f},{base:.1f} {end + head:.1f},{base:.1f}" '
        f'fill="var(--{fill})"/></g>'
    )
    return curve, f'<text class="small" x="{(x0 + x1) / 2:.1f}" y="{y:.1f}" text-anchor="middle">{shown}</text>'


def _middle(place: int) -> float:
    return 4 + place * (_BOX + _GAP) + _BOX / 2


def _fit(name: str) -> str:
    return name if len(name) <= 15 else f"{name[:14]}…"
