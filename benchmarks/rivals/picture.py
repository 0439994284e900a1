"""The curves, drawn from the tables of the document."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.rivals.report import between

Curves = dict[str, list[tuple[int, float]]]
PANELS = {
    "stream": "A stream in memory",
    "single": "One sample at a time, from Python",
    "model": "Learning and the model alone",
}

STYLES = {
    "fwdgrad, Learner.run": ("C0", ":", 1.6),
    "fwdgrad, Learner.step, NumPy": ("C0", ":", 1.6),
    "fwdgrad": ("C0", "-", 2.6),
    "UORO": ("C0", "-", 2.0),
    "NoBackTrack": ("C2", ":", 2.6),
    "RTRL": ("C3", "-", 1.5),
    "limit": ("black", "--", 1.5),
    "F and Y": ("black", "--", 1.5),
    "fused": ("C2", "-", 1.5),
    "NumPy": ("C2", "-", 1.5),
    "JAX": ("C1", "-", 1.5),
    "braintrace": ("C4", "-", 1.5),
    "PyTorch": ("C3", "-", 1.5),
    "autograd": ("C5", "-", 1.5),
}
"""Colour, line and width, by how a label begins."""


def style(label: str) -> tuple[str, str, float]:
    """How a curve is drawn: the same in every panel."""
    return next((v for k, v in STYLES.items() if label.startswith(k)), ("grey", "-", 1.5))


def curves(text: str) -> Curves:
    """(n, µs per step) by row of a table with the columns "n = …"."""
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    if not rows:
        return {}
    sizes = {k: int(cell.removeprefix("n = ")) for k, cell in enumerate(rows[0]) if cell.startswith("n = ")}
    made: Curves = {}
    for row in rows[2:]:
        points = [(n, re.match(r"[\d.]+", row[k])) for k, n in sizes.items()]
        made[row[0].replace("`", "")] = [(n, float(m[0])) for n, m in points if m]
    return made


def draw(document: Path, target: Path) -> None:
    """One panel a table: time per step over n."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    text = document.read_text(encoding="utf-8")
    panels = {name: curves(between(text, name)) for name in PANELS}
    panels = {name: found for name, found in panels.items() if found}
    if not panels:
        return
    figure = Figure(figsize=(5.4 * len(panels), 6.2), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for label, points in found.items():
            color, line, width = style(label)
            axes.loglog(
                *zip(*points, strict=True),
                label=label,
                color=color,
                linestyle=line,
                linewidth=width,
                marker="o",
                markersize=4,
            )
        sizes = sorted({n for points in found.values() for n, _ in points})
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set(title=PANELS[name], xlabel="units n", ylabel="µs per step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=1 if len(found) < 5 else 2)
    figure.savefig(target, dpi=110)
