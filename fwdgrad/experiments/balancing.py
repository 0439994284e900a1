"""Figure 2a of the UORO paper: influence balancing, which truncation gets wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, records_of, shortest
from fwdgrad.experiments.texts import dressed, rounded

__all__ = ["EXPERIMENT"]

CONVERGES = {"rtrl": "RTRL", "uoro": "UORO", "nobacktrack": "NoBackTrack", "debiased": "Debiased(SnAp-1)"}
"""What keeps the influence, exactly or unbiased."""

FAILS = {"tbptt:1": "TBPTT(1)", "tbptt:10": "TBPTT(10)", "tbptt:100": "TBPTT(100)"}
"""What the paper shows to fail."""

NAMES = {**CONVERGES, **FAILS, "tbptt:200": "TBPTT(200)", "snap:1": "SnAp-1"}

UNITS, MINUS, RATE = 23, 13, 1e-3

OTHER_RATES = (1e-2, 1e-4, 1e-5)
"""Tried for truncation, which fails at every rate."""

LONG, QUICK = 200_000, 20_000

BLOCKS = 80
"""Losses are means of so many blocks, evenly spread over the logarithm of time."""

RUNAWAY = 1e15
"""A run ends where the loss is above this."""

SOLVED = 1e-6
"""A loss below this part of that at the start counts as solved."""


def learn(estimator: str, rate: float, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One run: losses of blocks, the last one's, and the θ at the end; the optimum is −1/6."""
    system = systems.influence_balancing(UNITS, MINUS)
    optimizer = fg.SGD(fg.schedules.inverse_sqrt(rate, 1.0))
    learner = fg.Learner(system, estimator, optimizer, rng, engine="compiled")
    learner.prepare(steps)
    ends, losses = np.unique(np.geomspace(10, steps, BLOCKS).astype(int)), []
    for end in ends:
        try:
            losses.append(learner.run(None, np.ones(end - learner.steps), finish=False).loss.mean())
        except fg.errors.NonFiniteError:
            losses.append(math.inf)
        if not losses[-1] < RUNAWAY:
            break
    return {
        "loss": rounded(losses)[-1],
        "theta": float(learner.params["theta"]),
        "steps": [int(end) for end in ends[: len(losses)]],
        "recent": rounded(losses),
    }


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """Every estimator at the rate that suits the unbiased ones, and truncation at others."""
    length = steps or (QUICK if quick else LONG)
    others = [(name, rate) for name in FAILS for rate in OTHER_RATES]
    return [{"estimator": name, "rate": rate, "steps": length} for name, rate in [*((n, RATE) for n in NAMES), *others]]


def table(found: fg.Sweep) -> Rows:
    """Losses at both ends, and θ."""
    rows = [["", "η", "steps", "loss at first", "at the end", "θ at the end", "paper"]]
    for record in found:
        if record.replica == 0 and record.error is None:
            name, made = str(record.settings["estimator"]), dict[str, Any](record.results)
            paper = "converges" if name in ("uoro", "tbptt:200") else "fails" if name in FAILS else "–"
            rows.append(
                [
                    NAMES[name],
                    f"{record.settings['rate']:g}",
                    f"{made['steps'][-1]:,}",
                    f"{made['recent'][0]:.2g}",
                    f"{made['loss']:.2g}",
                    f"{made['theta']:.4g}",
                    paper,
                ]
            )
    return rows


def ratios(found: fg.Sweep, **settings: Any) -> list[float]:
    """Loss at the end over that of the first block, of every run."""
    return [r.results["loss"] / r.results["recent"][0] for r in records_of(found, **settings) if r.error is None]


def criteria(found: fg.Sweep) -> list[Criterion]:
    """What the paper says of the figure, and what is asked of the estimators that it does not have."""
    made = []
    for name in (*CONVERGES, "tbptt:200"):
        made_of = ratios(found, estimator=name, rate=RATE)
        worst = max(made_of, default=math.nan)
        on_its_way = worst < 1 and shortest(found) < LONG
        made.append(
            Criterion(
                f"{NAMES[name]} converges: the loss falls to {SOLVED:g} of what it was, or less",
                f"{worst:.2g} of what it was",
                True if worst <= SOLVED else None if on_its_way or not made_of else False,
            )
        )
    for name in FAILS:
        made_of = ratios(found, estimator=name)
        best = min(made_of, default=math.nan)
        made.append(
            Criterion(
                f"{NAMES[name]} goes the wrong way at every rate: the loss rises",
                f"to {best:.3g} times what it was at least, of {len(made_of)} runs",
                best > 1 if made_of else None,
            )
        )
    return made


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 2a: losses on a logarithmic axis, one curve for each estimator, all at one rate."""
    ax = figure.subplots()
    for k, (name, label) in enumerate(NAMES.items()):
        for replica, record in enumerate(records_of(found, estimator=name, rate=RATE)):
            ax.loglog(
                record.results["steps"],
                record.results["recent"],
                "--" if name.startswith("tbptt") else "-",
                color=fg.plots.COLOURS[k],
                linewidth=1.4,
                label=None if replica else label,
            )
    ax.set_ylim(1e-30, 1e10)
    dressed(ax, "step", "loss")
    ax.legend(loc="lower left", ncols=2, frameon=False, fontsize=8)


EXPERIMENT = Experiment(
    name="uoro-2a",
    title="Influence balancing: a parameter that helps at first and harms in the long run",
    source="Tallec and Ollivier 2018, section 6, figure 2a",
    setting="23 units, 13 of them with a minus sign; SGD, rate η/(1 + √t).",
    deviations=(
        "The paper gives neither η, the length nor the θ at the start: 10⁻³, 2·10⁵ steps and 0.5 here.",
        "RTRL, NoBackTrack, SnAp-1 and its unbiased form stand beside the paper's curves. SnAp-1 is RTRL here: θ feeds "
        "every unit, so that it leaves out nothing.",
    ),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    replicas=3,
)
