"""Figure 2b of the UORO paper: distant brackets, which windows of four steps are too short for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad.experiments.anbn import gated
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, longest, spread
from fwdgrad.experiments.texts import draw_curves, learned

__all__ = ["EXPERIMENT"]

SIZES = (1, 5, 10)
"""s letters between brackets, k behind them, out of a."""

NAMES = {"uoro": "UORO", "tbptt:4": "TBPTT(4)"}

LONG, QUICK = 10_000_000, 10_000

GAMMA, ALPHA = 1e-3, 0.015

OPTIMUM = fg.streams.distant_brackets_entropy(*SIZES)

MEMORYLESS = OPTIMUM * (SIZES[0] + SIZES[1] + SIZES[0]) / (SIZES[0] + SIZES[1])
"""Bits a character of who knows the form of a line, but not the letters that come back."""

NEAR = 0.1
"""Bits within which a loss is near the optimum, or stays near that without memory."""


def learn(unit: str, estimator: str, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One run over so many characters."""
    text, weights, noise = rng.spawn(3)
    xs, ys = fg.streams.next_symbol(fg.streams.distant_brackets(*SIZES, steps + 1, text))
    system = gated(unit, len(fg.streams.brackets_alphabet(SIZES[2])), weights)
    optimizer = fg.Adam(fg.schedules.inverse_sqrt(GAMMA, ALPHA))
    return learned(system, estimator, optimizer, xs, ys, noise)


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """Both networks, with both."""
    length = steps or (QUICK if quick else LONG)
    return [{"unit": unit, "estimator": name, "steps": length} for name in NAMES for unit in ("gru", "lstm")]


def table(found: fg.Sweep) -> Rows:
    """Losses at the end; the paper has a picture only."""
    rows = [["", "characters", "last 10⁵ or tenth", "all of them", "paper"]]
    said = {
        ("uoro", "gru"): "near optimal",
        ("uoro", "lstm"): "near optimal",
        ("tbptt:4", "gru"): "learns slowly",
        ("tbptt:4", "lstm"): "near the memoryless optimum",
    }
    for (name, unit), paper in said.items():
        for runs in [longest(found, estimator=name, unit=unit)]:
            losses = [spread([r.results["loss"] for r in runs]), spread([r.results["cumulated"][-1] for r in runs])]
            after = f"{runs[0].settings['steps']:,}" if runs else "–"
            rows.append([f"{NAMES[name]}, {unit.upper()}", after, *losses, paper])
    rows += [["entropy rate", "", f"{OPTIMUM:.3f}", "", ""], ["without memory", "", f"{MEMORYLESS:.3f}", "", ""]]
    return rows


def criteria(found: fg.Sweep) -> list[Criterion]:
    """What the paper says of the figure."""
    made = []
    for unit in ("gru", "lstm"):
        ours, theirs = (longest(found, estimator=name, unit=unit) for name in NAMES)
        mine, other = (float(np.mean([r.results["loss"] for r in of])) if of else math.nan for of in (ours, theirs))
        done = all(of and of[0].settings["steps"] >= LONG for of in (ours, theirs))

        def told(holds: bool, done: bool = done) -> bool | None:
            return True if holds else False if done else None

        name, shown = unit.upper(), f"{mine:.3f} and {other:.3f}"
        made.append(Criterion(f"{name}: UORO ends below TBPTT(4)", shown, told(mine < other)))
        made.append(
            Criterion(f"{name}: UORO ends within {NEAR} of the optimum", f"{mine:.3f}", told(mine < OPTIMUM + NEAR))
        )
        early = [
            [float(np.interp(10_000, r.results["steps"], r.results["cumulated"])) for r in of] for of in (ours, theirs)
        ]
        faster = np.mean(early[1]) < np.mean(early[0]) if ours and theirs else None
        shown = ", ".join(spread(values) for values in early)
        made.append(Criterion(f"{name}: in the first 10⁴ characters TBPTT(4) is the faster one", shown, faster))
        if unit == "lstm":
            stuck = other > MEMORYLESS - NEAR
            made.append(
                Criterion(
                    f"LSTM: TBPTT(4) stays near the optimum without memory, above {MEMORYLESS:.3f} − {NEAR}",
                    f"{other:.3f}",
                    None if math.isnan(other) or not done else stuck,
                )
            )
    return made


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 2b, and recent losses, which show what was learned."""
    panels = figure.subplots(1, 2, sharey=True)
    lines = {
        f"{name}, {unit.upper()}": {"estimator": key, "unit": unit}
        for key, name in NAMES.items()
        for unit in ("gru", "lstm")
    }
    levels = {"entropy rate": OPTIMUM, "without memory": MEMORYLESS}
    for ax, what, title in zip(
        panels, ("cumulated", "recent"), ("all characters so far", "the last tenth of them"), strict=True
    ):
        draw_curves(ax, found, lines, what, levels)
        ax.set_title(title, fontsize="medium")
        ax.set_ylim(1.5, 3.0)


EXPERIMENT = Experiment(
    name="uoro-2b",
    title="Distant brackets: UORO and truncation to four steps",
    source="Tallec and Ollivier 2018, section 6, figure 2b",
    setting="Distant brackets (1, 5, 10), 10⁷ characters; 64 units; Adam, rate 10⁻³/(1 + 0.015 √t).",
    deviations=("Initial weights and the LSTM are as for aⁿbⁿ.",),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    size=(10.0, 4.6),
)
