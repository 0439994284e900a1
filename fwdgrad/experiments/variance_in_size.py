"""Figure 1b of the UORO paper: the variance of UORO's gradients grows with the network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, records_of
from fwdgrad.experiments.texts import dressed, number, rounded

__all__ = ["EXPERIMENT"]

STEPS = 10

BATCH = 25
"""Runs whose gradients are held at a time: each has a million numbers in the largest network."""

GROWS = 0.5
"""Power of n, at least, that counts as growth."""


def learn(units: int, runs: int, rng: np.random.Generator) -> dict[str, Any]:
    """The variance of the tenth gradient of an untrained network."""
    weights, noise = rng.spawn(2)
    xs, ys, alphabet = fg.streams.text_stream(fg.streams.python_text())
    system = systems.gru(units=units, symbols=len(alphabet), reset="before", seed=number(weights))
    found = []
    for _ in range(max(1, runs // BATCH)):
        made = fg.compare(
            system, xs, ys, ["uoro"], min(runs, BATCH), steps=STEPS, at=[STEPS - 1], seed=noise, engine="numpy",
            costs=False,
        )  # fmt: skip
        found.append(float(made["UORO"].variance))
    return {"variance": rounded(np.mean(found, keepdims=True))[0], "parameters": int(sum(made.exact.shape[1:]))}


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """Networks of 1, 2, 4 … units."""
    return [{"units": 2**k, "runs": 25 if quick else 100} for k in range(7 if quick else 10)]


def points(found: fg.Sweep) -> dict[int, list[float]]:
    """Variances by the number of units."""
    made: dict[int, list[float]] = {}
    for record in records_of(found):
        if record.error is None:
            made.setdefault(record.settings["units"], []).append(record.results["variance"])
    return dict(sorted(made.items()))


def table(found: fg.Sweep) -> Rows:
    """A line for each size."""
    made = {r.settings["units"]: r.results["parameters"] for r in records_of(found) if r.error is None}
    return [
        ["units", "parameters of F", "E‖g − Eg‖² / ‖Eg‖²"],
        *([str(n), f"{made[n]:,}", f"{np.mean(values):.3g}"] for n, values in points(found).items()),
    ]


def power(found: fg.Sweep, least: int = 8) -> float:
    """The power of n as which the variance grows, from so many units on; NaN if there are too few sizes."""
    kept = {n: np.mean(values) for n, values in points(found).items() if n >= least}
    if len(kept) < 3:
        return math.nan
    return float(np.polyfit(np.log([*kept]), np.log([*kept.values()]), 1)[0])


def criteria(found: fg.Sweep) -> list[Criterion]:
    """It grows."""
    fitted, sizes = power(found), points(found)
    means = {n: np.mean(values) for n, values in sizes.items()}
    up = [bool(means[b] > means[a]) for a, b in zip([*means][:-1], [*means][1:], strict=True) if a >= 8]
    return [
        Criterion(
            f"from 8 units on the variance grows as a power of n above {GROWS}",
            f"n^{fitted:.2f}",
            None if math.isnan(fitted) else fitted > GROWS,
        ),
        Criterion(
            "each doubling of the network, from 8 units on, raises it",
            f"{sum(up)} of {len(up)}",
            all(up) if up else None,
        ),
    ]


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 1b."""
    ax = figure.subplots()
    made = points(found)
    for n, values in made.items():
        ax.loglog([n] * len(values), values, "o", color=fg.plots.COLOURS[0], markersize=4, alpha=0.6)
    ax.loglog([*made], [np.mean(v) for v in made.values()], color=fg.plots.COLOURS[0], linewidth=1.4)
    dressed(ax, "units", "relative variance of the tenth gradient")
    ax.set_xscale("log", base=2)


EXPERIMENT = Experiment(
    name="uoro-1b",
    title="The variance of UORO's gradients as networks grow",
    source="Tallec and Ollivier 2018, section 5, figure 1b",
    setting="Untrained GRUs of 1 to 512 units; the gradient of the loss after 10 steps, 100 runs.",
    deviations=("The text is the one that comes with Python. Relative to the exact gradient, as for figure 1a.",),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    replicas=3,
)
