"""Fifty growing chicks on four diets: one growth law, and a size of each chick's own.

A chick grows at a rate that falls as it comes near its size, w' = rate·w·(1 − w/size), from its weight when it hatched.
The rate is shared by all, the size is each one's own (`fg.per_stream`); nobody tells the model of diets. Five chicks
died early: sequences are of unequal length. One of them has two weights, of days 0 and 2, and became lighter: they say
nothing of the rate, since a size of its own fits them whatever that is, and little of that size.

`fg.fit(…, streams=50)` finds the 51 numbers; the reference is scipy's `least_squares` on the logistic curve in
closed form.

    python chicks.py --out chicks.png

Data: examples/data/chicks.csv, 578 weights in grams (Crowder and Hand 1990, Analysis of Repeated Measures, example
5.3), as river distributes them (ChickWeights; BSD-3-Clause license), and R (ChickWeight).
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

import fwdgrad as fg

NOISE = 10.0
"""Deviation of a weight from the law, grams."""
MODEL = """
d weight/dt = rate*weight*(1 - weight/size) : g
weight(0) = 41
param rate = 0.1 : 1/day
param size = 300 : g
"""


def read():
    """Days, weights and diet of each chick."""
    table = np.genfromtxt(Path(__file__).parent / "data" / "chicks.csv", delimiter=",", names=True)
    rows = [table[table["chick"] == k] for k in np.unique(table["chick"])]
    return [r["day"] for r in rows], [r["weight"] for r in rows], np.array([int(r["diet"][0]) for r in rows])


def chick():
    """The system of one chick."""
    system = fg.from_text(MODEL, name="chick", dt="elapsed", substeps=4)
    return system.replace(params={"rate": fg.positive(0.1), "size": fg.per_stream(fg.positive(300.0))})


def weight(days, first, rate, size):
    """The solution of the equation."""
    return size / (1 + (size / first - 1) * np.exp(-rate * days))


def reference(days, weights):
    """The rate and the sizes that scipy finds."""

    def residuals(u):
        pairs = zip(days, weights, u[1:], strict=True)
        return np.concatenate([weight(t, w[0], np.exp(u[0]), np.exp(size)) - w for t, w, size in pairs])

    return np.exp(least_squares(residuals, np.log([0.1, *(w.max() for w in weights)])).x)


def draw(path, days, weights, diets, params):
    """Weights and curves of all chicks, a panel for each diet; and the sizes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 5, figsize=(12, 3.4), layout="constrained", width_ratios=[1, 1, 1, 1, 0.9])
    fine, kinds = np.linspace(0, 21, 100), np.unique(diets)
    for axis, diet in zip(axes, kinds, strict=False):
        for k in np.flatnonzero(diets == diet):
            axis.plot(days[k], weights[k], ".", color="0.35", ms=3)
            axis.plot(fine, weight(fine, weights[k][0], params[0], params[1 + k]), color=f"C{diet - 1}", lw=0.9)
        axis.set(title=f"diet {diet}", ylim=(0, 420), xlabel="days")
    for axis in axes[1:4]:
        axis.tick_params(labelleft=False)
    axes[0].set_ylabel("weight, g")
    for diet in kinds:
        sizes = np.sort(params[1:][diets == diet])
        axes[4].plot(diet + np.linspace(-0.25, 0.25, len(sizes)), sizes, ".", color=f"C{diet - 1}")
        axes[4].plot([diet - 0.3, diet + 0.3], [np.median(sizes)] * 2, color="0.2", lw=1)
    axes[4].set(title="size, and its median", xlabel="diet", xticks=kinds, ylabel="g")
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(f"drawn: {path}")


def main(arguments=None):
    """Fit, compare and draw; the parameters of the fit, and those of scipy, each as one array."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="file for a picture")
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args(arguments)
    days, weights, diets = read()
    xs, ys = [{"elapsed": np.diff(t, prepend=0.0)} for t in days], [w[:, None] for w in weights]
    samples = fg.Trajectory(xs, ys, {"weight": np.array([w[0] for w in weights])})
    found = fg.fit(chick(), trajectories=[samples], streams=len(days), observation_noise=NOISE, engine=given.engine)
    fit, best = np.concatenate([[found.params["rate"]], found.params["size"]]), reference(days, weights)
    print(f"rate: {fit[0]:.4f} ± {float(found.std['rate']):.4f} a day, scipy {best[0]:.4f}")
    apart, known = np.abs(fit / best - 1)[1:], found.std["size"] < 0.5 * fit[1:]
    print(f"sizes: the largest difference from scipy's is {100 * np.max(apart[known]):.3f} %,", end=" ")
    print(f"of {np.count_nonzero(~known)} that is hardly known {100 * np.max(apart[~known], initial=0.0):.1f} %")
    print("\ndiet  chicks  median size  scipy")
    for diet in np.unique(diets):
        there = diets == diet
        print(f"{diet:4}{there.sum():8}{np.median(fit[1:][there]):11.0f} g{np.median(best[1:][there]):6.0f}")
    for remark in found.remarks:
        print(f"\n{remark}")
    if given.out:
        draw(given.out, days, weights, diets, fit)
    return fit, best


if __name__ == "__main__":
    main()
