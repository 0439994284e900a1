"""The picture of a sweep: a result against a setting, a line for each combination of the others."""

from __future__ import annotations

import math
import os
from typing import Any, Protocol

from fwdgrad.plots import COLOURS, GREY, check_target, new_figure, save
from fwdgrad.sweeps.cells import Scalar, is_number
from fwdgrad.sweeps.summaries import Summary

__all__ = ["draw"]

WIDE = 20.0
"""Numbers that differ by such a factor are drawn on a logarithmic axis."""


class Swept(Protocol):
    """What is drawn of a `Sweep`; see there."""

    def __len__(self) -> int: ...
    @property
    def settings(self) -> dict[str, tuple[Scalar, ...]]: ...
    def summary(self, result: str) -> list[Summary]: ...


def draw(sweep: Swept, result: str, x: str | None, path: str | os.PathLike[str] | None) -> Any:
    """A figure of one panel; written to `path` if there is one."""
    if path is not None:
        check_target(path)
    x = x or _along(sweep)
    values = [v for v in sweep.settings[x] if v is not None]
    numeric = all(is_number(v) for v in values)
    lines: dict[str, list[Summary]] = {}
    for summary in sweep.summary(result):
        if summary.settings.get(x) is not None:
            lines.setdefault(_others(sweep, summary, x), []).append(summary)
    figure = new_figure(7.5, 4.6)
    ax = figure.subplots()
    places: dict[Any, Any] = {v: v if numeric else k for k, v in enumerate(values)}
    for k, (label, row) in enumerate(lines.items()):
        row.sort(key=lambda s: places[s.settings[x]])
        _line(ax, row, [places[s.settings[x]] for s in row], label, k)
    _axes(ax, sweep, [float(places[v]) for v in values], result, x)
    if not numeric:
        ax.set_xticks(range(len(values)), [str(v) for v in values])
    if any(lines):
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    if path is not None:
        save(figure, path)
    return figure


def _along(sweep: Swept) -> str:
    """The first setting with several numbers, or with several values."""
    several = [name for name, values in sweep.settings.items() if len(values) > 1] or list(sweep.settings)
    return next((n for n in several if all(is_number(v) for v in sweep.settings[n])), several[0])


def _others(sweep: Swept, summary: Summary, x: str) -> str:
    """What the line is called: the other settings that have several values."""
    varied = [name for name, values in sweep.settings.items() if name != x and len(values) > 1]
    if len(varied) == 1:
        return str(summary.settings.get(varied[0]))
    return ", ".join(f"{name} {summary.settings.get(name)}" for name in varied)


def _line(ax: Any, row: list[Summary], places: list[Any], label: str, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    known = [(p, s) for p, s in zip(places, row, strict=True) if math.isfinite(s.mean)]
    lost = [p for p, s in zip(places, row, strict=True) if not math.isfinite(s.mean)]
    means = [s.mean for _, s in known]
    below, above = [s.mean - s.low for _, s in known], [s.high - s.mean for _, s in known]
    ax.errorbar(
        [p for p, _ in known],
        means,
        [below, above],
        color=colour,
        marker="o",
        markersize=3.5,
        linewidth=1.3,
        elinewidth=0.8,
        label=label or None,
    )
    if known:
        place, best = min(known, key=lambda pair: pair[1].mean)
        ax.plot([place], [best.mean], marker="o", markersize=9, color=colour, markerfacecolor="none", linestyle="none")
    if lost:
        edge = ax.get_xaxis_transform()
        ax.plot(
            lost,
            [0.985 - 0.03 * number] * len(lost),
            marker="x",
            color=colour,
            linestyle="none",
            transform=edge,
            clip_on=False,
        )


def _axes(ax: Any, sweep: Swept, places: list[float], result: str, x: str) -> None:
    if min(places) > 0 and max(places) >= WIDE * min(places):
        ax.set_xscale("log")
    finite = [s.mean for s in sweep.summary(result) if math.isfinite(s.mean)]
    if finite and min(finite) > 0 and max(finite) >= WIDE * min(finite):
        ax.set_yscale("log")
    ax.set_xlabel(x)
    several = max(s.replicas for s in sweep.summary(result))
    ax.set_ylabel(result if several == 1 else f"{result}: mean of {several}, lowest and highest")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(which="both", color="#aaaaaa", labelsize=8)
    ax.set_title(
        f"{len(sweep)} cells; a ring is the best of its line, a cross is one that failed", fontsize=9, color=GREY
    )
