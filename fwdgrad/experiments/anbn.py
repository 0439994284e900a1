"""Table 1 and figure 4 of the UORO paper: aⁿbⁿ, by gated networks and UORO or truncation, with and without windows."""

from __future__ import annotations

from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, ours, records_of, shortest, values_of
from fwdgrad.experiments.texts import draw_curves, learned, number

__all__ = ["EXPERIMENT"]

PAPER = {
    ("uoro", "lstm"): 0.147,
    ("uoro", "gru"): 0.155,
    ("uoro:2", "lstm"): 0.149,
    ("uoro:2", "gru"): 0.174,
    ("uoro:16", "lstm"): 0.154,
    ("uoro:16", "gru"): 0.149,
    ("tbptt:1", "lstm"): 0.178,
    ("tbptt:1", "gru"): 0.231,
    ("tbptt:2", "lstm"): 0.149,
    ("tbptt:2", "gru"): 0.285,
    ("tbptt:16", "lstm"): 0.144,
    ("tbptt:16", "gru"): 0.207,
}
"""Mean loss of the last 10⁵ characters in bits, table 1."""

NAMES = {
    "uoro": "UORO",
    "uoro:2": "UORO, memory 2",
    "uoro:16": "UORO, memory 16",
    "tbptt:1": "TBPTT(1)",
    "tbptt:2": "TBPTT(2)",
    "tbptt:16": "TBPTT(16)",
}

LONG, QUICK = 10_000_000, 10_000
"""Characters, as in the paper, and for a look."""

UNITS, GAMMA, ALPHA = 64, 1e-3, 0.03

NEAR = 0.015
"""Bits within which a loss counts as the paper's."""

REASCENT = 0.02
"""Bits by which a loss has to rise again to be called so."""


def learn(unit: str, estimator: str, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One run over so many characters."""
    text, weights, noise = rng.spawn(3)
    xs, ys = fg.streams.next_symbol(fg.streams.anbn(1, 32, steps + 1, text))
    optimizer = fg.Adam(fg.schedules.inverse_sqrt(GAMMA, ALPHA))
    system = gated(unit, len(fg.streams.ANBN), weights)
    return learned(system, estimator, optimizer, xs, ys, noise)


def gated(unit: str, symbols: int, rng: np.random.Generator, units: int = UNITS) -> fg.System:
    """The paper's GRU, whose reset gate comes before the product, or its LSTM, which forgets a little more."""
    if unit == "gru":
        return systems.gru(units=units, symbols=symbols, reset="before", seed=number(rng))
    made = systems.lstm(units=units, symbols=symbols, seed=number(rng))
    params = {**made.params, "b_f": made.params["b_f"] - 0.3}
    return fg.System(made.F, made.Y, made.state, params, made.x, made.loss, name=made.name)


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """One for each entry of the table."""
    length = steps or (QUICK if quick else LONG)
    return [{"unit": unit, "estimator": estimator, "steps": length} for estimator in NAMES for unit in ("gru", "lstm")]


def table(found: fg.Sweep) -> Rows:
    """Table 1, with the paper's numbers."""
    rows = [["", "LSTM", "paper", "GRU", "paper", "µs a step (GRU)"]]
    for estimator, name in NAMES.items():
        row = [name]
        for unit in ("lstm", "gru"):
            row += [ours(found, unit=unit, estimator=estimator), f"{PAPER[estimator, unit]:.3f}"]
        rows.append([*row, ours(found, "microseconds", 2, unit="gru", estimator=estimator)])
    rows.append(["entropy rate", f"{fg.streams.anbn_entropy(1, 32):.3f}", "0.14", "", "", ""])
    return rows


def criteria(found: fg.Sweep) -> list[Criterion]:
    """What the paper says of the table."""
    means = {
        key: np.mean(values) for key in PAPER if (values := values_of(found, "loss", estimator=key[0], unit=key[1]))
    }
    done = shortest(found) >= LONG

    def told(holds: bool) -> bool | None:
        """A run that is too short to reach something decides nothing."""
        return True if holds else (False if done else None)

    made = []
    for unit in ("gru", "lstm"):
        reached, paper = means.get(("uoro", unit), np.nan), PAPER["uoro", unit]
        made.append(
            Criterion(
                f"UORO, {unit.upper()}: at most {paper} + {NEAR} bits", f"{reached:.3f}", told(reached <= paper + NEAR)
            )
        )
    unbiased = {key: value for key, value in means.items() if key[0].startswith("uoro")}
    worst = max(unbiased, key=lambda key: unbiased[key], default=("uoro", "gru"))
    made.append(
        Criterion(
            "UORO comes near the entropy rate in every setting: below 0.2 bits",
            f"at most {means.get(worst, np.nan):.3f} ({NAMES[worst[0]]}, {worst[1].upper()})",
            told(means.get(worst, np.nan) < 0.2),
        )
    )
    truncated = {key[0]: value for key, value in means.items() if key[0].startswith("tbptt") and key[1] == "gru"}
    best = min(truncated.values(), default=np.nan)
    most = max((value for key, value in unbiased.items() if key[1] == "gru"), default=np.nan)
    made.append(
        Criterion(
            "GRU: UORO in every setting ends below truncation to any length",
            f"UORO at most {most:.3f}, truncation at least {best:.3f}",
            told(most < best),
        )
    )
    rises = [rise(record) for record in records_of(found, unit="gru") if record.settings["estimator"] in truncated]
    made.append(
        Criterion(
            f"GRU: truncation rises again, or ends above 0.2 bits: by {REASCENT} bits or more",
            ", ".join(f"{NAMES[key]} {value:.3f}" for key, value in truncated.items())
            + f"; rises by at most {max(rises, default=np.nan):.3f}",
            None if not done else all(value > 0.2 for value in truncated.values()) or max(rises) > REASCENT,
        )
    )
    end = means.get(("tbptt:16", "lstm"), np.nan)
    made.append(
        Criterion(f"LSTM: TBPTT(16) reaches the optimum, 0.144 + {NEAR}", f"{end:.3f}", told(end <= 0.144 + NEAR))
    )
    return made


def rise(record: Any) -> float:
    """By how much the recent loss ends above its lowest."""
    recent = record.results.get("recent", [np.nan])
    return float(recent[-1] - np.nanmin(recent))


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 4: cumulated losses."""
    panels = figure.subplots(1, 2, sharey=True)
    levels = {"entropy rate": fg.streams.anbn_entropy(1, 32), "twice that": 2 * fg.streams.anbn_entropy(1, 32)}
    for ax, unit in zip(panels, ("lstm", "gru"), strict=True):
        lines = {name: {"unit": unit, "estimator": estimator} for estimator, name in NAMES.items()}
        draw_curves(ax, found, lines, "recent", levels)
        ax.set_title(f"{unit.upper()}: mean of the last tenth", fontsize="medium")
        ax.set_ylim(0.12, 0.5)


EXPERIMENT = Experiment(
    name="uoro-4",
    title="aⁿbⁿ: UORO and truncation, with windows of 1, 2 and 16 steps",
    source="Tallec and Ollivier 2018, table 1 and figure 4",
    setting="aⁿbⁿ(1, 32), 10⁷ characters once; 64 units; Adam, rate 10⁻³/(1 + 0.03 √t), t in characters.",
    deviations=(
        "The LSTM reads symbols through its matrices alone, without a layer of embeddings before them.",
        "The text is drawn anew, the initial weights too: uniform within 1/√64, LSTM forget gates 0.3 lower, as in the "
        "authors' program.",
    ),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    size=(10.0, 4.6),
)
