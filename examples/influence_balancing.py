"""Influence balancing: figure 2a of Tallec and Ollivier 2018, "Unbiased Online Recurrent Optimization".

A parameter θ raises the observed unit at first and lowers it in the long run. Every algorithm starts at θ = 0.5 and has
the learning rates η/(1 + √t); the optimum is θ = −1/6. What keeps the influence of the past converges: RTRL exactly,
UORO and NoBackTrack at random. Truncation to T steps sees the wrong sign and goes the other way, until T is about five
times the number of units.

    python influence_balancing.py --out influence_balancing.png

takes about a minute. `--steps 20000` gives a first impression.
"""

import argparse
import math

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import fwdgrad as fg
from fwdgrad import systems

ESTIMATORS = {
    "RTRL": fg.RTRL(),
    "UORO": fg.UORO(),
    "NoBackTrack": fg.NoBackTrack(),
    **{f"truncated, T = {window}": fg.TBPTT(window) for window in (1, 10, 100, 200)},
}
RUNAWAY = 1e15
"""A curve ends where the loss is above this."""


def learning_curve(estimator, options, label):
    """Steps and mean losses, block by block, and the learned θ."""
    system = systems.influence_balancing(options.units, options.minus)
    rate = fg.schedules.inverse_sqrt(options.rate, 1.0)  # η/(1 + √t), with t the number of samples
    learner = fg.Learner(system, estimator, fg.SGD(rate), seed=options.seed)
    steps, losses = [], []
    with tqdm(total=options.steps, desc=f"{label:18}", unit="step", unit_scale=True) as bar:
        while learner.steps < options.steps:
            block = min(max(options.steps // 1000, 1), options.steps - learner.steps)
            try:
                losses.append(learner.run(None, np.ones(block)).loss.mean())
            except fg.errors.NonFiniteError:  # the learner stays at the last good step
                losses.append(math.inf)
            bar.update(learner.steps - bar.n)
            steps.append(learner.steps)
            if losses[-1] > RUNAWAY:
                break
        bar.set_postfix(loss=f"{losses[-1]:.2g}")
    return np.array(steps), np.array(losses), float(learner.params["theta"])


def draw(curves, options):
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for label, (steps, losses, _) in curves.items():
        axes.semilogy(steps, losses, "--" if label.startswith("truncated") else "-", lw=1.2, label=label)
    axes.set_ylim(1e-20, 1e10)
    axes.set(xlabel="step t", ylabel="loss", title=f"Influence balancing, {options.units} units, {options.minus} minus")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", ncols=2, fontsize="small")
    figure.savefig(options.out, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="influence_balancing.png", help="file for the figure")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=1e-3, help="η")
    parser.add_argument("--units", type=int, default=23)
    parser.add_argument("--minus", type=int, default=13)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    curves = {label: learning_curve(estimator, options, label) for label, estimator in ESTIMATORS.items()}
    draw(curves, options)
    for label, (steps, losses, theta) in curves.items():
        print(f"{label:18} loss {losses[-1]:9.3g} after {steps[-1]:7d} steps, θ = {theta:.6g}")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
