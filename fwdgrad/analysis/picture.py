"""The picture of a structure: the influence graph by units, and the patterns of ∂F/∂h and ∂F/∂θ."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from fwdgrad.analysis.findings import Findings
from fwdgrad.plots import check_target, new_figure, save

if TYPE_CHECKING:
    import networkx

__all__ = ["draw"]

MOST_UNITS = 40
"""More units than this are drawn as one node: a circle of hundreds says nothing."""

PIXELS = 400
"""Patterns with more rows or columns than this are drawn by density."""

UNIT, LEAF, OUTPUT, INK = "#1f77b4", "#e0a030", "#444444", "#222222"


def draw(structure: Findings, influence: networkx.DiGraph, path: str | os.PathLike[str] | None = None) -> Any:
    """A figure of three panels; written to `path` if there is one."""
    if path is not None:
        check_target(path)
    figure = new_figure(13.0, 4.6)
    graph, state, leaves = figure.subplots(1, 3, width_ratios=[1.15, 1.0, 1.25])
    _graph(graph, structure, influence)
    patterns = structure.patterns
    _spy(state, patterns.transition.state, "∂F/∂h")
    state.set_xlabel("state variable")
    state.set_ylabel("next state variable")
    _leaves(leaves, structure)
    if path is not None:
        save(figure, path)
    return figure


def _graph(ax: Any, structure: Findings, graph: networkx.DiGraph) -> None:
    """Leaves on the left, units on a circle in the middle, the prediction on the right."""
    units = structure.units
    folded = units.count > MOST_UNITS
    names: list[Any] = ["units"] if folded else [("unit", k) for k in range(units.count)]
    turn = 2 * np.pi * np.arange(len(names)) / max(len(names), 1)
    radius = 0.0 if len(names) == 1 else 0.33
    place = {n: (0.5 + radius * np.cos(t), 0.5 + radius * np.sin(t)) for n, t in zip(names, turn, strict=True)}
    leaves = [n for n in graph if n[0] == "leaf"]
    heights = np.linspace(0.95, 0.05, len(leaves)) if len(leaves) > 1 else [0.5]
    place |= {n: (-0.25, y) for n, y in zip(leaves, heights, strict=True)}
    place["prediction"] = (1.2, 0.5)

    def folded_name(node: Any) -> Any:
        return "units" if folded and node[0] == "unit" else node

    edges = {(folded_name(a), folded_name(b)) for a, b in graph.edges}
    faint = min(1.0, 30.0 / max(len(edges), 1))
    for a, b in edges:
        if a != b:
            colour = LEAF if a[0] == "leaf" else UNIT if b != "prediction" else OUTPUT
            (x0, y0), (x1, y1) = place[a], place[b]
            ax.annotate(
                "",
                xy=(x1, y1),
                xytext=(x0, y0),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": colour,
                    "alpha": 0.15 + 0.6 * faint,
                    "linewidth": 0.8,
                    "shrinkA": 5,
                    "shrinkB": 7,
                    "connectionstyle": "arc3,rad=0.08",
                },
            )
    for node, (x, y) in place.items():
        kind = graph.nodes[node]["kind"] if node in graph else "unit"
        colour = {"unit": UNIT, "leaf": LEAF, "prediction": OUTPUT}[kind]
        size = 1500 if node == "units" else 60 if kind == "unit" else 40
        ax.scatter([x], [y], s=size, color=colour, zorder=3)
        if kind == "leaf":
            ax.text(x - 0.05, y, node[1], ha="right", va="center", fontsize=8, color=INK)
    label = f"{units.count} units"
    ax.text(0.5, 0.5 if folded else 1.0, label, ha="center", va="center", fontsize=8, color="white" if folded else INK)
    ax.text(1.2, 0.43, "prediction", ha="center", va="top", fontsize=8, color=INK)
    ax.set(xlim=(-0.75, 1.45), ylim=(-0.08, 1.08), title="which parameter feeds which unit")
    ax.set_axis_off()


def _spy(ax: Any, pattern: sp.csr_array, title: str) -> None:
    """Entries that can be non-zero, dark; large patterns by the share of such entries in each pixel."""
    rows, columns = pattern.shape
    height, width = min(rows, PIXELS), min(columns, PIXELS)
    i, j = pattern.nonzero()
    image = np.zeros((height, width))
    np.add.at(image, (i * height // max(rows, 1), j * width // max(columns, 1)), 1.0)
    image /= max(rows * columns / max(height * width, 1), 1.0)
    # a single entry in a large pixel must still be seen
    shown = np.where(image > 0, 0.35 + 0.65 * np.minimum(image, 1.0), 0.0)
    ax.imshow(shown, cmap="Blues", vmin=0, vmax=1.1, aspect="auto", interpolation="nearest", extent=_extent(pattern))
    ax.set_title(f"{title}: {pattern.nnz:,} of {rows * columns:,}", fontsize=10)
    ax.tick_params(labelsize=7, color="#aaaaaa")


def _extent(pattern: sp.csr_array) -> tuple[float, float, float, float]:
    rows, columns = pattern.shape
    return (-0.5, columns - 0.5, rows - 0.5, -0.5)


def _leaves(ax: Any, structure: Findings) -> None:
    """All leaves of ∂F/∂θ side by side, each at the same width, so that small ones can be seen."""
    patterns = structure.patterns
    names = list(patterns.influential)
    if not names:
        ax.text(0.5, 0.5, "no learned parameter\nfeeds the state", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return
    width = max(PIXELS // len(names), 4)
    blocks = []
    for name in names:
        pattern = patterns.transition.leaves[name]
        row, column = pattern.nonzero()
        place = column * width // pattern.shape[1]
        last = np.maximum((column + 1) * width // pattern.shape[1], place + 1)
        image = np.zeros((pattern.shape[0], width), bool)
        for offset in range(int((last - place).max(initial=1))):  # a column of a small leaf covers several pixels
            inside = place + offset < last
            image[row[inside], place[inside] + offset] = True
        blocks.append(sp.csr_array(image))
    joined = sp.csr_array(sp.hstack(blocks, format="csr"))
    _spy(ax, joined, "∂F/∂θ")
    total = sum(patterns.transition.leaves[k].nnz for k in names)
    count = sum(patterns.transition.leaves[k].shape[1] for k in names) * patterns.size
    ax.set_title(f"∂F/∂θ: {total:,} of {count:,}", fontsize=10)
    ax.set_xticks([width * (k + 0.5) for k in range(len(names))], names, rotation=90 if len(names) > 6 else 0)
    for k in range(1, len(names)):
        ax.axvline(width * k - 0.5, color="#bbbbbb", linewidth=0.6)
    ax.set_xlabel("parameter")
