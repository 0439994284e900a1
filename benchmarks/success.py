"""How often does a learner find the parameters of an ODE from a wrong start?

    python -m benchmarks.success [--factor 1.5] [--seeds 10] [--systems lotka_volterra,sir] [--by fit]

For each system of the catalogue and each seed: 3000 samples are simulated with the declared parameters (inputs are
random levels, held for 25 samples) and get noise of 2 % of each output's deviation. Every learned parameter starts at
its true value times a number between 1/factor and factor. After one pass of `fg.Learner(system)`, or by `fg.fit` with
`--by fit`, or by `scipy.optimize.least_squares` on `system.simulate` from the same start, the largest relative error is
reported, the largest error in deviations that are claimed, "!" where the report has a remark, and the seconds it took.
"""

import argparse
import time
import warnings
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.errors import FwdgradError
from fwdgrad.support.trees import map_leaves

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
SAMPLES, HELD, CLOSE, FAR = 3000, 25, 0.05, 4.0


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


class Measured(NamedTuple):
    """One run: the largest relative error, all errors in claimed deviations, seconds, and the report's remarks."""

    relative: float
    deviations: np.ndarray
    seconds: float
    told: tuple[str, ...]


def started(system, factor, rng):
    """Every learned parameter times a number between 1/factor and factor."""
    spread = np.log(factor)
    truth = {k: np.array(system.params[k]) for k in system.trainable}
    return {k: v * np.exp(rng.uniform(-spread, spread, size=v.shape)) for k, v in truth.items()}


def measured(system, xs, ys, start, by, engine):
    """What comes of one pass of a learner, of a fit, or of scipy, from a start; the truth is what is declared."""
    begun, told = time.perf_counter(), ()
    if by == "least_squares":
        params, std = least(system, xs, ys, start)
    elif by == "fit":
        found = fg.fit(system, xs, ys, params=start, engine=engine)
        params, std, told = found.params, found.std, found.remarks
    else:
        learner = fg.Learner(system, engine=engine)
        learner.params = start
        learner.run(xs, ys)
        params, std, told = learner.params, learner.parameter_std(), learner.report().remarks
    seconds = time.perf_counter() - begun
    relative, deviations = [], []
    for k in start:
        truth, coordinate = np.array(system.params[k]), system.coordinate[k]
        u = coordinate.learned(np.asarray(params[k], float))
        relative.append(np.max(np.abs(params[k] - truth) / np.abs(truth)))
        with np.errstate(all="ignore"):
            deviations.append(np.ravel(np.abs(u - coordinate.learned(truth)) * np.abs(coordinate.slope(u)) / std[k]))
    return Measured(float(max(relative)), np.concatenate(deviations), seconds, tuple(told))


def errors(name, factor, seed, by, engine):
    """One run."""
    system, rng = getattr(systems, name)(), np.random.default_rng(seed)
    xs, ys = data(system, name in POSITIVE, rng)
    return measured(system, xs, ys, started(system, factor, rng), by, engine)


def least(system, xs, ys, start):
    """What scipy finds in the coordinates that are learned, by difference quotients."""
    shapes = {k: np.shape(v) for k, v in start.items()}
    count = len(ys)
    spread = np.maximum(np.std(ys.reshape(count, -1), axis=0), 1e-12)

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
                outputs = system.simulate(xs, steps=None if xs is not None else count, params=natural(u)).outputs
        except FwdgradError:
            return np.full(ys.size, 1e3)
        return ((outputs - ys).reshape(count, -1) / spread).ravel()

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
    found = silent = runs = 0
    for name in arguments.systems.split(","):
        cells, times = [], []
        for seed in range(arguments.seeds):
            runs += 1
            try:
                run = errors(name, arguments.factor, seed, arguments.by, arguments.engine)
            except FwdgradError as problem:
                cells.append(type(problem).__name__)
                continue
            far = np.max(run.deviations, where=np.isfinite(run.deviations), initial=0.0)
            found += run.relative < CLOSE
            silent += far > FAR and not run.told
            times.append(run.seconds)
            cells.append(f"{run.relative:.3f} ({far:.1f}{'!' if run.told else ''})")
        print(f"{name:22}", *cells, f"median {np.median(times or [np.nan]):.1f} s", flush=True)
    print(f"within {CLOSE:.0%}: {found} of {runs}; more than {FAR:g} claimed deviations off without a word: {silent}")


if __name__ == "__main__":
    main()
