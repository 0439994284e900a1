"""The Lorenz system from noisy observations of x alone: its three parameters online, in one pass.

    dx/dt = σ (y − x),      dy/dt = x (ρ − z) − y,      dz/dt = x y − β z

Whatever its parameters are, a simulation of a chaotic system is soon somewhere else than the data. So the state follows
them: before each step x and y are corrected by a tenth of what the last prediction missed (`injection`). The derivative
of the corrected state with respect to σ, ρ and β is carried forward exactly (RTRL), and an information filter with the
full matrix makes steps of it. Parameters start 15 to 20 % off. The prior is tight because the first steps are the
dangerous ones: the state was made with wrong parameters.

    python lorenz.py --out lorenz.png

takes about a minute. 0.01 units of time between samples, fourth-order Runge–Kutta, noise of standard deviation 0.1.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg
from fwdgrad import systems

NOISE = 0.1
START = {"sigma": 8.0, "rho": 24.0, "beta": 2.2}
GAIN = [[0.1], [0.1], [0.0]]
FILTER = fg.InformationFilter("full", fisher="exact", decay=1e-4, prior=1e5)


def observations(steps, seed=0):
    """Noisy x of the catalogue's system, shape (steps, 1)."""
    x = systems.lorenz().simulate(steps=steps).outputs
    return x + NOISE * np.random.default_rng(seed).normal(size=x.shape)


def start(gain=GAIN):
    """A learner with wrong parameters, whose z is wrong too."""
    model = systems.lorenz().replace(
        injection=gain, loss=fg.losses.SquaredError(NOISE), state={"x": 1.0, "y": 1.0, "z": 15.0}
    )
    learner = fg.Learner(model, fg.RTRL(), FILTER, engine="numpy")
    learner.params = START
    return learner


def follow(learner, ys, pieces=100):
    """Learn, and note the parameters in between."""
    steps, path = [0], [list(START.values())]
    for piece in np.array_split(ys, min(pieces, len(ys))):
        learner.run(ys=piece)
        steps.append(learner.steps)
        path.append([float(learner.params[k]) for k in START])
    return np.array(steps), np.array(path)


def draw(steps, path, truth, out):
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for i, k in enumerate(START):
        error = 100 * (path[:, i] / truth[k] - 1)
        axes.plot(steps, error, color=f"C{i}", label=f"{k} = {truth[k]:.4g}")
    axes.axhspan(-2, 2, color="0.9", zorder=0)
    axes.axhline(0, color="0.6", lw=0.8)
    axes.set(xlabel="samples of x", ylabel="error (%)", title="Lorenz: what is learned from x alone", ylim=(-8, 4))
    axes.legend()
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="lorenz.png")
    parser.add_argument("--quick", action="store_true", help="3000 samples")
    options = parser.parse_args(arguments)
    truth = {k: float(v) for k, v in systems.lorenz().params.items()}
    ys = observations(3000 if options.quick else options.steps, options.seed)
    learner = start()
    steps, path = follow(learner, ys)
    errors = {k: float(learner.params[k]) / truth[k] - 1 for k in truth}
    for i, (k, value) in enumerate(truth.items()):
        print(f"{k:5} {START[k]:5} → {path[-1, i]:.4f}, truly {value:.4f}: {100 * errors[k]:+.2f} %")
    draw(steps, path, truth, options.out)
    print(f"written to {options.out}")
    return errors


if __name__ == "__main__":
    main()
