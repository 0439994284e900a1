"""Hares and lynxes of Canada, 1900 to 1920: six parameters and a picture from 21 observations.

    dx/dt = a x − b x y,      dy/dt = d x y − c y

The rates and both initial numbers are learned, all positive, by exact gradients carried forward through the years
(RTRL through four Runge–Kutta steps a year) and Adam, in sixty passes over the table. What is learned from is the
logarithm of the numbers, because the errors of counts are relative ones. The same problem is given to scipy's
`least_squares`, which sees all years at once, from the same start; the sum of squares of both is printed.

    python hare_lynx.py --out hare_lynx.png

takes a few seconds. The band is what the data leave open: with S = ∂ŷ/∂θ from the same influence and the variance σ² of
the residuals, (SᵀS)⁻¹σ² is the covariance of θ to first order, and S (SᵀS)⁻¹ Sᵀ σ² that of the curves.

Data: pelts in thousands, collected by the Hudson's Bay Company; examples/data/hare_lynx.csv. The table is the one of
Howard 2009, "Modeling basics", with numbers of Elton and Nicholson 1942, "The ten-year cycle in numbers of the lynx in
Canada".
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

import fwdgrad as fg
from fwdgrad.plots import plot_simulation

MODEL = """
d prey/dt = a*prey - b*prey*pred          : thousand/year
d pred/dt = d*prey*pred - c*pred          : thousand/year
prey(0) = prey0
pred(0) = pred0
param a = 0.5 in (0, inf)                 : 1/year
param b = 0.025 in (0, inf)               : 1/year per thousand
param c = 0.8 in (0, inf)                 : 1/year
param d = 0.025 in (0, inf)               : 1/year per thousand
param prey0 = 30 in (0, inf)              : thousand
param pred0 = 5 in (0, inf)               : thousand
output hare = log(prey)
output lynx = log(pred)
dt = 1
substeps = 4
method = rk4
"""


def read():
    """Years, and logarithms of the pelts in thousands, shape (21, 2)."""
    table = np.loadtxt(Path(__file__).parent / "data" / "hare_lynx.csv", delimiter=",", skiprows=1)
    return table[:, 0], np.log(table[:, 1:])


def squares(system, ys, params):
    """Sum of squares of a free run."""
    return float(np.sum((system.simulate(steps=len(ys), params=params).outputs - ys) ** 2))


def learn(system, ys, passes=60):
    """A learner after some passes, each of them a trajectory of its own."""
    learner = fg.Learner(system, fg.RTRL(), fg.Adam(lambda t: 0.01 / (1 + t / 300)))
    for _ in range(passes):
        learner.reset_state()
        learner.run(ys=ys)
    return learner


def least_squares_solution(system, ys):
    """What scipy finds from the same start, in the same logarithms of the parameters."""
    names = list(system.params)

    def residuals(u):
        params = dict(zip(names, np.exp(u), strict=True))
        return (system.simulate(steps=len(ys), params=params).outputs - ys).ravel()

    found = least_squares(residuals, [np.log(system.params[k]) for k in names])
    return dict(zip(names, np.exp(found.x), strict=True))


def uncertainty(learner, ys):
    """Standard deviations of the parameters and of the simulated logarithms, to first order."""
    learner.reset_state()
    rows = []
    for _ in ys:
        learner.step()  # without a target nothing is learned
        numbers = np.array(list(learner.state.values()))
        rows.append(learner.influence_matrix() / numbers[:, None])  # ∂ log h/∂θ
    S = np.array(rows)  # (T, 2, 6)
    variance = squares(learner.system, ys, learner.params) / (ys.size - S.shape[2])
    covariance = variance * np.linalg.inv(np.einsum("tip,tiq->pq", S, S))
    band = np.sqrt(np.einsum("tip,pq,tiq->ti", S, covariance, S))
    return dict(zip(learner.params, np.sqrt(np.diag(covariance)), strict=True)), band


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--out", default="hare_lynx.png")
    parser.add_argument("--quick", action="store_true", help="fewer passes")
    options = parser.parse_args(arguments)
    years, ys = read()
    system = fg.from_text(MODEL, name="hares and lynxes")
    learner = learn(system, ys, 25 if options.quick else options.passes)
    learned = squares(system, ys, learner.params)
    best = squares(system, ys, least_squares_solution(system, ys))
    std, band = uncertainty(learner, ys)
    for k, v in learner.params.items():
        print(f"{k:5} {float(v):8.4f} ± {std[k]:.4f} {system.units[k]}")
    print(f"sum of squares of logarithms: {squares(system, ys, {}):.3f} at the start, {learned:.4f} learned forward,")
    print(f"{best:.4f} by least squares over all years at once: {100 * (learned / best - 1):.2f} % above it")
    simulation = system.simulate(steps=len(ys), params=learner.params).outputs
    names = ["log hares (thousands)", "log lynxes (thousands)"]
    plot_simulation(years, ys, simulation, band, options.out, names, "year")
    print(f"written to {options.out}")
    return learned, best


if __name__ == "__main__":
    main()
