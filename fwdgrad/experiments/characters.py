"""Figure 1 of the NoBackTrack paper: characters, by RTRL and by NoBackTrack with and without a Kalman filter."""

from __future__ import annotations

import math
import time
import zlib
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, longest, records_of, spread
from fwdgrad.experiments.texts import cycled, draw_curves, learned, rounded

__all__ = ["EXPERIMENT"]

NAMES = {
    "kalman": "NoBackTrack, Kalman",
    "euclidean": "NoBackTrack, Euclidean",
    "rtrl": "RTRL, Euclidean",
    "ctw": "context-tree weighting",
    "gzip": "gzip",
}

UNITS, CONNECTIONS = 100, 10
"""Size of the network, and how many units each one hears."""

LONG, QUICK = 100_000, 5000

SLOWER = 100
"""RTRL makes so many times fewer steps: what it needs the more time for, by the paper."""

BETTER = 0.1
"""Bits a character that count as clearly better."""


def sparse_network(symbols: int, rng: np.random.Generator, units: int = UNITS, heard: int = CONNECTIONS) -> fg.System:
    """Equations 27 and 28 with `heard` connections into each unit: h'_i = b_i + R_ix + Σ_k W_ik tanh(h_j(i,k))."""
    sources = np.array([rng.choice(units, heard, replace=False) for _ in range(units)])

    def F(h: Any, x: Any, theta: Any) -> Any:
        return theta["b"] + theta["R"][:, x] + np.sum(theta["W"] * np.tanh(h)[sources], axis=1)

    def Y(h: Any, x: Any, theta: Any) -> Any:
        return theta["V"] @ np.tanh(h) + theta["c"]

    params = {
        "b": np.zeros(units),
        "R": rng.normal(size=(units, symbols)),
        "W": rng.normal(size=(units, heard)) / np.sqrt(heard),
        "V": np.zeros((symbols, units)),
        "c": np.zeros(symbols),
    }
    return fg.System(F, Y, np.zeros(units), params, 0, fg.losses.CrossEntropy(base=2), name="sparse tanh network")


def learn(method: str, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One method on so many characters, of which RTRL has a hundredth."""
    weights, noise = rng.spawn(2)
    text = fg.streams.python_text(LONG)
    xs, ys, alphabet = fg.streams.text_stream(text)
    if method in ("ctw", "gzip"):
        return reference(method, text[: steps + 1], ys[:steps], len(alphabet))
    system = sparse_network(len(alphabet), weights)
    start = {"c": np.log(np.bincount(ys, minlength=len(alphabet)) + 1.0)}
    if method == "kalman":
        filtered = fg.InformationFilter("quasi-diagonal", decay=fg.schedules.inverse_power(1.0), prior=float(UNITS))
        return learned(system, fg.NoBackTrack(), filtered, *cycled(xs, ys, steps), noise, start)
    optimizer = fg.SGD(fg.schedules.inverse_power(10.0 / UNITS))
    count = max(200, steps // SLOWER) if method == "rtrl" else steps
    estimator = fg.RTRL() if method == "rtrl" else fg.NoBackTrack()
    return learned(system, estimator, optimizer, *cycled(xs, ys, count), noise, start)


def reference(method: str, text: str, symbols: np.ndarray, size: int) -> dict[str, Any]:
    """What a compressor makes of as much text, as if it were a learner."""
    start = time.process_time()
    if method == "ctw":
        bits = fg.streams.context_tree_bits(symbols, size=size)
        steps, cumulated, recent = fg.History(bits, 0).curve()
    else:
        steps = np.unique(np.geomspace(100, len(symbols), 30).astype(int))
        # level 6 is gzip's; 12 bytes more are in its header
        sizes = [8 * (len(zlib.compress(text[:k].encode(), 6)) + 12) for k in steps]
        cumulated = recent = np.array(sizes) / steps
    return {
        "loss": rounded(recent)[-1],
        "microseconds": rounded([1e6 * (time.process_time() - start) / len(symbols)])[0],
        "steps": [int(step) for step in steps],
        "cumulated": rounded(cumulated),
        "recent": rounded(recent),
    }


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """Three learners and two compressors."""
    return [{"method": method, "steps": steps or (QUICK if quick else LONG)} for method in NAMES]


def mean_of(found: fg.Sweep, method: str, result: str) -> float:
    """Over the seeds; of the cumulated loss, its last value."""
    values = [r.results[result] for r in longest(found, method=method)]
    return float(np.mean([v[-1] if isinstance(v, list) else v for v in values])) if values else math.nan


def table(found: fg.Sweep) -> Rows:
    """Losses over all characters, and costs."""
    paper = {"kalman": "below Euclidean", "ctw": "best", "rtrl": "about 100 times slower"}
    rows = [["", "characters", "bits a character, over all", "last tenth", "µs a character", "paper"]]
    for method, name in NAMES.items():
        runs = longest(found, method=method)
        rows.append(
            [
                name,
                f"{runs[0].results['steps'][-1]:,}" if runs else "–",
                spread([r.results["cumulated"][-1] for r in runs]),
                spread([r.results["loss"] for r in runs]),
                spread([r.results["microseconds"] for r in runs], 2),
                paper.get(method, ""),
            ]
        )
    return rows


def criteria(found: fg.Sweep) -> list[Criterion]:
    """What the paper says of the figure."""
    bits = {method: mean_of(found, method, "cumulated") for method in NAMES}
    costs = {method: mean_of(found, method, "microseconds") for method in NAMES}
    long = bool(records_of(found)) and all(r.settings["steps"] >= LONG for r in records_of(found))

    def told(holds: bool, *of: str) -> bool | None:
        return None if any(math.isnan(bits[m]) for m in of) or not (long or holds) else holds

    ratio = costs["rtrl"] / costs["euclidean"]
    early = [np.interp(r.results["steps"][-1], *_curve(found, "euclidean")) for r in longest(found, method="rtrl")]
    noise = float(np.mean(early)) - bits["rtrl"] if early and not math.isnan(bits["euclidean"]) else math.nan
    return [
        Criterion(
            f"NoBackTrack with the filter is better than without by {BETTER} bits or more",
            f"{bits['kalman']:.2f} and {bits['euclidean']:.2f}",
            told(bits["kalman"] < bits["euclidean"] - BETTER, "kalman", "euclidean"),
        ),
        Criterion(
            "context-tree weighting is better than all learners",
            f"{bits['ctw']:.2f} and {min(bits['kalman'], bits['euclidean']):.2f}",
            told(bits["ctw"] < min(bits["kalman"], bits["euclidean"]), "ctw", "kalman", "euclidean"),
        ),
        Criterion(
            "RTRL is slower than NoBackTrack by half the number of units, or more",
            f"{ratio:.0f} times",
            None if math.isnan(ratio) else ratio > UNITS / 2,
        ),
        Criterion(
            "step by step, NoBackTrack loses little against RTRL: 0.2 bits at most when RTRL's time is up",
            f"{noise:.2f} bits",
            None if math.isnan(noise) else noise < 0.2,
        ),
    ]


def _curve(found: fg.Sweep, method: str) -> tuple[list[float], list[float]]:
    results = longest(found, method=method)[0].results if longest(found, method=method) else {}
    return results.get("steps", [0]), results.get("cumulated", [math.nan])


def draw(found: fg.Sweep, figure: Any) -> None:
    """Figure 1."""
    ax = figure.subplots()
    draw_curves(ax, found, {name: {"method": method} for method, name in NAMES.items()}, "cumulated")
    ax.set_ylim(1.5, 7.0)
    ax.set_xlim(left=30)


EXPERIMENT = Experiment(
    name="nobacktrack-1",
    title="Characters: RTRL, NoBackTrack, NoBackTrack with a Kalman filter, and compressors",
    source="Ollivier, Tallec and Charpiat 2015, figure 1",
    setting="A sparse tanh network of 100 units; rates 10/(100 √t); the filter quasi-diagonal, γ = 1/√t, Λ = 100. "
    "Letter frequencies are known at the start.",
    deviations=(
        "The text is the beginning of the one that comes with Python, 10⁵ characters; the paper's music notation is "
        "not public. Nor are the network's sparsity (10 connections into a unit here) nor its weights.",
        "RTRL gets a hundredth of the characters, in place of the same time.",
        "Without a filter, a step of NoBackTrack gets several times dearer after some thousand characters: what it "
        "keeps of letters that have not come for long fades to subnormal numbers, which processors are slow with. "
        "That is part of its time here.",
    ),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
)
