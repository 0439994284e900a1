"""How often is a wrong structure found out, and how often is a right one accused?

    python -m benchmarks.structures [--seeds 4] [--steps 300] [--by learner] [--right]

For each kind, data are simulated with something that the model has not (a friction, a sensor that saturates, an
outflow that is not linear, …) and get noise; the model is fitted by `fg.fit`, or learned by `fg.Learner` with
`--by learner`. Told
are the largest error of a parameter in the deviations that are shown, and whether there was a warning: "sure and wrong"
is an error of more than three of them without one. With `--right` the model is the one that made the data.
"""

import argparse
import warnings

import numpy as np

import fwdgrad as fg
from fwdgrad.errors import BoundWarning, CalibrationWarning, FwdgradError, IdentifiabilityWarning, UnlearnedWarning

SAYING = (BoundWarning, CalibrationWarning, IdentifiabilityWarning, UnlearnedWarning)
STIFF = {"k": fg.positive(1.5), "c": fg.positive(0.2)}
LAG = {"k": fg.positive(0.5), "g": fg.positive(1.0)}
PREY = {"a": fg.positive(1.0), "b": fg.positive(0.15), "c": fg.positive(0.8), "d": fg.positive(0.06)}


def oscillator(force=lambda h: 0.0, push=lambda u: u, sensor=lambda h: h):
    """A mass on a spring, seen by a sensor."""

    def F(h, x, p):
        return np.stack([h[1], push(x[0]) - p["k"] * h[0] - p["c"] * h[1] + force(h)])

    return fg.System(F, lambda h, x, p: sensor(h[:1]), np.zeros(2), STIFF, np.zeros(1), dt=0.1, method="rk4")


def lag(outflow=lambda h: h, sensor=lambda h: h, start=0.0):
    """A store with an inflow."""
    return fg.System(
        lambda h, x, p: p["g"] * x - p["k"] * outflow(h), lambda h, x, p: sensor(h), np.full(1, start), LAG,
        np.zeros(1), dt=0.1, method="rk4",
    )  # fmt: skip


def predators(crowding=0.0, sated=0.0):
    """Predators and prey."""

    def F(h, x, p):
        met = h[0] * h[1] / (1.0 + sated * h[0])
        return np.stack([p["a"] * h[0] - p["b"] * met - crowding * h[0] ** 2, p["d"] * met - p["c"] * h[1]])

    return fg.System(F, None, np.array([10.0, 5.0]), PREY, dt=0.05, method="rk4")


STIFF_TRUTH, LAG_TRUTH = {"k": 2.0, "c": 0.3}, {"k": 0.8, "g": 1.2}
PREY_TRUTH = {"a": 1.1, "b": 0.2, "c": 0.7, "d": 0.07}
KINDS = {
    "a friction": (oscillator(lambda h: -0.15 * np.tanh(h[1] / 0.02)), oscillator(), STIFF_TRUTH, 0.1),
    "a weak friction": (oscillator(lambda h: -0.04 * np.tanh(h[1] / 0.02)), oscillator(), STIFF_TRUTH, 0.05),
    "a hardening spring": (oscillator(lambda h: -0.3 * h[0] ** 3), oscillator(), STIFF_TRUTH, 0.1),
    "a drag": (oscillator(lambda h: -0.2 * h[1] * np.abs(h[1])), oscillator(), STIFF_TRUTH, 0.1),
    "a push that saturates": (oscillator(push=np.tanh), oscillator(), STIFF_TRUTH, 0.1),
    "a sensor that saturates": (oscillator(sensor=lambda h: 1.2 * np.tanh(h / 1.2)), oscillator(), STIFF_TRUTH, 0.1),
    "a bent sensor": (oscillator(sensor=lambda h: h + 0.1 * h**2), oscillator(), STIFF_TRUTH, 0.1),
    "a lag and a sensor": (lag(sensor=lambda h: 1.5 * np.tanh(h / 1.5)), lag(), LAG_TRUTH, 0.2),
    "a tank": (lag(lambda h: np.sqrt(np.maximum(h + 1.0, 1e-6)) - 1.0), lag(), LAG_TRUTH, 0.1),
    "an outflow with a limit": (lag(lambda h: h / (1.0 + np.abs(h) / 4.0)), lag(), LAG_TRUTH, 0.1),
    "crowding": (predators(crowding=0.005), predators(), PREY_TRUTH, 0.6),
    "sated predators": (predators(sated=0.01), predators(), PREY_TRUTH, 0.6),
}  # fmt: skip


def learned(kind, seed, steps, by, right):
    """The largest error in deviations that are shown, and whether anything was said."""
    made, model, truth, noise = KINDS[kind]
    made = model if right else made
    rng = np.random.default_rng(seed)
    xs = None if made.x is None else np.repeat(rng.normal(size=steps // 10 + 1), 10)[:steps, None]
    ys = made.simulate(xs, steps=steps if xs is None else None, params=truth).outputs
    ys = ys + noise * rng.normal(size=ys.shape)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if by == "fit":
            found = fg.fit(model, xs, ys, method="simulation", engine="numpy")
            params, std = found.params, found.std
        else:
            found = fg.Learner(model, engine="numpy")
            found.run(xs, ys)
            params, std = found.params, found.parameter_std()
    far = max(abs(float(params[k]) - v) / float(std[k]) for k, v in truth.items())
    return far, any(issubclass(w.category, SAYING) for w in caught)


def main():
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--by", choices=("fit", "learner"), default="fit")
    parser.add_argument("--right", action="store_true")
    arguments = parser.parse_args()
    runs = said = silent = 0
    for kind in arguments.kinds.split(","):
        cells = []
        for seed in range(arguments.seeds):
            try:
                far, told = learned(kind, seed, arguments.steps, arguments.by, arguments.right)
            except FwdgradError as problem:
                cells.append(type(problem).__name__)
                continue
            runs, said, silent = runs + 1, said + told, silent + (not told and not far <= 3)
            cells.append(f"{far:.1f}{' told' if told else ''}")
        print(f"{kind:24}", *(f"{cell:10}" for cell in cells), flush=True)
    print(f"{runs} runs: a warning in {said}, sure and wrong without one {silent}")


if __name__ == "__main__":
    main()
