"""Table 1 and figure 4 of the UORO paper: aⁿbⁿ, by gated networks and UORO or truncation, with and without windows."""

from __future__ import annotations

from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, longest, spread
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


def learn(unit: str, estimator: str, weights: str, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One run over so many characters."""
    text, drawn, noise = rng.spawn(3)
    xs, ys = fg.streams.next_symbol(fg.streams.anbn(1, 32, steps + 1, text))
    optimizer = fg.Adam(fg.schedules.inverse_sqrt(GAMMA, ALPHA))
    symbols = len(fg.streams.ANBN)
    system = gated(unit, symbols, drawn) if weights == AUTHORS else uniform(unit, symbols, drawn)
    return learned(system, estimator, optimizer, xs, ys, noise)


AUTHORS, UNIFORM = "authors'", "uniform"
"""How weights are drawn: as in the authors' program; or all within 1/√units, input weights too."""


def uniform(unit: str, symbols: int, rng: np.random.Generator, units: int = UNITS) -> fg.System:
    """The paper's GRU, whose reset gate comes before the product, or an LSTM; all parameters within 1/√units."""
    options: Any = {"units": units, "symbols": symbols, "seed": number(rng)}
    return systems.gru(reset="before", **options) if unit == "gru" else systems.lstm(**options)


def gated(unit: str, symbols: int, rng: np.random.Generator, units: int = UNITS) -> fg.System:
    """The same with weights as in the authors' program (github.com/ctallec/uoro, train.lua).

    The GRU adds up embeddings of the input, drawn from N(0, 1), in place of input weights. The LSTM multiplies one
    such embedding by matrices within 1/√units, which makes input weights of variance 1/3; these have biases of their
    own, and its forget gate is 0.3 lower.
    """
    made = uniform(unit, symbols, rng, units)
    scale, params = 1.0 if unit == "gru" else np.sqrt(1.0 / 3.0), dict(made.params)
    for name, leaf in made.params.items():
        if name.startswith("W_"):
            params[name] = scale * rng.normal(size=leaf.shape)
        elif unit == "lstm" and name in ("b_i", "b_f", "b_o", "b_g"):
            params[name] = leaf + rng.uniform(-1.0, 1.0, leaf.shape) / np.sqrt(units) - 0.3 * (name == "b_f")
    return fg.System(made.F, made.Y, made.state, params, made.x, made.loss, name=made.name)


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """One for each entry of the table, and UORO with weights that are all uniform."""
    length = steps or (QUICK if quick else LONG)
    chosen = [(unit, name, AUTHORS) for name in NAMES for unit in ("gru", "lstm")]
    chosen += [] if quick else [("gru", "uoro", UNIFORM)]
    return [{"unit": unit, "estimator": name, "weights": w, "steps": length} for unit, name, w in chosen]


def table(found: fg.Sweep) -> Rows:
    """Table 1, with the paper's numbers; of each the longest runs."""
    rows = [["", "LSTM", "after", "paper", "GRU", "after", "paper", "µs a step (GRU)"]]
    for estimator, name in NAMES.items():
        row, spent = [name], "–"
        for unit in ("lstm", "gru"):
            runs = longest(found, unit=unit, estimator=estimator, weights=AUTHORS)
            after = f"{runs[0].settings['steps']:,}" if runs else ""
            row += [spread([r.results["loss"] for r in runs]), after, f"{PAPER[estimator, unit]:.3f}"]
            spent = spread([r.results["microseconds"] for r in runs], 2)
        rows.append([*row, spent])
    if other := longest(found, weights=UNIFORM):
        losses, after = spread([r.results["loss"] for r in other]), f"{other[0].settings['steps']:,}"
        rows.append(["UORO, all weights uniform", "", "", "", losses, after, "", ""])
    rows.append(["entropy rate", f"{fg.streams.anbn_entropy(1, 32):.3f}", "", "0.14", "", "", "", ""])
    return rows


def criteria(found: fg.Sweep) -> list[Criterion]:
    """What the paper says of the table."""
    runs = {key: longest(found, estimator=key[0], unit=key[1], weights=AUTHORS) for key in PAPER}
    means = {key: float(np.mean([r.results["loss"] for r in of])) for key, of in runs.items() if of}

    def criterion(says: str, of: list[tuple[str, str]], shown: str, holds: bool, early: bool = True) -> Criterion:
        """A run that is too short to reach something decides nothing; `early`: if it has reached it, it does."""
        there = all(key in means for key in of)
        done = there and all(runs[key][0].settings["steps"] >= LONG for key in of)
        told = done or (there and holds and early)
        return Criterion(says, shown, holds if told else None)

    def at(*of: tuple[str, str]) -> str:
        return ", ".join(f"{NAMES[key[0]]} {means[key]:.3f}" for key in of if key in means) or "not run"

    made = []
    for unit in ("gru", "lstm"):
        key = ("uoro", unit)
        says = f"UORO, {unit.upper()}: at most {PAPER[key]} + {NEAR} bits"
        made.append(criterion(says, [key], at(key), means.get(key, np.inf) <= PAPER[key] + NEAR))
    for unit in ("gru", "lstm"):
        of = [(name, unit) for name in NAMES if name.startswith("uoro")]
        says = f"UORO, {unit.upper()}: near the entropy rate with any window, below 0.2 bits"
        made.append(criterion(says, of, at(*of), all(means.get(key, np.inf) < 0.2 for key in of)))
    unbiased, truncated = ([(n, "gru") for n in NAMES if n.startswith(kind)] for kind in ("uoro", "tbptt"))
    most = max((means[key] for key in unbiased if key in means), default=np.nan)
    least = min((means[key] for key in truncated if key in means), default=np.nan)
    says, shown = "GRU: UORO with any window ends below truncation to any length", f"{most:.3f}, {least:.3f}"
    made.append(criterion(says, [*unbiased, *truncated], shown, most < least))
    poor = [means.get(key, np.nan) > 0.2 or max(map(rise, runs[key]), default=np.nan) > REASCENT for key in truncated]
    rises = ", ".join(f"{max(map(rise, runs[key])):.3f}" for key in truncated if runs[key])
    says = f"GRU: truncation ends above 0.2 bits, or rises by {REASCENT} bits again"
    made.append(criterion(says, truncated, f"{at(*truncated)}; rises by {rises}", all(poor), early=False))
    key = ("tbptt:16", "lstm")
    says = f"LSTM: TBPTT(16) reaches the optimum, {PAPER[key]} + {NEAR} bits"
    made.append(criterion(says, [key], at(key), means.get(key, np.inf) <= PAPER[key] + NEAR))
    return made


def rise(record: Any) -> float:
    """By how much the recent loss ends above its lowest."""
    return float(record.results["recent"][-1] - np.nanmin(record.results["recent"]))


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 4: cumulated losses."""
    panels = figure.subplots(1, 2, sharey=True)
    levels = {"entropy rate": fg.streams.anbn_entropy(1, 32), "twice that": 2 * fg.streams.anbn_entropy(1, 32)}
    for ax, unit in zip(panels, ("lstm", "gru"), strict=True):
        lines = {name: {"unit": unit, "estimator": key, "weights": AUTHORS} for key, name in NAMES.items()}
        draw_curves(ax, found, lines, "recent", levels)
        ax.set_title(f"{unit.upper()}: mean of the last tenth", fontsize="medium")
        ax.set_ylim(0.12, 0.5)


EXPERIMENT = Experiment(
    name="uoro-4",
    title="aⁿbⁿ: UORO and truncation, with windows of 1, 2 and 16 steps",
    source="Tallec and Ollivier 2018, table 1 and figure 4",
    setting="aⁿbⁿ(1, 32), 10⁷ characters once; 64 units; Adam, rate 10⁻³/(1 + 0.03 √t), t in characters.",
    deviations=(
        "The LSTM's input weights are learned themselves, not an embedding and matrices behind it. The text is drawn "
        "anew; the authors' program repeats a file.",
        "Weights are drawn as in the authors' program; for one more run of UORO all are uniform within 1/√64.",
    ),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    size=(10.0, 4.6),
)
