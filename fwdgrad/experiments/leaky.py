"""The slides' leaky network on aⁿbⁿ: NoBackTrack against truncation, and how visible its noise is under a filter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, longest, records_of, spread
from fwdgrad.experiments.texts import draw_curves, learned, number

__all__ = ["EXPERIMENT"]

NAMES = {"nobacktrack": "NoBackTrack", "uoro": "UORO", "tbptt:1": "TBPTT(1)", "tbptt:16": "TBPTT(16)"}

HORIZONS = (2.0, 32.0)
"""Longest initial memory of a unit, in steps: too short for the text, and as long as it asks, the catalogue's."""

UNITS, FEW = 64, 16
"""Of the networks that are to learn; and of those that are compared with exact gradients."""

LONG, QUICK = 1_000_000, 5000

SHORT = 20_000
"""Characters of the comparison with exact gradients, at most."""

SETTLED = 1000
"""Steps before which a recent loss is one of too few to tell."""

NOISES = {"sgd": "SGD, rate 10/(n √t)", "kalman": "Kalman, γ = 1/√t, Λ = n"}


def learn(optimizer: str, estimator: str, horizon: float, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One run. Text and weights are the same for all estimators, so that what differs is their gradients."""
    text, weights, noise = rng.spawn(3)
    units = UNITS if optimizer == "adam" else FEW
    xs, ys = fg.streams.next_symbol(fg.streams.anbn(1, 32, steps + 1, text))
    system = systems.leaky_rnn(units=units, symbols=len(fg.streams.ANBN), horizon=horizon, seed=number(weights))
    if optimizer == "adam":
        chosen: Any = fg.Adam(fg.schedules.inverse_sqrt(1e-3, 0.03))
    elif optimizer == "sgd":
        chosen = fg.SGD(fg.schedules.inverse_power(10.0 / units))
    else:
        chosen = fg.InformationFilter("quasi-diagonal", decay=fg.schedules.inverse_power(1.0), prior=float(units))
    return learned(system, estimator, chosen, xs, ys, noise)


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """Four estimators for each memory, and what is random beside what is exact under both rules."""
    length = steps or (QUICK if quick else LONG)
    made = [
        {"optimizer": "adam", "estimator": name, "horizon": horizon, "steps": length}
        for horizon in HORIZONS
        for name in NAMES
    ]
    return made + [
        {"optimizer": rule, "estimator": name, "horizon": 32.0, "steps": min(length, SHORT)}
        for rule in NOISES
        for name in ("rtrl", "nobacktrack")
    ]


def loss_of(found: fg.Sweep, **settings: Any) -> float:
    """Mean over the seeds of the loss at the end."""
    values = [r.results["loss"] for r in longest(found, **settings)]
    return float(np.mean(values)) if values else math.nan


def noise_of(found: fg.Sweep, rule: str) -> float:
    """Root mean square of what NoBackTrack's recent loss differs by from RTRL's, from step 1000 on; NaN if not run."""
    pairs: list[Any] = []
    for exact in longest(found, optimizer=rule, estimator="rtrl"):
        twins = [r for r in longest(found, optimizer=rule, estimator="nobacktrack") if r.replica == exact.replica]
        pairs += [(exact.results, twin.results) for twin in twins if twin.results["steps"] == exact.results["steps"]]
    gaps = [(np.array(a["recent"]) - b["recent"])[np.array(a["steps"]) >= SETTLED] for a, b in pairs]
    return float(np.sqrt(np.mean(np.square(gaps)))) if gaps else math.nan


def table(found: fg.Sweep) -> Rows:
    """Losses at the end, and noise."""
    rows = [["", "memory at first", "characters", "last 10⁵ or tenth"]]
    for horizon in HORIZONS:
        for name, label in NAMES.items():
            if runs := longest(found, optimizer="adam", estimator=name, horizon=horizon):
                steps = f"{runs[0].settings['steps']:,}"
                rows.append([label, f"{horizon:g} steps", steps, spread([r.results["loss"] for r in runs])])
    for rule, label in NOISES.items():
        rows.append([f"NoBackTrack − RTRL, r.m.s.; {label}", "32 steps", "", f"{noise_of(found, rule):.3f}"])
    return rows


def criteria(found: fg.Sweep) -> list[Criterion]:
    """What the slides say."""
    runs = records_of(found, optimizer="adam")
    done = bool(runs) and all(r.settings["steps"] >= LONG for r in runs)
    made = []
    for horizon in HORIZONS:
        ends = {name: loss_of(found, optimizer="adam", estimator=name, horizon=horizon) for name in NAMES}
        there = not any(map(math.isnan, ends.values()))
        holds = ends["nobacktrack"] < ends["tbptt:1"]
        made.append(
            Criterion(
                f"NoBackTrack ends below TBPTT(1), with units that remember up to {horizon:g} steps at first",
                f"{ends['nobacktrack']:.3f} and {ends['tbptt:1']:.3f}",
                holds if there and (done or holds) else None,
            )
        )
    noises = [noise_of(found, rule) for rule in NOISES]
    made.append(
        Criterion(
            "noise is less visible under the filter than without: half as large, or less",
            f"{noises[1]:.3f} and {noises[0]:.3f} bits",
            None if any(map(math.isnan, noises)) else noises[1] <= noises[0] / 2,
        )
    )
    return made


def draw(found: fg.Sweep, figure: Any) -> None:
    """Learning curves for both memories, and both rules."""
    panels = figure.subplots(1, 3)
    levels = {"entropy rate": fg.streams.anbn_entropy(1, 32)}
    for ax, horizon in zip(panels, HORIZONS, strict=False):
        lines = {label: {"optimizer": "adam", "estimator": name, "horizon": horizon} for name, label in NAMES.items()}
        draw_curves(ax, found, lines, "recent", levels)
        ax.set_title(f"memory up to {horizon:g} steps at first", fontsize="medium")
    lines = {
        f"{label}, {rule}": {"optimizer": rule, "estimator": name}
        for rule in NOISES
        for name, label in (("rtrl", "RTRL"), ("nobacktrack", "NoBackTrack"))
    }
    draw_curves(panels[2], found, lines, "recent")
    for ax in panels:
        ax.set_ylim(0.1, 1.0)
        ax.set_xlim(left=100)
    panels[2].set_title(f"beside exact gradients, {FEW} units", fontsize="medium")


EXPERIMENT = Experiment(
    name="slides-leaky",
    title="A leaky network on aⁿbⁿ: NoBackTrack, truncation, and noise under a Kalman filter",
    source='Ollivier 2015, slides "Learn as you go"',
    setting="A leaky network on aⁿbⁿ; the slides have curves, without sizes, rates or lengths.",
    deviations=(
        "64 units, Adam, rate 10⁻³/(1 + 0.03 √t), aⁿbⁿ(1, 32); leaks are learned. For noise, 16 units, the rates of "
        "the NoBackTrack paper, beside RTRL on the same text from the same weights.",
    ),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    size=(12.0, 4.2),
)
