"""Learning a text symbol by symbol: one run, what is kept of it, and pictures of learning curves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad.experiments.frame import records_of

__all__ = ["LAST", "cycled", "draw_curves", "dressed", "learned", "number", "rounded"]

LAST = 100_000
"""Steps at the end whose mean loss is reported, as in the UORO paper; a tenth of what is less than ten times that."""

ENTRIES = 10_000
"""Losses that a run keeps, at least; the mean of so many steps as that takes."""


def learned(
    system: fg.System,
    estimator: Any,
    optimizer: Any,
    xs: Any,
    ys: Any,
    rng: np.random.Generator,
    params: Mapping[str, Any] | None = None,
    points: int = 60,
) -> dict[str, Any]:
    """One run, as a record keeps it.

    Args:
        system: what learns.
        estimator: and how.
        optimizer: likewise.
        xs: inputs, shape (T, …).
        ys: targets.
        rng: of the estimator's noise.
        params: to start from, in place of the declared ones.
        points: of the learning curve.

    Returns:
        "loss", the mean over the last 10⁵ steps (or tenth); "microseconds" of the processor for a step; and the curve,
        "steps", "cumulated", "recent", as `History.curve` has it.
    """
    count = len(ys)
    learner = fg.Learner(system, estimator, optimizer, rng, engine="compiled")
    if params is not None:
        learner.params = {**learner.params, **params}
    learner.prepare(count)
    marks = [(0, time.process_time())]
    history = learner.run(
        xs, ys, record=max(1, count // ENTRIES), progress=lambda done, _: marks.append((done, time.process_time()))
    )
    first, last = marks[min(1, len(marks) - 2)], marks[-1]  # in front of the first mark a step may be compiled
    seconds = (last[1] - first[1]) / (last[0] - first[0])
    steps, cumulated, recent = history.curve(points)
    return {
        "loss": rounded([history.recent(min(LAST, max(count // 10, 1)))])[0],
        "microseconds": rounded([1e6 * seconds])[0],
        "steps": [int(step) for step in steps],
        "cumulated": rounded(cumulated),
        "recent": rounded(recent),
    }


def cycled(xs: np.ndarray, ys: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """So many samples of a text that begins again where it ends."""
    return np.resize(xs, steps), np.resize(ys, steps)


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    """Numbers of five digits: records are read by people, and kept for long."""
    return [float(f"{value:.5g}") for value in values]


def number(rng: np.random.Generator) -> int:
    """A seed for what takes no generator."""
    return int(rng.integers(2**31))


def draw_curves(
    ax: Any,
    found: fg.Sweep,
    lines: Mapping[str, Mapping[str, Any]],
    what: str = "cumulated",
    levels: Mapping[str, float] | None = None,
) -> None:
    """Learning curves on a logarithmic axis of time, a line for each run.

    Args:
        ax: matplotlib axes.
        found: the records.
        lines: the settings of the runs, by label.
        what: "cumulated" or "recent".
        levels: horizontal lines, by name.
    """
    for k, (label, settings) in enumerate(lines.items()):
        for replica, record in enumerate(r for r in records_of(found, **settings) if r.error is None):
            ax.plot(
                record.results["steps"],
                record.results[what],
                color=fg.plots.COLOURS[k % len(fg.plots.COLOURS)],
                linewidth=1.4,
                label=label if replica == 0 else None,
            )
    for name, level in (levels or {}).items():
        ax.axhline(level, color=fg.plots.GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        place = {"xy": (1.0, level), "xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        ax.annotate(name, **place, fontsize=7, color=fg.plots.GREY)
    dressed(ax, "step", "bits a character")
    ax.set_xscale("log")
    ax.legend(frameon=False, fontsize=7.5)


def dressed(ax: Any, xlabel: str, ylabel: str) -> None:
    """Axes as everywhere in the library."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6, zorder=0)
    ax.tick_params(which="both", color="#aaaaaa")
