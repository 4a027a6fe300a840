"""Tables of two columns for notebooks."""

from collections.abc import Iterable
from html import escape


def html_table(rows: Iterable[tuple[str, str]]) -> str:
    """What stands at the left names what stands at the right.

    >>> html_table([("bound", "< 1 ms")])
    '<table><tr><th style="text-align:left">bound</th><td style="text-align:left">&lt; 1 ms</td></tr></table>'
    """
    left = 'style="text-align:left"'
    cells = (f"<tr><th {left}>{escape(a)}</th><td {left}>{escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{''.join(cells)}</table>"
