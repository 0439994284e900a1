"""A mass on a spring, driven and damped, seen with noise: its three parameters online, with intervals.

    x'' = b u(t) − k x − d x',      y = x + noise of standard deviation σ

An information filter with the full matrix and exact influence learns k, d and b from 2000 samples. Its decay fades out,
0.05·0.99ᵗ, so that what was seen with parameters that were still wrong is forgotten (Ljung and Söderström 1983, "Theory
and practice of recursive identification", §5.6). From then on it is the covariance of the estimates that it reports:
over many runs about 95 % of its 95 % intervals hold the truth.

    python oscillator.py --runs 20 --out oscillator.png

Where the memory of the system is long beside the first steps of the filter (little damping, little noise, a wide
prior), parameters overshoot: derivatives are those at the parameters of the past. A larger prior precision helps.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

TRUTH = {"k": 1.5, "d": 1.2, "b": 2.0}
DT, NOISE = 0.25, 0.15


def moved(h, u, theta):
    """A step of δt by Euler's map, with which the samples are made, too."""
    force = theta["b"] * u - theta["k"] * h["x"] - theta["d"] * h["v"]
    return {"x": h["x"] + DT * h["v"], "v": h["v"] + DT * force}


def position(h, u, theta):
    return h["x"]


def fading(t):
    return 0.05 * 0.99**t


FILTER = fg.InformationFilter("full", fisher="exact", decay=fading, prior=100.0)


def oscillator(params):
    loss = fg.losses.SquaredError(NOISE)
    return fg.System(moved, position, {"x": 0.0, "v": 0.0}, params, 0.0, loss, name="oscillator")


def samples(rng, steps):
    """A force that changes every ten steps, and the noisy positions after each step."""
    force = np.repeat(rng.normal(size=-(-steps // 10)), 10)[:steps]
    x, v, seen = 0.0, 0.0, []
    for u in force:
        x, v = x + DT * v, v + DT * (TRUTH["b"] * u - TRUTH["k"] * x - TRUTH["d"] * v)
        seen.append(x)
    return force, np.array(seen) + NOISE * rng.normal(size=steps)


def identify(seed, steps=2000):
    """A learner, from parameters that are up to 20 % wrong; and what it was given."""
    rng = np.random.default_rng(seed)
    force, seen = samples(rng, steps)
    first = {k: v * rng.uniform(0.8, 1.2) for k, v in TRUTH.items()}
    return fg.Learner(oscillator(first), fg.RTRL(), FILTER), force, seen


def errors(seed, steps=2000):
    """Relative errors after all samples, and errors in standard deviations; both in the order of TRUTH."""
    learner, force, seen = identify(seed, steps)
    learner.run(force, seen)
    std = learner.parameter_std()
    error = {k: float(learner.params[k]) - v for k, v in TRUTH.items()}
    return [error[k] / TRUTH[k] for k in TRUTH], [error[k] / float(std[k]) for k in TRUTH]


def draw(options):
    learner, force, seen = identify(options.seed, options.steps)
    path, width = [], []
    for u, y in zip(force, seen, strict=True):
        learner.step(u, y)
        path.append([float(learner.params[k]) for k in TRUTH])
        width.append([float(s) for s in learner.parameter_std().values()])
    path, width = np.array(path), np.array(width)
    figure, panels = plt.subplots(3, sharex=True, figsize=(7, 6), layout="constrained")
    for i, (axes, (k, value)) in enumerate(zip(panels, TRUTH.items(), strict=True)):
        axes.plot(path[:, i], color=f"C{i}")
        axes.fill_between(
            range(len(path)), *(path[:, i] + s * 1.96 * width[:, i] for s in (-1, 1)), alpha=0.3, fc=f"C{i}"
        )
        axes.axhline(value, color="k", ls=":")
        axes.set(ylabel=k, ylim=(0.85 * value, 1.15 * value))
    panels[0].set_title("Oscillator: estimates with 95 % intervals, and the truth (dotted)")
    panels[-1].set_xlabel("sample")
    figure.savefig(options.out, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="oscillator.png")
    options = parser.parse_args()
    draw(options)
    relative, scores = (np.array(a) for a in zip(*(errors(s, options.steps) for s in range(options.runs)), strict=True))
    for i, k in enumerate(TRUTH):
        held = np.mean(np.abs(scores[:, i]) < 1.96)
        print(f"{k}: largest error {100 * np.max(np.abs(relative[:, i])):.2f} %, 95 % intervals hold it {held:.1%}")


if __name__ == "__main__":
    main()
