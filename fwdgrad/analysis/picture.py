"""The picture of a structure: the influence graph by units, and the patterns of ∂F/∂h and ∂F/∂θ."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from fwdgrad.analysis.findings import Findings
from fwdgrad.plots import check_target, new_figure, save
from fwdgrad.structure import Patterns

if TYPE_CHECKING:
    import networkx

__all__ = ["draw"]

MOST_UNITS = 40
"""More units than this are drawn as one node: a circle of hundreds says nothing."""

MOST_NAMED, FEW = 24, 12
"""State variables up to which each is drawn by its name; and up to which there are lines between the rows."""

PIXELS = 400
"""Patterns with more rows or columns than this are drawn by density."""

UNIT, LEAF, OUTPUT, INK = "#1f77b4", "#e0a030", "#444444", "#222222"


def draw(
    structure: Findings,
    influence: networkx.DiGraph,
    path: str | os.PathLike[str] | None,
    patterns: Patterns,
    names: Sequence[str],
) -> Any:
    """A figure of three panels; written to `path` if there is one.

    Args:
        structure: what was found.
        influence: its graph by units, which is drawn where there are many state variables.
        path: file to write.
        patterns: what is drawn, as `Structure.drawn` has it.
        names: of the state variables.
    """
    if path is not None:
        check_target(path)
    figure = new_figure(13.0, 4.6)
    graph, state, leaves = figure.subplots(1, 3, width_ratios=[1.15, 1.0, 1.25])
    if patterns.size <= MOST_NAMED:
        _variables(graph, patterns, names)
    else:
        _graph(graph, structure, influence)
    of = "rate" if patterns is not structure.patterns else "F"
    _spy(state, patterns.transition.state, f"∂{of}/∂h", names, names)
    state.set_xlabel("state variable")
    state.set_ylabel("rate of" if of == "rate" else "next state variable")
    _leaves(leaves, patterns, of, names)
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


def _variables(ax: Any, patterns: Patterns, names: Sequence[str]) -> None:
    """Parameters on the left, state variables by name in the middle, the prediction on the right."""
    n = len(names)
    turn = np.pi / 2 - 2 * np.pi * np.arange(n) / max(n, 1)
    radius = 0.0 if n == 1 else 0.36
    place: dict[Any, tuple[float, float]] = {
        ("state", k): (0.5 + radius * np.cos(t), 0.5 + radius * np.sin(t)) for k, t in enumerate(turn)
    }
    leaves = [k for k in patterns.trainable if patterns.transition.leaves[k].nnz or patterns.output.leaves[k].nnz]
    heights = np.linspace(0.97, 0.03, len(leaves)) if len(leaves) > 1 else [0.5]
    place |= {("leaf", name): (-0.3, y) for name, y in zip(leaves, heights, strict=True)}
    place["prediction"] = (1.4, 0.5)
    for i, j in zip(*patterns.transition.state.nonzero(), strict=True):
        if i != j:
            _arrow(ax, place["state", int(j)], place["state", int(i)], UNIT, 12.0)
    for j in np.unique(patterns.output.state.nonzero()[1]).tolist():
        _arrow(ax, place["state", j], place["prediction"], OUTPUT, 12.0)
    for name in leaves:
        for i in np.unique(patterns.transition.leaves[name].nonzero()[0]).tolist():
            _arrow(ax, place["leaf", name], place["state", i], LEAF, 12.0)
        if patterns.output.leaves[name].nnz:
            _arrow(ax, place["leaf", name], place["prediction"], LEAF, 12.0)
    for node, (x, y) in place.items():
        kind = node if isinstance(node, str) else node[0]
        text = "prediction" if kind == "prediction" else names[node[1]] if kind == "state" else node[1]
        colour = {"state": UNIT, "leaf": LEAF, "prediction": OUTPUT}[kind]
        ax.text(
            x, y, text, ha="center", va="center", fontsize=8, color="white", zorder=3,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"},
        )  # fmt: skip
    ax.set(xlim=(-0.5, 1.7), ylim=(-0.08, 1.08), title="what feeds what")
    ax.set_axis_off()


def _arrow(ax: Any, begin: tuple[float, float], end: tuple[float, float], colour: str, gap: float) -> None:
    style = {
        "arrowstyle": "-|>", "color": colour, "alpha": 0.7, "linewidth": 0.9, "shrinkA": gap, "shrinkB": gap,
        "connectionstyle": "arc3,rad=0.12",
    }  # fmt: skip
    ax.annotate("", xy=end, xytext=begin, arrowprops=style)


def _spy(ax: Any, pattern: sp.csr_array, title: str, rows_of: Sequence[str], columns_of: Sequence[str] = ()) -> None:
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
    for axis, names in ((ax.yaxis, rows_of), (ax.xaxis, columns_of)):
        if 0 < len(names) <= MOST_NAMED:
            turned = 90 if axis is ax.xaxis and max(map(len, names)) * len(names) > 40 else 0
            axis.set_ticks(range(len(names)), list(names), rotation=turned)
            if len(names) <= FEW and axis is ax.yaxis:
                _between(ax, len(names))
        else:
            axis.get_major_locator().set_params(integer=True)


def _extent(pattern: sp.csr_array) -> tuple[float, float, float, float]:
    rows, columns = pattern.shape
    return (-0.5, columns - 0.5, rows - 0.5, -0.5)


def _between(ax: Any, rows: int) -> None:
    """Lines between rows."""
    for k in range(1, rows):
        ax.axhline(k - 0.5, color="#bbbbbb", linewidth=0.6)


def _leaves(ax: Any, patterns: Patterns, of: str, rows: Sequence[str]) -> None:
    """All leaves of ∂F/∂θ side by side, each at the same width, so that small ones can be seen."""
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
    _spy(ax, joined, f"∂{of}/∂θ", rows)
    total = sum(patterns.transition.leaves[k].nnz for k in names)
    count = sum(patterns.transition.leaves[k].shape[1] for k in names) * patterns.size
    ax.set_title(f"∂{of}/∂θ: {total:,} of {count:,}", fontsize=10)
    ax.set_xticks([width * (k + 0.5) for k in range(len(names))], names, rotation=90 if len(names) > 6 else 0)
    for k in range(1, len(names)):
        ax.axvline(width * k - 0.5, color="#bbbbbb", linewidth=0.6)
    ax.set_xlabel("parameter")
