"""A stiff system: van der Pol's oscillator with μ = 1000. Explicit integrators explode, an implicit one learns.

    d²x/dt² = μ (1 − x²) dx/dt − x

x creeps from 2 towards 1 for a time of about 800, while whatever disturbs it dies out at a rate of μ (x² − 1), up to
3000. An explicit integrator needs steps below 2/3000; here a step is 5, between two noisy observations of x. Euler and
the classical Runge–Kutta method are tried first, and refuse to go on at the step where the state stops being finite.
Then μ is learned from 800 on with `method="sdirk2"`, by an exact derivative that goes through Newton's method by the
implicit function theorem, in four passes. The data come from scipy's Radau method with μ = 1000.

    python van_der_pol.py --out van_der_pol.png

takes some seconds.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import fwdgrad as fg
from fwdgrad import systems

MU, START, DT, SAMPLES, NOISE = 1000.0, 800.0, 5.0, 120, 0.02
TIMES = DT * np.arange(1, SAMPLES + 1)
FILTER = fg.InformationFilter("full", fisher="exact", decay=lambda t: 0.02 * 0.995**t, prior=25.0)


def observations(seed=0):
    """x with noise, shape (SAMPLES, 1)."""

    def rates(_, h):
        return [h[1], MU * (1 - h[0] ** 2) * h[1] - h[0]]

    x = solve_ivp(rates, (0.0, TIMES[-1]), [2.0, 0.0], "Radau", TIMES, rtol=1e-9, atol=1e-9).y[0]
    return x[:, None] + NOISE * np.random.default_rng(seed).normal(size=(SAMPLES, 1))


def learn(method, ys, passes):
    """The learned μ after each pass, each a trajectory of its own, and the learner."""
    system = systems.van_der_pol(mu=START, dt=DT, method=method)
    system = system.replace(
        Y=lambda h, x, p: np.stack([h["x"]]), loss=fg.losses.SquaredError(NOISE)
    )  # v is not observed
    learner, found = fg.Learner(system, fg.RTRL(), FILTER), []
    for _ in range(passes):
        learner.reset_state()
        learner.run(ys=ys)
        found.append(float(learner.params["mu"]))
    return found, learner


def draw(ys, learner, out):
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(TIMES, ys[:, 0], ".", color="0.6", label="data, μ = 1000")
    for params, style in (({"mu": START}, "--"), (learner.params, "-")):
        x = learner.system.simulate(steps=SAMPLES, params=params).outputs[:, 0]
        axes.plot(TIMES, x, style, label=f"simulation, μ = {float(params['mu']):.0f}")
    axes.set(xlabel="time", ylabel="x", title=f"Van der Pol: implicit steps of {DT:g}")
    axes.legend()
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="van_der_pol.png")
    parser.add_argument("--quick", action="store_true", help="two passes")
    options = parser.parse_args(arguments)
    ys = observations(options.seed)
    refused = {}
    for method in ("euler", "rk4"):
        try:
            learn(method, ys, 1)
        except fg.errors.NonFiniteError as error:
            refused[method] = error
            print(f"{method}: {str(error).splitlines()[0]}")
    found, learner = learn("sdirk2", ys, 2 if options.quick else options.passes)
    print(f"sdirk2: μ = {START:g} → {', '.join(f'{mu:.1f}' for mu in found)} after each pass, truly {MU:g}")
    draw(ys, learner, options.out)
    print(f"written to {options.out}")
    return found[-1], refused


if __name__ == "__main__":
    main()
