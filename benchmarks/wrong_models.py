"""Deliberately wrong models and filters: is a deviation shown that is less than a third of the error, without a word?

    python -m benchmarks.wrong_models [--seeds 1] [--steps 300] [--filters joint,full,parameter] [--right]
        [--messages]

Data are made by something that the model has not: another structure (those of `benchmarks.structures`, and weaker
ones), a drift while the model runs free, or numbers that are no measurements. A filter learns the model: the default
one (`joint`), an `InformationFilter` (`full`) or a `ParameterFilter` (`parameter`) with the noise that the data have.
Told are the largest error of a parameter in the deviations that are shown, and whether there was a warning: "silent" is
an error of more than three of them without one. With `--right` data are made by the model itself, and what is counted
are warnings; "rightly", if the filter is more than three of its own deviations off all the same.
"""

import argparse
import warnings
from typing import NamedTuple

import numpy as np

import fwdgrad as fg
from benchmarks.structures import (
    KINDS,
    LAG_TRUTH,
    PREY_TRUTH,
    SAYING,
    STIFF_TRUTH,
    lag,
    oscillator,
    predators,
)  # fmt: skip
from fwdgrad.errors import FwdgradError, OutlierWarning


class Kind(NamedTuple):
    """What makes the data, and what is fitted to them."""

    made: fg.System
    model: fg.System
    truth: dict[str, float]
    noise: float
    spoil: object = None
    """Takes outputs, noise and a generator, and gives the targets; white noise unless given."""
    later: float = 0.0
    """By how much the outflow is larger at the end: errors count from where it is then."""


def white(ys, noise, rng):
    """As the models have it."""
    return ys + noise * rng.normal(size=ys.shape)


def with_more(more):
    """White noise, and something else, a number for each of T samples."""
    return lambda ys, noise, rng: white(ys, noise, rng) + more(len(ys), noise, rng)[:, None]


def walked(size):
    """A drift like a random walk that goes so many deviations far."""
    return lambda n, noise, rng: size * noise * np.cumsum(rng.normal(size=n)) / n**0.5


def coloured(ys, noise, rng):
    """Noise that remembers ten samples."""
    made = np.zeros(len(ys))
    for k, e in enumerate(rng.normal(size=len(ys))):
        made[k] = (0.9 * made[k - 1] if k else 0.0) + noise * (1 - 0.81) ** 0.5 * e
    return ys + made[:, None]


def stuck(ys, noise, rng):
    """The last value again and again, for a tenth of the time."""
    made, n = white(ys, noise, rng), len(ys)
    for start in (n // 4, n // 2):
        made[start : start + n // 20] = made[start]
    return made


def rare(part, size, sided=False):
    """Some numbers are so many deviations off, to both sides or to one."""

    def more(n, noise, rng):
        far = size * noise * (1.0 if sided else np.sign(rng.normal(size=n)))
        return np.where(rng.random(n) < part, far, 0.0)

    return with_more(more)


def burst(n, noise, rng):
    """Ten numbers in a row."""
    return np.where(np.abs(np.arange(n) - n // 3) < 5, 8.0 * noise, 0.0)


def moving(by):
    """A store whose outflow becomes another one from the middle on, told by a clock in its state."""

    def F(h, x, p):
        late = np.where(h[1] > 15.0, by, 0.0)
        return np.stack([p["g"] * x[0] - (p["k"] + late) * h[0], 1.0 + 0.0 * h[1]])

    params = {"k": fg.positive(0.5), "g": fg.positive(1.0)}
    return fg.System(F, lambda h, x, p: h[:1], np.zeros(2), params, np.zeros(1), dt=0.1, method="rk4")


def counter(leak=0.0, bias=0.0):
    """A sum of what flows in, that may leak."""
    return fg.System(
        lambda h, x, p: p["g"] * x - leak * h + bias, None, np.zeros(1), {"g": fg.positive(1.0)}, np.zeros(1), dt=0.1,
        method="rk4",
    )  # fmt: skip


ADDED = {
    "a weak drag": Kind(oscillator(lambda h: -0.06 * h[1] * np.abs(h[1])), oscillator(), STIFF_TRUTH, 0.05),
    "a weakly hardening spring": Kind(oscillator(lambda h: -0.06 * h[0] ** 3), oscillator(), STIFF_TRUTH, 0.05),
    "a sensor that bends a little": Kind(oscillator(sensor=lambda h: h - 0.02 * h**3), oscillator(), STIFF_TRUTH, 0.1),
    "a push that saturates a little": Kind(
        oscillator(push=lambda u: 3.0 * np.tanh(u / 3.0)), oscillator(), STIFF_TRUTH, 0.05
    ),
    "a backlash": Kind(
        oscillator(sensor=lambda h: np.where(np.abs(h) > 0.2, h - 0.2 * np.sign(h), 0.0)),
        oscillator(), STIFF_TRUTH, 0.1,
    ),
    "a lag and a weak sensor": Kind(lag(sensor=lambda h: 3.0 * np.tanh(h / 3.0)), lag(), LAG_TRUTH, 0.1),
    "a slow tank": Kind(lag(lambda h: h + 0.05 * h**2), lag(), LAG_TRUTH, 0.1),
    "a little crowding": Kind(predators(crowding=0.002), predators(), PREY_TRUTH, 0.6),
    "a leak that was left out": Kind(counter(leak=0.03), counter(), {"g": 1.2}, 0.1),
    "a bias that adds up": Kind(counter(bias=0.02), counter(), {"g": 1.2}, 0.1),
    "a sensor that drifts": Kind(lag(), lag(), LAG_TRUTH, 0.1, with_more(walked(5.0))),
    "a sensor that drifts, of a mass": Kind(oscillator(), oscillator(), STIFF_TRUTH, 0.1, with_more(walked(5.0))),
    "a trend": Kind(lag(), lag(), LAG_TRUTH, 0.1, with_more(lambda n, noise, rng: np.linspace(0, 4 * noise, n))),
    "an offset": Kind(lag(), lag(), LAG_TRUTH, 0.1, with_more(lambda n, noise, rng: np.full(n, 2 * noise))),
    "a wave": Kind(
        lag(), lag(), LAG_TRUTH, 0.1, with_more(lambda n, noise, rng: 2 * noise * np.sin(2 * np.pi * np.arange(n) / 70))
    ),
    "noise with a memory": Kind(lag(), lag(), LAG_TRUTH, 0.1, coloured),
    "noise with a memory, of a mass": Kind(oscillator(), oscillator(), STIFF_TRUTH, 0.2, coloured),
    "an outflow that changes": Kind(moving(0.3), lag(), LAG_TRUTH, 0.1, later=0.3),
    "an outflow that changes a little": Kind(moving(0.1), lag(), LAG_TRUTH, 0.1, later=0.1),
    "a sensor that sticks": Kind(lag(), lag(), LAG_TRUTH, 0.1, stuck),
    "outliers": Kind(lag(), lag(), LAG_TRUTH, 0.1, rare(0.05, 10.0)),
    "outliers, of a mass": Kind(oscillator(), oscillator(), STIFF_TRUTH, 0.05, rare(0.05, 10.0)),
    "outliers, of predators": Kind(predators(), predators(), PREY_TRUTH, 0.4, rare(0.05, 10.0)),
    "a few far outliers": Kind(lag(), lag(), LAG_TRUTH, 0.1, rare(0.02, 30.0)),
    "outliers to one side": Kind(lag(), lag(), LAG_TRUTH, 0.1, rare(0.05, 10.0, sided=True)),
    "outliers to one side, of a mass": Kind(
        oscillator(), oscillator(), STIFF_TRUTH, 0.05, rare(0.05, 10.0, sided=True)
    ),
    "heavy tails": Kind(
        oscillator(), oscillator(), STIFF_TRUTH, 0.1,
        lambda ys, noise, rng: ys + noise * rng.standard_t(2.2, size=ys.shape),
    ),
    "a burst": Kind(lag(), lag(), LAG_TRUTH, 0.1, with_more(burst)),
}  # fmt: skip
EVERY = {k: Kind(*kind) for k, kind in KINDS.items()} | ADDED
FILTERS = {
    "joint": lambda noise: (None, None),
    "full": lambda noise: (fg.RTRL(), fg.InformationFilter("full", fisher="exact")),
    "parameter": lambda noise: (fg.RTRL(), fg.ParameterFilter(observation_noise=noise)),
}


def learned(kind, seed, steps=300, by="joint", right=False):
    """The largest error in deviations that are shown, of the parameters that have one, what was said, and whether that
    is right: by the filter's own deviations, nothing would have shown."""
    what = EVERY[kind]
    rng = np.random.default_rng(seed)
    made = what.model if right else what.made
    xs = None if made.x is None else np.repeat(rng.normal(size=steps // 10 + 1), 10)[:steps, None]
    ys = made.simulate(xs, steps=steps if xs is None else None, params=what.truth).outputs
    ys = (white if right or what.spoil is None else what.spoil)(ys, what.noise, rng)
    estimator, optimizer = FILTERS[by](what.noise**2)
    model = what.model if by == "joint" else what.model.replace(loss=fg.losses.SquaredError(scale=what.noise))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner = fg.Learner(model, estimator or "auto", optimizer, engine="numpy")
        learner.run(xs, ys)
        std = learner.parameter_std()
    truth = what.truth | ({"k": what.truth["k"] + what.later} if what.later and not right else {})
    far = [abs(float(learner.params[k]) - v) / float(std[k]) for k, v in truth.items() if np.isfinite(std[k])]
    told = [str(w.message) for w in caught if issubclass(w.category, (*SAYING, OutlierWarning))]
    informed, carry = learner._execution.steps.informed, learner._unpacked
    own = {k: float(v) ** 0.5 for k, v in informed.variances(carry.optimizer).items()}
    known = what.model.learned(truth)
    apart = {k: abs(float(carry.params[k]) - float(known[k])) for k in truth}
    return max(far, default=0.0), told, max(apart[k] / own[k] for k in truth) > 3.0


def main():
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kinds", default=";".join(EVERY), help="names, with semicolons between them")
    parser.add_argument("--filters", default="joint")
    parser.add_argument("--right", action="store_true")
    parser.add_argument("--messages", action="store_true", help="what was said in the last run of each line")
    arguments = parser.parse_args()
    runs = said = silent = rightly = 0
    for kind in arguments.kinds.split(";"):
        for by in arguments.filters.split(","):
            cells = []
            for seed in range(arguments.first, arguments.first + arguments.seeds):
                try:
                    far, told, wrong = learned(kind, seed, arguments.steps, by, arguments.right)
                except FwdgradError as problem:
                    cells.append(type(problem).__name__)
                    continue
                runs, said, silent = runs + 1, said + bool(told), silent + (not told and not far <= 3)
                rightly += bool(told) and wrong
                note = " rightly" if arguments.right and told and wrong else " told" if told else ""
                cells.append(f"{far:.1f}{note}{' SILENT' if not told and not far <= 3 else ''}")
            print(f"{kind:32} {by:10}", *(f"{cell:12}" for cell in cells), flush=True)
            if arguments.messages:
                print(*(f"    {message}" for message in told), sep="\n")
    print(f"{runs} runs: a warning in {said}, sure and wrong without one {silent}")
    if arguments.right:
        print(f"of these warnings the filter was more than three of its own deviations off in {rightly}")


if __name__ == "__main__":
    main()
