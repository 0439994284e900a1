"""How often do the intervals that a learner claims hold the truth, and its bands the next observation?

    python -m benchmarks.coverage [--runs 200] [--systems lag,logistic,oscillator] [--steps 300] [--engine compiled]

Each model is simulated with its parameters, white noise of 5 % of the output's deviation is added, and it is learned in
one pass of `fg.Learner(system)` from parameters within a factor of 1.5. Printed are the part of the 95 % intervals of
the parameters at the end that hold the truth, the part of the last `LAST` observations that lie within 1.96 of the
deviations that `predict` gave for them one sample ahead, and in how many runs something was said against the model,
which is right.
"""

import argparse
import time
import warnings

import numpy as np

import fwdgrad as fg

NORMAL, LAST = 1.96, 100


def lag():
    """A store with an inflow."""
    return fg.System(
        lambda h, x, p: p["g"] * x - p["k"] * h, None, np.zeros(1), {"k": fg.positive(0.8), "g": fg.positive(1.2)},
        np.zeros(1), dt=0.1, method="rk4",
    )  # fmt: skip


def logistic():
    """Growth that ends."""
    return fg.System(
        lambda h, x, p: p["r"] * h * (1.0 - h / p["K"]), None, np.full(1, 5.0),
        {"r": fg.positive(0.5), "K": fg.positive(100.0)}, dt=0.1, method="rk4", first="initial",
    )  # fmt: skip


def oscillator():
    """A mass on a spring, of which the place is seen."""
    return fg.System(
        lambda h, x, p: np.stack([h[1], p["b"] * x[0] - p["k"] * h[0] - p["c"] * h[1]]), lambda h, x, p: h[:1],
        np.zeros(2), {"k": fg.positive(4.0), "c": fg.positive(0.6), "b": 1.0}, np.zeros(1), dt=0.1, method="rk4",
    )  # fmt: skip


SYSTEMS = {"lag": lag, "logistic": logistic, "oscillator": oscillator}


def covered(name, seed, steps, engine):
    """Which intervals hold the truth, which observations are within bands, and whether something is said against it."""
    system, rng = SYSTEMS[name](), np.random.default_rng(seed)
    xs = None if system.x is None else np.repeat(rng.normal(size=(steps // 10 + 1, 1)), 10, axis=0)[:steps]
    ys = system.simulate(xs, steps=steps if xs is None else None).outputs
    ys = ys + 0.05 * ys.std(0) * rng.normal(size=ys.shape)
    truth = {k: np.array(system.params[k]) for k in system.trainable}
    learner = fg.Learner(system, engine=engine)
    learner.params = {k: v * np.exp(rng.uniform(-1, 1) * np.log(1.5)) for k, v in truth.items()}
    learner.run(None if xs is None else xs[:-LAST], ys[:-LAST])
    within = []
    for k in range(steps - LAST, steps):
        x = None if xs is None else xs[k]
        mean, std = learner.predict(x, return_std=True)
        within.append(np.abs(ys[k] - mean) < NORMAL * std)
        learner.step(x, ys[k])
    std = learner.parameter_std()
    held = [np.ravel(np.abs(learner.params[k] - v) < NORMAL * std[k]) for k, v in truth.items()]
    return np.concatenate(held), np.concatenate(within), bool(learner.report().remarks)


def main():
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--engine", default="compiled")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in arguments.systems.split(","):
        begun = time.perf_counter()
        made = [covered(name, seed, arguments.steps, arguments.engine) for seed in range(arguments.runs)]
        held, within = (np.mean([run[k] for run in made]) for k in (0, 1))
        seconds = (time.perf_counter() - begun) / arguments.runs
        told = sum(run[2] for run in made)
        print(
            f"{name:12} parameters {held:6.1%}, observations {within:6.1%}, accused {told} of {arguments.runs}, "
            f"{seconds:.1f} s a run",
            flush=True,
        )


if __name__ == "__main__":
    main()
