"""Blood cells that are made with a delay (Mackey & Glass 1977): the delay itself is learned, online.

    dx/dt = b x(t − τ)/(1 + x(t − τ)¹⁰) − g x

At τ = 17 it is weakly chaotic. The data are made on a grid forty times finer, by a scheme of its own (Heun's, with the
delay a whole number of its steps), and have noise. One pass with the default learner, which filters parameters together
with what they do to the state and its past; the second picture is τ while it learns, with twice its deviation.

    python mackey_glass.py --out mackey_glass.png

takes some ten seconds.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

MODEL = """
d x/dt = b*late/(1 + late**10) - g*x
late = delay(x, tau)
x(0) = 1.2
param b = 0.22 in (0, inf)
param g = 0.11 in (0, inf)
param tau = 15.2 in (1, 25)
output x noise 0.02
dt = 1
"""
TRUTH = {"b": 0.2, "g": 0.1, "tau": 17.0}
FINER, NOISE, PIECE, SETTLED = 40, 0.02, 10, 70


def series(samples, b, g, tau):
    """x at t = 0, 1, …, by Heun's method on a grid that is FINER times finer."""
    back, dt = round(tau * FINER), 1 / FINER
    x = np.full(back + samples * FINER, 1.2)

    def rate(now, late):
        return b * late / (1 + late**10) - g * now

    for k in range(back, len(x) - 1):
        first = rate(x[k], x[k - back])
        x[k + 1] = x[k] + dt / 2 * (first + rate(x[k] + dt * first, x[k + 1 - back]))
    return x[back::FINER]


def learn(system, ys):
    """The learner after one pass, and (time, τ, its deviation) after each later piece of the data."""
    learner, found = fg.Learner(system), []
    for start in range(0, len(ys), PIECE):
        learner.run(ys=ys[start : start + PIECE])
        if learner.steps < SETTLED:  # deviations are those of the equations made linear at the start
            continue
        found.append((start + PIECE, float(learner.params["tau"]), float(learner.parameter_std()["tau"])))
    return learner, np.array(found)


def draw(system, ys, learner, found, out):
    figure, axes = plt.subplots(2, figsize=(7, 5.5), layout="constrained")
    axes[0].plot(ys[:, 0], ".", color="0.5", ms=4, label="data")
    for params, style, label in (({}, "--", "start"), (learner.params, "-", "learned")):
        axes[0].plot(system.simulate(steps=len(ys), params=params).outputs[:, 0], style, lw=1, label=label)
    axes[0].set(
        ylabel="x", ylim=(0.2, 1.7), title=f"τ = {found[-1, 1]:.2f} ± {found[-1, 2]:.2f}, truly {TRUTH['tau']:g}"
    )
    axes[0].legend(ncols=3)
    times, tau, std = found.T
    axes[1].plot(times, tau)
    axes[1].fill_between(times, tau - 2 * std, tau + 2 * std, alpha=0.3)
    axes[1].axhline(TRUTH["tau"], color="0.4", lw=1)
    axes[1].set(xlabel="time", ylabel="τ", ylim=(16.5, 17.5))
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="mackey_glass.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="100 samples, of 300")
    options = parser.parse_args(arguments)
    x = series(100 if options.quick else 300, **TRUTH)
    ys = x[:, None] + NOISE * np.random.default_rng(options.seed).normal(size=(len(x), 1))
    system = fg.from_text(MODEL)
    learner, found = learn(system, ys)
    print(learner.report())
    draw(system, ys, learner, found, options.out)
    print(f"truth: {TRUTH}; written to {options.out}")
    return learner, found


if __name__ == "__main__":
    main()
