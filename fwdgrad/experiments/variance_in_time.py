"""Figure 1a of the UORO paper: does the variance of UORO's gradients grow as time goes by?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows
from fwdgrad.experiments.texts import cycled, dressed, number, rounded

__all__ = ["EXPERIMENT"]

UNITS, GAMMA, ALPHA = 64, 1e-3, 0.03

LONG, QUICK = 1_000_000, 3000
"""Characters that the network is trained on."""

POINTS = 40
"""Times at which the variance is measured, evenly spread over their logarithm."""

FLAT = 0.1
"""Slope of the logarithms, up or down, below which the variance counts as stationary: a factor of two in a thousand."""


def learn(steps: int, length: int, runs: int, rng: np.random.Generator) -> dict[str, Any]:
    """Train on so many characters, then run again on the first `length` of them, `runs` times, with θ fixed."""
    weights, noise = rng.spawn(2)
    xs, ys, alphabet = fg.streams.text_stream(fg.streams.python_text())
    system = systems.gru(units=UNITS, symbols=len(alphabet), reset="before", seed=number(weights))
    optimizer = fg.Adam(fg.schedules.inverse_sqrt(GAMMA, ALPHA))
    learner = fg.Learner(system, fg.UORO(), optimizer, noise, engine="compiled")
    history = learner.run(*cycled(xs, ys, steps), record=100)
    times = np.unique(np.geomspace(min(10, length), length, POINTS).astype(int)) - 1
    made = fg.compare(
        system, xs, ys, ["uoro"], runs, steps=length, at=times, params=learner.params, seed=noise, engine="compiled",
        costs=False,
    )  # fmt: skip
    variance = made["UORO"].block_variance
    return {
        "trained to": history.recent(steps // 10),
        "times": [int(t) + 1 for t in times],
        "variance": rounded(variance),
    }


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """One network."""
    trained = steps or (QUICK if quick else LONG)
    return [{"steps": trained, "length": 300 if quick else 10_000, "runs": 12 if quick else 100}]


def curves(found: fg.Sweep) -> list[tuple[np.ndarray, np.ndarray]]:
    """Times and variances of each run."""
    made = [dict[str, Any](record.results) for record in found if record.error is None]
    return [(np.array(results["times"]), np.array(results["variance"])) for results in made]


def slope(times: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Of log variance against log t, with its standard deviation."""
    x, y = np.log(times), np.log(variance)
    x = x - x.mean()
    value = float(x @ y / (x @ x))
    rest = y - y.mean() - value * x
    return value, math.sqrt(float(rest @ rest) / (len(x) - 2) / float(x @ x))


def by_decade(times: np.ndarray, variance: np.ndarray) -> dict[str, float]:
    """Geometric means of the variance."""
    made = {}
    for low in (10, 100, 1000):
        inside = (times >= low) & (times <= 10 * low)
        if times[-1] >= 10 * low:
            made[f"{low:,} to {10 * low:,}"] = float(np.exp(np.mean(np.log(variance[inside]))))
    return made


def table(found: fg.Sweep) -> Rows:
    """The variance by decades of time."""
    rows = [["trained on", "runs", "t", "E‖g − Eg‖² / ‖Eg‖²", "by the paper's estimate of Eg"]]
    for (times, variance), record in zip(curves(found), (r for r in found if r.error is None), strict=True):
        runs = float(record.settings["runs"])  # type: ignore[arg-type]
        # with the mean of the runs in place of Eg, whose squared norm is too large by variance/runs
        rows += [
            [f"{record.settings['steps']:,}", f"{runs:g}", decade, f"{value:.3g}", f"{value / (1 + value / runs):.3g}"]
            for decade, value in by_decade(times, variance).items()
        ]
    return rows


def criteria(found: fg.Sweep) -> list[Criterion]:
    """Stationary, over three decades."""
    fitted = [slope(*curve) for curve in curves(found) if curve[0][-1] >= 10_000]
    shown = ", ".join(f"{value:.3f} ± {std:.3f}" for value, std in fitted) or "not measured so far out"
    worst = max((abs(value) for value, _ in fitted), default=math.nan)
    made = [
        Criterion(
            f"the variance is stationary for t = 10 … 10⁴: log-log slope below {FLAT} in size",
            shown,
            worst < FLAT if fitted else None,
        )
    ]
    ratios = [max(d) / min(d) for curve in curves(found) if len(d := [*by_decade(*curve).values()]) == 3]
    made.append(
        Criterion(
            "its mean in the three decades differs by a factor of 2 at most",
            ", ".join(f"{ratio:.2f}" for ratio in ratios) or "not measured so far out",
            max(ratios) <= 2 if ratios else None,
        )
    )
    return made


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 1a."""
    ax = figure.subplots()
    for times, variance in curves(found):
        ax.loglog(times, variance, "o-", color=fg.plots.COLOURS[0], linewidth=1.2, markersize=3)
    dressed(ax, "step", "relative variance of one gradient")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 5, high * 5)


EXPERIMENT = Experiment(
    name="uoro-1a",
    title="The variance of UORO's gradients as time goes by",
    source="Tallec and Ollivier 2018, section 4, figure 1a",
    setting="A GRU of 64 units, trained by UORO; run 100 times on the first 10⁴ characters, with θ fixed.",
    deviations=(
        "The text is the one that comes with Python, not Shakespeare; fewer characters than the paper's 10⁷.",
        "Relative to the exact gradient. The paper divides by the mean of 100 runs, in which noise is left: its "
        "formula can never say more than about 100.",
    ),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
)
