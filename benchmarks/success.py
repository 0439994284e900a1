"""How often does a learner find the parameters of an ODE from a wrong start?

    python -m benchmarks.success [--factor 1.5] [--seeds 10] [--systems lotka_volterra,sir] [--by fit]

For each system of the catalogue and each seed: 3000 samples are simulated with the declared parameters (inputs are
random levels, held for 25 samples) and get noise of 2 % of each output's deviation. Every learned parameter starts at
its true value times a number between 1/factor and factor. After one pass of `fg.Learner(system)`, or by `fg.fit` with
`--by fit`, or by `scipy.optimize.least_squares` on `system.simulate` from the same start, the largest relative error is
reported, the largest error in deviations that are claimed, and the seconds it took.
"""

import argparse
import time
import warnings

import numpy as np
from scipy.optimize import least_squares

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import FwdgradError
from fwdgrad.trees import map_leaves

SYSTEMS = [
    "lotka_volterra",
    "sir",
    "mass_spring_damper",
    "pendulum",
    "van_der_pol",
    "fitzhugh_nagumo",
    "cascaded_tank",
    "linear_compartments",
    "lorenz",
    "heat_rod",
]
POSITIVE = {"cascaded_tank", "linear_compartments"}
SAMPLES, HELD, CLOSE = 3000, 25, 0.05


def levels(example, positive, rng):
    """Random levels around an example input, each held for a while."""
    size = (SAMPLES // HELD + 1, *example.shape)
    sign = 1.0 if positive else rng.choice([-1.0, 1.0], size=size)
    steps = example + (np.abs(example) + 0.5) * rng.uniform(0, 2 if positive else 1, size=size) * sign
    return np.repeat(steps, HELD, axis=0)[:SAMPLES]


def data(system, positive, rng):
    """Inputs, or None, and noisy outputs."""
    xs = None if system.x is None else map_leaves(lambda v: levels(np.asarray(v, float), positive, rng), system.x)
    ys = (system.simulate(xs) if xs is not None else system.simulate(steps=SAMPLES)).outputs
    flat = ys.reshape(SAMPLES, -1)
    noise = np.maximum(0.02 * flat.std(0), 1e-3 * np.abs(flat).max() + 1e-9)
    return xs, (flat + noise * rng.normal(size=flat.shape)).reshape(ys.shape)


def errors(name, factor, seed, by, engine):
    """The largest relative error after one pass, or of a fit, the largest one in deviations, and the seconds."""
    system, rng = getattr(systems, name)(), np.random.default_rng(seed)
    xs, ys = data(system, name in POSITIVE, rng)
    truth = {k: np.array(system.params[k]) for k in system.trainable}
    spread = np.log(factor)
    start = {k: v * np.exp(rng.uniform(-spread, spread, size=v.shape)) for k, v in truth.items()}
    begun = time.perf_counter()
    if by == "least_squares":
        params, deviations = least(system, xs, ys, start)
    elif by == "fit":
        found = fg.fit(system, xs, ys, params=start, engine=engine)
        params, deviations = found.params, found.std
    else:
        learner = fg.Learner(system, seed=seed, engine=engine)
        learner.params = start
        learner.run(xs, ys)
        params, deviations = learner.params, learner.parameter_std()
    seconds = time.perf_counter() - begun
    wrong = {k: np.abs(params[k] - v) for k, v in truth.items()}
    relative = max(float(np.max(wrong[k] / np.abs(v))) for k, v in truth.items())
    return relative, max(float(np.max(wrong[k] / std)) for k, std in deviations.items()), seconds


def least(system, xs, ys, start):
    """What scipy finds in the coordinates that are learned, by difference quotients."""
    shapes = {k: np.shape(v) for k, v in start.items()}
    spread = np.maximum(np.std(ys.reshape(SAMPLES, -1), axis=0), 1e-12)

    def natural(u):
        made, place = {}, 0
        for k, shape in shapes.items():
            size = int(np.prod(shape, dtype=int))
            made[k] = system.coordinate[k].natural(u[place : place + size].reshape(shape))
            place += size
        return made

    def residuals(u):
        try:
            with np.errstate(all="ignore"):
                outputs = system.simulate(xs, steps=None if xs is not None else SAMPLES, params=natural(u)).outputs
        except FwdgradError:
            return np.full(ys.size, 1e3)
        return ((outputs - ys).reshape(SAMPLES, -1) / spread).ravel()

    u0 = np.concatenate([np.ravel(system.coordinate[k].learned(np.asarray(v))) for k, v in start.items()])
    solved = least_squares(residuals, u0, x_scale="jac")
    covariance = np.linalg.pinv(solved.jac.T @ solved.jac) * 2 * solved.cost / (ys.size - len(u0))
    params, deviations, place = natural(solved.x), {}, 0
    for k, shape in shapes.items():
        size = int(np.prod(shape, dtype=int))
        u, width = solved.x[place : place + size], np.sqrt(np.diag(covariance))[place : place + size]
        deviations[k] = (np.abs(system.coordinate[k].slope(u)) * width).reshape(shape)
        place += size
    return params, deviations


def main():
    """Print a line for each system."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--factor", type=float, default=1.5)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--by", choices=("learner", "fit", "least_squares"), default="learner")
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = runs = 0
    for name in arguments.systems.split(","):
        cells, times = [], []
        for seed in range(arguments.seeds):
            runs += 1
            try:
                error, deviations, seconds = errors(name, arguments.factor, seed, arguments.by, arguments.engine)
                found += error < CLOSE
                times.append(seconds)
                cells.append(f"{error:.3f} ({deviations:.1f})")
            except FwdgradError as problem:
                cells.append(type(problem).__name__)
        print(f"{name:22}", *cells, f"median {np.median(times or [np.nan]):.1f} s", flush=True)
    print(f"within {CLOSE:.0%}: {found} of {runs}")


if __name__ == "__main__":
    main()
