"""The picture of a comparison: projections with their intervals, noise over time, error against time."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np

from fwdgrad.comparison.statistics import Estimate
from fwdgrad.plots import COLOURS, check_target, new_figure, save
from fwdgrad.support.words import cut

__all__ = ["draw"]

INK, GREY, PALE, WRONG = "#222222", "#777777", "#e6e6e6", "#fbe9e7"

REACH = 3.0
"""Intervals of the projection are drawn so far; what goes on further ends in an arrow."""

EXACT = 1e-6
"""Errors below this count as none."""


class Compared(Protocol):
    """What is drawn of a `Comparison`; see there."""

    @property
    def system(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def replicas(self) -> int: ...
    @property
    def exact(self) -> np.ndarray: ...
    @property
    def edges(self) -> np.ndarray: ...
    @property
    def estimates(self) -> dict[str, Estimate]: ...


def draw(comparison: Compared, path: str | os.PathLike[str] | None = None) -> Any:
    """A figure of three panels; written to `path` if there is one."""
    if path is not None:
        check_target(path)
    count = len(comparison.estimates)
    figure = new_figure(13.0, max(4.2, 1.6 + 0.28 * count))
    projections, noise, costs = figure.subplots(1, 3, width_ratios=[1.15, 1.0, 1.0])
    colours = [COLOURS[k % len(COLOURS)] for k in range(count)]
    _projections(projections, comparison, colours)
    _noise(noise, comparison, colours)
    _costs(costs, comparison, colours)
    for ax in (projections, noise, costs):
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(which="both", color="#aaaaaa", labelsize=8)
        ax.xaxis.label.set_size(9)
        ax.yaxis.label.set_size(9)
    p = comparison.exact.shape[1]
    size = f"{p:,} parameter{'s' * (p > 1)}, {comparison.steps:,} steps, {comparison.replicas} replicas"
    figure.suptitle(f"{comparison.system}: {size}", fontsize=10, color=GREY)
    if path is not None:
        save(figure, path)
    return figure


def _projections(ax: Any, comparison: Compared, colours: list[str]) -> None:
    """Mean and interval of ⟨g, g*⟩ / ‖g*‖², one line each: 1 is right, below 0 is the wrong way."""
    found = list(comparison.estimates.values())
    rows = np.arange(len(found))[::-1]
    ends = np.array([e.projection_interval for e in found])
    means = np.array([e.projection for e in found])
    low = min(0.0, float(np.min(np.maximum(ends[:, 0], np.minimum(means, 1.0) - REACH))))
    high = max(1.0, float(np.max(np.minimum(ends[:, 1], np.maximum(means, 0.0) + REACH))))
    left, right = low - 0.06 * (high - low), high + 0.06 * (high - low)
    ax.axvspan(left, 0.0, color=WRONG, linewidth=0, zorder=0)
    ax.axvline(1.0, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, e, mean, (a, b), colour in zip(rows, found, means, ends, colours, strict=True):
        ax.plot([max(a, low), min(b, high)], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
        ax.plot([mean], [row], "o", color=colour, markersize=6, zorder=3)
        for beyond, place, mark in ((a < low, low, "<"), (b > high, high, ">")):
            if beyond:
                ax.plot([place], [row], mark, color=colour, markersize=5, zorder=3)
        if not e.random:
            ax.plot([mean], [row], "o", color="white", markersize=2.5, zorder=4)
    ax.set(xlim=(left, right), ylim=(-0.7, len(found) - 0.3))
    ax.set_yticks(rows, [cut(e.label, 24) for e in found])
    for tick, colour in zip(ax.get_yticklabels(), colours, strict=True):
        tick.set_color(colour)
    ax.set_xlabel("projection on the exact gradient, 95 % interval")
    ax.set_title("1 is right, below 0 is the wrong way", fontsize=10)
    ax.grid(axis="x", color=PALE, linewidth=0.6, zorder=0)


def _noise(ax: Any, comparison: Compared, colours: list[str]) -> None:
    """E ‖g − E g‖² / ‖g*‖² of each block."""
    middle = (comparison.edges[1:] + comparison.edges[:-1]) / 2
    drawn = False
    for e, colour in zip(comparison.estimates.values(), colours, strict=True):
        if np.any(e.block_variance > 0):
            values = np.where(e.block_variance > 0, e.block_variance, np.nan)
            mark = "o" if np.sum(values > 0) == 1 else ""
            ax.plot(middle, values, color=colour, linewidth=1.8, marker=mark, solid_capstyle="round")
            drawn = True
    ax.set_title("noise of the gradient over time", fontsize=10)
    if not drawn:
        _say(ax, "nothing is random here")
        return
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 20 * low:
        low, high = low / 2, high * 2
    ax.set(xlim=(comparison.edges[0], comparison.edges[-1]), ylim=(low, high))
    _ticks(ax.yaxis, low, high)
    ax.set_xlabel("step")
    ax.set_ylabel("variance of a block / squared exact gradient")
    ax.grid(axis="y", color=PALE, linewidth=0.6, zorder=0)


def _costs(ax: Any, comparison: Compared, colours: list[str]) -> None:
    """Root mean square error of one estimate against the time of a step."""
    ax.set_title("error of one estimate and its price", fontsize=10)
    found = list(comparison.estimates.values())
    times = np.array([e.cost.time_ratio for e in found])
    if np.any(np.isnan(times)):
        _say(ax, "costs were not measured")
        return
    errors = np.array([e.error for e in found])
    rough = errors[errors > EXACT]
    floor = 0.25 * min(rough.min(initial=np.inf), 0.4)
    ax.set_xscale("log")
    ax.set_yscale("log")
    shown = np.maximum(errors, floor)
    ax.scatter(times, shown, s=42, color=colours, zorder=3)
    if len(rough) < len(errors):
        ax.axhline(floor, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.annotate("exact", (0.0, floor), (4, -3), xycoords=("axes fraction", "data"), textcoords="offset points",
                    va="top", fontsize=8, color=GREY)  # fmt: skip
    left, right = times.min() / 1.5, times.max() * 1.5
    if right / left < 30:
        middle = np.sqrt(left * right)
        left, right = middle / 30**0.5, middle * 30**0.5
    ax.set(xlim=(left, right), ylim=(floor / 1.6, shown.max() * 2.5))
    _ticks(ax.xaxis, left, right, "×")
    _ticks(ax.yaxis, *ax.get_ylim())
    ax.set_xlabel("time of a step, ×1 is the model alone")
    ax.set_ylabel("root mean square error / exact gradient")
    ax.grid(color=PALE, linewidth=0.6, zorder=0)
    _label(ax, times, shown, [cut(e.label, 24) for e in found], colours, floor)


def _label(ax: Any, x: np.ndarray, y: np.ndarray, labels: list[str], colours: list[str], line: float) -> None:
    """A name near each point, in the nearest place where it covers no point, no other text and not the line."""
    ax.figure.draw_without_rendering()  # the layout decides where points are
    area, pixels = ax.get_window_extent(), ax.figure.dpi / 72
    points = ax.transData.transform(np.column_stack([x, y]))
    base = float(ax.transData.transform((x[0], line))[1])
    taken = [(px - 4 * pixels, py - 4 * pixels, px + 4 * pixels, py + 4 * pixels) for px, py in points]
    taken.append((area.x0, base - pixels, area.x1, base + pixels))
    taken += [tuple(text.get_window_extent().extents) for text in ax.texts]
    for k in np.lexsort((points[:, 0], points[:, 1])):
        look = {"fontsize": 8, "color": colours[k], "va": "center"}
        text = ax.text(x[k], y[k], labels[k], **look)
        extent = text.get_window_extent()
        text.remove()
        for dx, dy in sorted(PLACES, key=lambda place: abs(place[1])):
            left = points[k, 0] + dx * pixels - (extent.width if dx < 0 else 0.0)
            low = points[k, 1] + dy * pixels - extent.height / 2
            box = (left, low, left + extent.width, low + extent.height)
            inside = area.x0 <= box[0] and box[2] <= area.x1 and area.y0 <= box[1] and box[3] <= area.y1
            if inside and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        leader = {"arrowstyle": "-", "color": colours[k], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        ax.annotate(labels[k], (x[k], y[k]), (dx, dy), textcoords="offset points", ha="left" if dx > 0 else "right",
                    arrowprops=leader if abs(dy) > 6 else None, **look)  # fmt: skip


PLACES = [(dx, dy) for dy in range(-60, 62, 2) for dx in (8, -8)]
"""Offsets of a name from its point, in typographic points."""


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ticks(axis: Any, low: float, high: float, sign: str = "") -> None:
    """Powers of ten on a logarithmic axis, and 2 and 5 of them if there are few."""
    steps = (1, 2, 5) if high < 200 * low else (1,)
    places = [s * 10.0**k for k in range(-20, 20) for s in steps if low <= s * 10.0**k <= high]
    axis.set_ticks(places, [f"{sign}{v:g}" for v in places])
    axis.set_ticks([], minor=True)


def _say(ax: Any, text: str) -> None:
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color=GREY)
    ax.set_axis_off()


def draw_choice(
    system: str,
    times: dict[str, float],
    errors: dict[str, float],
    chosen: str,
    front: tuple[str, ...],
    path: str | os.PathLike[str] | None,
) -> Any:
    """Error against the time of a step, for each estimator; those of the front are joined, the chosen one is filled."""
    if path is not None:
        check_target(path)
    figure = new_figure(6.4, 4.4)
    ax = figure.subplots()
    shown = {k: max(e, EXACT) for k, e in errors.items()}
    ax.plot([times[k] for k in front], [shown[k] for k in front], color=GREY, linewidth=0.9, zorder=1)
    for k, e in shown.items():
        ax.scatter(times[k], e, s=42, color=COLOURS[0], facecolor=COLOURS[0] if k == chosen else "white", zorder=2)
        ax.annotate(cut(k, 24), (times[k], e), (5, 5), textcoords="offset points", fontsize=8, color=INK)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("time of a step, of the model alone", fontsize=9)
    ax.set_ylabel("error of the gradient, relative", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(which="both", color="#aaaaaa", labelsize=8)
    ax.set_title(f"{system}: {chosen}", fontsize=10, color=GREY)
    if path is not None:
        save(figure, path)
    return figure
