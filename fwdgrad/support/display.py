"""Tables as text, and what notebooks show of results: HTML tables and small SVG curves.

Nothing is loaded and no script is run; colours are those of the page (`currentColor`), which may be dark or light.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["CURVES", "columns", "counted", "curve", "page", "pairs", "paragraph", "plain", "remarks", "table"]

WIDTH, HEIGHT, MARGIN = 420, 90, 4
"""Of a curve, in pixels."""
POINTS = 300
"""A curve is drawn through at most this many points: means of what lies between."""
CURVES = 6
"""Curves that are shown of a result, at most."""
LONG = 40
"""Rows of a table, at most; of more, the first and the last ones are shown."""
BAND = 1.96
"""Half the width of a band, in standard deviations: 95 % of a normal distribution."""

_RULE = "1px solid rgba(127,127,127,0.4)"
_CELL = "padding:0.15em 0.8em 0.15em 0;border:0;background:none;"


# ---- text


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    r"""Rows of text as lines, in columns two spaces apart; the first `left` of them begin on the left.

    Example:
        >>> print("\n".join(columns([("parameter", "value"), ("a", "1.5")])))
        parameter  value
        a            1.5
    """
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if k < left else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def counted(count: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "sample"), counted(2000, "sample")
        ('1 sample', '2,000 samples')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


# ---- HTML


def page(title: str, *parts: str) -> str:
    """What a notebook shows of an object: a heading, and parts that the functions below make, one below the other."""
    body = "".join(parts)
    return f'<div style="max-width:60em;overflow-x:auto"><div><strong>{plain(title)}</strong></div>{body}</div>'


def plain(text: str) -> str:
    """Text, for HTML."""
    return html.escape(str(text))


def paragraph(text: str) -> str:
    """A paragraph; lines stay lines."""
    return f'<div style="white-space:pre-line">{plain(text)}</div>' if text else ""


def remarks(texts: Iterable[str]) -> str:
    """A list of what speaks against a result; nothing if there is nothing."""
    items = "".join(f'<li style="white-space:pre-line">{plain(text)}</li>' for text in texts)
    return f"<ul style=\"margin:0.3em 0;padding-left:1.4em;list-style-type:'! '\">{items}</ul>" if items else ""


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of names and what they are."""
    made = [(name, str(value)) for name, value in rows]
    return table(made, left=2, head=False) if made else ""


def table(rows: Sequence[Sequence[str]], left: int = 1, head: bool = True, marked: Iterable[int] = ()) -> str:
    """Rows of text as a table.

    Args:
        rows: of equally many cells; if there is a `head`, it is the first one.
        left: so many columns begin on the left; numbers in the others end on the right.
        head: whether there is one.
        marked: numbers of rows that are set in bold, the head not counted.
    """
    first, body = (list(rows[0]), list(rows[1:])) if head else ([], list(rows))
    bold = set(marked)
    shown: list[Any] = list(enumerate(body))
    if len(body) > LONG:
        left_out = ["…"] + [""] * (len(body[0]) - 1)
        shown = [*shown[: LONG // 2], (-1, left_out), *shown[-LONG // 2 :]]
    lines = [_row(first, left, "th", f"border-bottom:{_RULE};font-weight:normal;opacity:0.75;")] if head else []
    lines += [_row(row, left, "td", "font-weight:bold;" if k in bold else "") for k, row in shown]
    return f'<table style="border-collapse:collapse;border:0;margin:0.4em 0">{"".join(lines)}</table>'


def _row(cells: Sequence[str], left: int, tag: str, style: str) -> str:
    sides = ["left" if k < left else "right" for k in range(len(cells))]
    made = [
        f'<{tag} style="text-align:{side};{_CELL}{style}">{plain(cell)}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    ]
    return f'<tr style="background:none">{"".join(made)}</tr>'


def curve(values: Any, std: Any = None, data: Any = None, label: str = "", along: tuple[str, str] = ("", "")) -> str:
    """A curve as a small picture, with a band, and dots of what was observed; nothing where no number is finite.

    Args:
        values: shape (T,); NaN where there is nothing.
        std: standard deviations, shape (T,): a band of 95 %.
        data: shape (T,).
        label: what it is.
        along: what the first and the last of them are called.
    """
    drawn = _reduced(np.asarray(values, float))
    width = None if std is None else BAND * _reduced(np.asarray(std, float))
    dots = None if data is None else _reduced(np.asarray(data, float))
    ends = [drawn] if width is None else [drawn, drawn - width, drawn + width]
    every = np.concatenate([*ends, *([dots] if dots is not None else [])])
    every = every[np.isfinite(every)]
    if not every.size:
        return ""
    low, high = float(every.min()), float(every.max())
    span = (high - low) or abs(high) or 1.0

    def place(k: int, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * k / max(len(drawn) - 1, 1)
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / span
        return f"{x:.1f},{y:.1f}"

    made = []
    if width is not None:
        for part in _runs(np.isfinite(width) & np.isfinite(drawn)):
            above = [place(k, drawn[k] + width[k]) for k in part]
            below = [place(k, drawn[k] - width[k]) for k in reversed(part)]
            made.append(f'<polygon points="{" ".join([*above, *below])}" fill="currentColor" opacity="0.18"/>')
    if dots is not None:
        spots = [place(int(k), dots[k]).split(",") for k in np.flatnonzero(np.isfinite(dots))]
        made += [f'<circle cx="{x}" cy="{y}" r="1.4" fill="currentColor" opacity="0.55"/>' for x, y in spots]
    for part in _runs(np.isfinite(drawn)):
        line = " ".join(place(k, drawn[k]) for k in part) + (f" {place(part[0], drawn[part[0]])}" * (len(part) == 1))
        made.append(f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.4"/>')
    said = f"{label} {low:.3g} to {high:.3g}".strip()
    where = f"{along[0]} … {along[1]}" if any(along) else ""
    return (
        f'<div style="margin:0.3em 0"><div style="font-size:85%;opacity:0.75">{plain(said)}'
        f"{plain(f', {where}') if where else ''}</div>"
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'style="max-width:100%;border-bottom:{_RULE};border-left:{_RULE}">{"".join(made)}</svg></div>'
    )


def _reduced(values: np.ndarray) -> np.ndarray:
    """At most so many numbers, as many for every array of one length: means of what is finite."""
    if len(values) <= POINTS:
        return values
    edges = np.linspace(0, len(values), POINTS + 1).astype(int)
    made = np.full(POINTS, np.nan)
    for k, (a, b) in enumerate(pairwise(edges.tolist())):
        seen = values[a:b][np.isfinite(values[a:b])]
        if seen.size:
            made[k] = seen.mean()
    return made


def _runs(there: np.ndarray) -> list[list[int]]:
    """Places that follow each other."""
    places = np.flatnonzero(there)
    if not places.size:
        return []
    return [part.tolist() for part in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)]
