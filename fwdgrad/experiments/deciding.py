"""Does one need the past, and must it be unbiased? Estimators on seven tasks, at equal samples and at equal seconds."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.experiments.frame import Criterion, Experiment, Rows, records_of
from fwdgrad.experiments.texts import dressed, learned, number

__all__ = ["EXPERIMENT", "NAMES", "TASKS", "Score", "score"]

NAMES = {
    "tbptt:1": "TBPTT(1)",
    "decayed:0": "Decayed(0)",
    "decayed:0.9": "Decayed(0.9), RFLO",
    "tbptt:16": "TBPTT(16)",
    "snap:1": "SnAp-1",
    "uoro": "UORO",
    "nobacktrack": "NoBackTrack",
    "kfrtrl:nobacktrack": "KF-RTRL",
    "ok:4": "OK(4)",
    "debiased": "Debiased(SnAp-1)",
    "rtrl": "RTRL",
}
"""From those that see least of the past to what sees all of it."""

UNBIASED = ("uoro", "nobacktrack", "kfrtrl:nobacktrack", "ok:4", "debiased", "rtrl")

LONG, QUICK = 50_000, 1500

UNITS = 8

POINTS = 24
"""Of a learning curve: there are hundreds."""

SLOW = 0.01
"""α of the rates γ/(1 + α √t)."""

NEAR = 0.1
"""Part of what there is to learn by which a loss may be above the best one and still be called as good."""


class Built(NamedTuple):
    """A task as it is learned; `naive` is the loss of who has learned nothing, `best` that of who knows all."""

    system: fg.System
    xs: Any
    ys: Any
    naive: float
    best: float


class Task(NamedTuple):
    """A stream, what learns it, and what its losses mean.

    Attributes:
        title: in a few words.
        about: what it asks of an estimator.
        build: makes it of so many samples, from two generators, of data and of weights.
        rates: those that are tried.
    """

    title: str
    about: str
    build: Callable[[int, np.random.Generator, np.random.Generator], Built]
    rates: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01)


def drift(steps: int, data: np.random.Generator, weights: np.random.Generator) -> Built:
    """y = a₁ x₁ + a₂ x₂ + x₁ x₂/2, with a random walk a: all that is needed is there, and it moves."""
    xs = data.normal(size=(steps, 2))
    walks = 1.0 + np.cumsum(0.01 * data.normal(size=(steps, 2)), axis=0)
    ys = np.sum(walks * xs, axis=1) + 0.5 * xs[:, 0] * xs[:, 1]
    system = systems.tanh_rnn(units=UNITS, inputs=2, outputs=1, seed=number(weights))
    return Built(system, xs, ys[:, None], 0.5 * float(np.var(ys[-steps // 10 :])), 0.0)


def copy(steps: int, data: np.random.Generator, weights: np.random.Generator) -> Built:
    """A bit of five steps ago."""
    xs, ys = fg.streams.copy_task(5, steps, data)
    return Built(systems.gru(units=UNITS, symbols=2, seed=number(weights)), xs, ys, 1.0, 0.0)


def brackets(steps: int, data: np.random.Generator, weights: np.random.Generator) -> Built:
    """A letter in brackets that comes back five letters later."""
    xs, ys = fg.streams.next_symbol(fg.streams.distant_brackets(1, 3, 4, steps + 1, data))
    best = fg.streams.distant_brackets_entropy(1, 3, 4)
    return Built(systems.gru(units=UNITS, symbols=7, seed=number(weights)), xs, ys, best * 5 / 4, best)


def anbn(steps: int, data: np.random.Generator, weights: np.random.Generator) -> Built:
    """As many b's as there were a's, at most eight."""
    xs, ys = fg.streams.next_symbol(fg.streams.anbn(1, 8, steps + 1, data))
    best = fg.streams.anbn_entropy(1, 8)
    return Built(systems.gru(units=UNITS, symbols=3, seed=number(weights)), xs, ys, 2 * best, best)


def balancing(steps: int, data: np.random.Generator, weights: np.random.Generator) -> Built:
    """A parameter that helps at first and harms in the long run."""
    return Built(systems.influence_balancing(23, 13), None, np.ones(steps), 8.0, 0.0)


def slow(steps: int, data: np.random.Generator, weights: np.random.Generator) -> Built:
    """A slow variable that is not observed, z' = z + e^r (g u − z), drives a fast one that is: x' = x/2 + z + u/2."""

    def F(h: Any, u: Any, theta: Any) -> Any:
        x, z = h[0], h[1]
        return np.stack([0.5 * x + z + 0.5 * u, z + np.exp(theta["r"]) * (theta["g"] * u - z)])

    system = fg.System(
        F, lambda h, u, theta: h[0], np.zeros(2), {"g": 0.3, "r": np.log(0.05)}, 0.0, name="slow variable"
    )
    us = wave(steps, data, 10)
    return observed(system, us, {"g": 1.5, "r": np.log(0.01)}, data)


def rod(steps: int, data: np.random.Generator, weights: np.random.Generator) -> Built:
    """Heat that goes in at one end of a rod of eight cells, and is measured at the other one: conductivities e^q."""
    cells = 8

    def F(T: Any, left: Any, theta: Any) -> Any:
        flow = np.exp(theta["q"]) * np.diff(np.concatenate([np.reshape(left, (1,)), T]))
        return T - flow + np.concatenate([flow[1:], np.zeros(1)])

    system = fg.System(
        F, lambda T, left, theta: T[-1], np.zeros(cells), {"q": np.full(cells, np.log(0.2))}, 0.0, name="rod"
    )
    truth = {"q": np.log(weights.uniform(0.1, 0.45, cells))}
    return observed(system, wave(steps, data, 100), truth, data, 0.005)


def wave(steps: int, data: np.random.Generator, memory: float) -> np.ndarray:
    """An input that changes within so many steps: an autoregression of variance 1."""
    made, noise = np.empty(steps), data.normal(size=steps)
    value, keep = 0.0, 1.0 - 1.0 / memory
    for t in range(steps):
        value = made[t] = keep * value + math.sqrt(1 - keep**2) * noise[t]
    return made


def observed(
    system: fg.System, us: np.ndarray, truth: dict[str, Any], data: np.random.Generator, noise: float = 0.02
) -> Built:
    """A simulation with other parameters and a little noise; losses of the declared ones, and of the truth."""
    clean = np.asarray(system.simulate(us, params=truth).outputs)
    start = np.asarray(system.simulate(us).outputs)
    late = slice(-len(us) // 10, None)
    ys = clean + noise * data.normal(size=clean.shape)
    return Built(system, us, ys, 0.5 * float(np.mean((start - ys)[late] ** 2)), 0.5 * noise**2)


TASKS = {
    "copy": Task("copy 5", "five steps", copy),
    "brackets": Task("brackets", "five symbols among others", brackets),
    "anbn": Task("aⁿbⁿ", "counting to eight", anbn),
    "balancing": Task("balancing", "200 steps; bias points the wrong way", balancing, (1e-4, 3e-4, 1e-3)),
    "slow": Task("slow variable", "100 steps of a hidden state", slow, (1e-4, 3e-4, 1e-3)),
    "rod": Task("heat rod", "heat that takes 300 steps", rod, (1e-4, 3e-4, 1e-3)),
    "drift": Task("drift", "nothing of the past", drift),
}


@functools.lru_cache(maxsize=8)
def built(task: str, steps: int, data: int, weights: int) -> Built:
    """A task from two seeds, made once for all estimators and rates: then what was traced of it is there, too."""
    return TASKS[task].build(steps, np.random.default_rng(data), np.random.default_rng(weights))


def learn(task: str, estimator: str, rate: float, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    """One run; samples and weights are the same for all estimators and rates."""
    data, weights, noise = number(rng), number(rng), rng
    system, xs, ys, naive, best = built(task, steps, data, weights)
    if task == "balancing":
        optimizer: Any = fg.SGD(fg.schedules.inverse_sqrt(rate, 1.0))
    else:
        optimizer = fg.Adam(fg.schedules.inverse_sqrt(rate, SLOW))
    with warnings.catch_warnings():  # truncation that sees no gradient at all is a result
        warnings.simplefilter("ignore", fg.errors.DeadParameterWarning)
        made = learned(system, estimator, optimizer, xs, ys, noise, points=POINTS)
    return {k: made[k] for k in ("loss", "microseconds", "steps", "recent")} | {"naive": naive, "best": best}


def cells(quick: bool, steps: int | None) -> list[dict[str, Any]]:
    """Every estimator on every task at all rates; for a look, three tasks at one."""
    length = steps or (QUICK if quick else LONG)
    chosen = ("copy", "balancing", "rod") if quick else tuple(TASKS)
    return [
        {"task": task, "estimator": name, "rate": rate, "steps": length}
        for task in chosen
        for name in NAMES
        for rate in (TASKS[task].rates[1:2] if quick else TASKS[task].rates)
    ]


class Score(NamedTuple):
    """What an estimator reaches on a task at the best of its rates, over the seeds.

    0 is all that can be known, 1 what who has learned nothing has, infinity a run that ended.
    """

    mean: float
    low: float
    high: float
    rate: float


def score(found: fg.Sweep, task: str, estimator: str, seconds: bool = False) -> Score | None:
    """The score at equal samples, or at equal seconds: those that the cheapest estimator takes for all samples.

    Returns:
        None if there is no run of it that ended well.
    """
    cost = costs(found, task)
    if estimator not in cost:
        return None
    share = min(cost.values()) / cost[estimator] if seconds else 1.0
    by_rate: dict[float, list[float]] = {}
    for record in records_of(found, task=task, estimator=estimator):
        value = math.inf
        if record.error is None:
            results = record.results
            loss = results["loss"]
            if share < 1.0:
                at = np.log(share * results["steps"][-1])
                loss = float(np.interp(at, np.log(results["steps"]), results["recent"]))
            value = (loss - results["best"]) / (results["naive"] - results["best"])
        by_rate.setdefault(record.settings["rate"], []).append(value if math.isfinite(value) else math.inf)
    rate = min(by_rate, key=lambda r: np.mean(by_rate[r]))
    values = by_rate[rate]
    return Score(float(np.mean(values)), min(values), max(values), rate)


def costs(found: fg.Sweep, task: str) -> dict[str, float]:
    """Microseconds of a step by estimator: the least of all runs, since what else the machine does only adds."""
    made: dict[str, float] = {}
    for record in records_of(found, task=task):
        if record.error is None:
            name = record.settings["estimator"]
            made[name] = min(made.get(name, math.inf), record.results["microseconds"])
    return made


def tasks_of(found: fg.Sweep) -> list[str]:
    """Those that were run."""
    there = found.settings.get("task", ())
    return [task for task in TASKS if task in there]


def shown(value: Score | None) -> str:
    """Two digits, a little below 0 as 0; what is far worse than learning nothing is of no interest in numbers."""
    if value is None:
        return "–"
    return f"{abs(round(value.mean, 2)):.2f}" if value.mean < 10 else "diverges"


def block(found: fg.Sweep, seconds: bool) -> Rows:
    """Scores of all estimators on all tasks."""
    tasks = tasks_of(found)
    return [
        [name, *(shown(score(found, task, estimator, seconds)) for task in tasks)] for estimator, name in NAMES.items()
    ]


def table(found: fg.Sweep) -> Rows:
    """Scores at equal samples, at equal seconds, and costs."""
    tasks = tasks_of(found)
    spent = [
        [name, *(f"{costs(found, task)[key]:.3g}" if key in costs(found, task) else "–" for task in tasks)]
        for key, name in NAMES.items()
    ]
    blank = [""] * len(tasks)
    head = ["", *(TASKS[task].title for task in tasks)]
    return [
        head,
        ["at equal samples", *blank], *block(found, False),
        ["at equal seconds", *blank], *block(found, True),
        ["µs a step", *blank], *spent,
    ]  # fmt: skip


def as_good(found: fg.Sweep, task: str, seconds: bool = False) -> list[str]:
    """The estimators that are as good as the best one of a task, the best one first."""
    scores = {name: s.mean for name in NAMES if (s := score(found, task, name, seconds)) is not None}
    if not scores:
        return []
    least = min(scores.values())
    return sorted((name for name, value in scores.items() if value <= least + NEAR), key=lambda name: scores[name])


def criteria(found: fg.Sweep) -> list[Criterion]:
    """What is claimed of truncation and of bias, by the table."""
    made = []
    for task in tasks_of(found):
        good = as_good(found, task)
        if not good or not all(r.settings["steps"] >= LONG for r in records_of(found, task=task)):
            made.append(Criterion(f"{TASKS[task].title}: who is as good as the best", "not told by short runs", None))
            continue
        listed = ", ".join(NAMES[name] for name in good)
        if task == "drift":
            made.append(Criterion("drift: TBPTT(1) is as good as the best", listed, "tbptt:1" in good))
        elif task == "balancing":
            wrong = [name for name in ("tbptt:1", "decayed:0", "decayed:0.9", "tbptt:16") if name in good]
            says = "balancing: nothing that is truncated is as good as the best"
            made.append(Criterion(says, listed, not wrong and bool(good)))
        else:
            says = f"{TASKS[task].title}: something unbiased is as good as the best, and TBPTT(1) is not"
            holds = "tbptt:1" not in good and any(name in good for name in UNBIASED)
            made.append(Criterion(says, listed, holds))
    return made


def draw(found: fg.Sweep, figure: Any) -> None:
    """Scores by task, at equal samples and at equal seconds."""
    tasks = tasks_of(found)
    panels = figure.subplots(1, 2, sharey=True)
    for ax, seconds, title in zip(panels, (False, True), ("at equal samples", "at equal seconds"), strict=True):
        grid = np.full((len(NAMES), len(tasks)), np.nan)
        for i, name in enumerate(NAMES):
            for j, task in enumerate(tasks):
                if (value := score(found, task, name, seconds)) is not None:
                    grid[i, j] = min(max(value.mean, 0.0), 1.5)
                    text = shown(value) if value.mean < 10 else "✗"
                    ax.text(
                        j, i, text, ha="center", va="center", fontsize=7, color="white" if grid[i, j] > 1.0 else "black"
                    )
        ax.imshow(grid, cmap="YlGnBu", vmin=0.0, vmax=1.5, aspect="auto")
        dressed(ax, "", "")
        ax.grid(visible=False)
        ax.set_xticks(range(len(tasks)), [TASKS[task].title for task in tasks], rotation=30, ha="right", fontsize=8)
        ax.set_yticks(range(len(NAMES)), [*NAMES.values()], fontsize=8)
        ax.set_title(f"{title}: 0 all, 1 nothing learned", fontsize="medium")


EXPERIMENT = Experiment(
    name="estimators",
    title="Does one need the past, and must it be unbiased? Eleven estimators on seven tasks",
    source="our own",
    setting="8 units where there is a network; Adam, rate γ/(1 + 0.01 √t), but SGD, γ/(1 + √t), for balancing; each at "
    "the best of several γ. Scores: 0 is the least loss there can be, 1 that of who has learned nothing.",
    deviations=(),
    learn=learn,
    cells=cells,
    table=table,
    criteria=criteria,
    draw=draw,
    replicas=3,
    size=(12.0, 5.0),
)
