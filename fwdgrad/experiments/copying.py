"""Figure 1c of the UORO paper: larger networks are noisier, and need smaller rates, on a copy task."""

from __future__ import annotations

from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, longest, shortest, spread
from fwdgrad.experiments.texts import draw_curves, learned, number

__all__ = ["EXPERIMENT"]

LAG, SYMBOLS = 5, 8

LONG, QUICK = 100_000, 5000

UNITS = (16, 64, 256)

RATES = {"the paper's": 1e-4, "a hundred times": 1e-2}
"""γ of the rates γ/(1 + 3·10⁻³ t): the paper's, and one at which noise shows."""

SETTLED = 1000
"""Steps before which the recent loss is one of too few to tell."""

JUMP = 0.1
"""Bits by which a recent loss has to rise above its lowest to be called a jump."""


def learn(units: int, rate: str, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One run."""
    text, weights, noise = rng.spawn(3)
    xs, ys = fg.streams.copy_task(LAG, steps, text, symbols=SYMBOLS)
    system = systems.gru(units=units, symbols=SYMBOLS, reset="before", seed=number(weights))
    return learned(system, "uoro", fg.Adam(fg.schedules.inverse_time(RATES[rate], 3e-3)), xs, ys, noise)


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """Three sizes, at two rates."""
    length = steps or (QUICK if quick else LONG)
    return [{"units": n, "rate": rate, "steps": length} for rate in RATES for n in (UNITS[:2] if quick else UNITS)]


def jump(record: Any) -> float:
    """By how much the recent loss rises above what it was before, at most, from step 1000 on."""
    recent = np.array(record.results["recent"])[np.array(record.results["steps"]) >= SETTLED]
    return float(np.max(recent - np.minimum.accumulate(recent)))


def table(found: fg.Sweep) -> Rows:
    """Losses at the end, and the largest rise on the way."""
    rows = [["units", "rates", "steps", "loss at the end", "largest rise"]]
    for rate in RATES:
        for n in UNITS:
            if runs := longest(found, units=n, rate=rate):
                losses, rises = [r.results["loss"] for r in runs], [jump(r) for r in runs]
                rows.append([str(n), rate, f"{runs[0].settings['steps']:,}", spread(losses), spread(rises, 2)])
    return rows


def criteria(found: fg.Sweep) -> list[Criterion]:
    """A jump in the largest network only; and at larger rates, where there is most noise."""
    rises = {
        (n, rate): max(jump(r) for r in runs)
        for n in UNITS
        for rate in RATES
        if (runs := longest(found, units=n, rate=rate))
    }
    made = []
    for rate in RATES:
        of = {n: rises[n, rate] for n in UNITS if (n, rate) in rises}
        shown = ", ".join(f"{n} units {value:.2f}" for n, value in of.items()) or "not run"
        complete = len(of) == len(UNITS)
        holds = complete and of[UNITS[-1]] > JUMP and all(of[n] <= JUMP for n in UNITS[:-1])
        says = f"at {rate} rates the loss jumps up, by {JUMP} bits, in the largest network and in no other"
        told = complete and (holds or shortest(found) >= LONG)
        made.append(Criterion(says, shown, holds if told else None))
    return made


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 1c, at both rates."""
    panels = figure.subplots(1, 2, sharey=True)
    for ax, rate in zip(panels, RATES, strict=True):
        draw_curves(ax, found, {f"{n} units": {"units": n, "rate": rate} for n in UNITS}, "recent")
        ax.set_title(f"{rate} rates", fontsize="medium")


EXPERIMENT = Experiment(
    name="uoro-1c",
    title="A copy task with larger and larger networks",
    source="Tallec and Ollivier 2018, section 5, figure 1c",
    setting="Copying symbols of 5 steps ago, by a GRU and UORO; rate 10⁻⁴/(1 + 3·10⁻³ t).",
    deviations=(
        "The paper gives neither sizes, nor the length, nor the optimizer: 16, 64 and 256 units, 10⁵ steps, Adam and 8 "
        "symbols here. A second series has rates a hundred times larger.",
    ),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    size=(10.0, 4.6),
)
