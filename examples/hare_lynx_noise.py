"""Hares and lynxes again, with noise in the state: winters, hunters and disease that no equation knows of.

    du/dt = a − b eᵛ + noise,      dv/dt = d eᵘ − c + noise,      u, v the logarithms of the numbers of hares and lynxes

`hare_lynx.py` explains all that the curves miss by errors of counting. Here the numbers themselves are disturbed, and a
Kalman filter follows them: `fg.filtered` makes a system of it, `fg.fit` finds the four rates and the two variances by
maximum likelihood, from 21 years, with deviations. The same filter written out in plain NumPy, its likelihood made
largest by scipy's simplex search from the same start, is the reference.

    python hare_lynx_noise.py --out hare-lynx-noise.png

Data: see `hare_lynx.py`.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

import fwdgrad as fg

AHEAD = 10
"""Years of the forecast."""
KNOWN = 0.04
"""Variance of the initial state: it is known to a fifth."""
MODEL = """
d u/dt = a - b*exp(v)
d v/dt = d*exp(u) - c
u(0) = 3.4
v(0) = 1.4
param a = 0.5 in (0, inf)    : 1/year
param b = 0.025 in (0, inf)  : 1/year per thousand
param c = 0.8 in (0, inf)    : 1/year
param d = 0.025 in (0, inf)  : 1/year per thousand
output hare = u
output lynx = v
dt = 1
substeps = 4
method = rk4
"""


def read():
    """Years, and logarithms of the pelts in thousands, shape (21, 2)."""
    table = np.loadtxt(Path(__file__).parent / "data" / "hare_lynx.csv", delimiter=",", skiprows=1)
    return table[:, 0], np.log(table[:, 1:])


def declared():
    """The filter: variances of a year's noise and of an observation are learned, those of the start are given."""
    plain = fg.from_text(MODEL, name="hares and lynxes")
    return fg.filtered(plain, fg.positive(0.01), fg.positive(0.04), initial_covariance=KNOWN)


def step(h, rates, dt):
    """A Runge–Kutta step of the two equations, and its Jacobian."""
    a, b, c, d = rates

    def slope(u):
        return np.array([a - b * np.exp(u[1]), d * np.exp(u[0]) - c])

    def bent(u):
        return np.array([[0.0, -b * np.exp(u[1])], [d * np.exp(u[0]), 0.0]])

    k1, m1 = slope(h), bent(h)
    k2, m2 = slope(h + dt / 2 * k1), bent(h + dt / 2 * k1) @ (np.eye(2) + dt / 2 * m1)
    k3, m3 = slope(h + dt / 2 * k2), bent(h + dt / 2 * k2) @ (np.eye(2) + dt / 2 * m2)
    k4, m4 = slope(h + dt * k3), bent(h + dt * k3) @ (np.eye(2) + dt * m3)
    return h + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), np.eye(2) + dt / 6 * (m1 + 2 * m2 + 2 * m3 + m4)


def year(h, P, rates, process):
    """Mean and covariance a year later: four steps, with noise all along each of them, by Simpson's rule."""
    dt = 0.25
    for _ in range(4):
        _, B = step(step(h, rates, dt / 2)[0], rates, dt / 2)
        h, A = step(h, rates, dt)
        P = A @ P @ A.T + process * dt / 6 * (np.eye(2) + 4 * B @ B.T + A @ A.T)
    return h, P


def surprise(u, ys):
    """Minus the log-likelihood of an extended Kalman filter; u are logarithms of four rates and two variances."""
    rates, (process, observation) = np.exp(u[:4]), np.exp(u[4:])
    h, P, total = np.array([3.4, 1.4]), KNOWN * np.eye(2), 0.0
    for t, y in enumerate(ys):
        if t:
            h, P = year(h, P, rates, process)
        S, e = P + observation * np.eye(2), y - h
        total += 0.5 * np.linalg.slogdet(S)[1] + 0.5 * e @ np.linalg.solve(S, e) + np.log(2 * np.pi)
        gain = P @ np.linalg.inv(S)
        h, P = h + gain @ e, (np.eye(2) - gain) @ P
    return total


def reference(ys):
    """Logarithms at the least surprise, their deviations, and that surprise."""
    point, options = np.log([0.5, 0.025, 0.8, 0.025, 0.01, 0.04]), {"adaptive": True, "maxfev": 4000, "fatol": 1e-9}
    for _ in range(3):  # a simplex that has collapsed is begun anew
        point = minimize(surprise, point, (ys,), "Nelder-Mead", options=options).x
    h, signs = 1e-3 * np.eye(len(point)), ((1, 1), (1, -1), (-1, 1), (-1, -1))

    def bend(i, j):
        return sum(s * t * surprise(point + s * h[i] + t * h[j], ys) for s, t in signs) / 4e-6

    bends = np.array([[bend(i, j) for j in range(len(point))] for i in range(len(point))])
    return point, np.sqrt(np.diag(np.linalg.inv(bends))), surprise(point, ys)


def main(arguments=None):
    """Fit, compare, draw; the fit, and the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="file for a picture")
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args(arguments)
    years, ys = read()
    system = declared()
    fit = fg.fit(system, ys=ys, engine=given.engine)
    print(fit)
    point, deviation, least = reference(ys)
    print(f"\n{'':12}{'fit':>9}{'std':>9}{'scipy':>9}{'std':>9}")
    for k, value, std in zip(system.trainable, np.exp(point), deviation, strict=True):
        print(f"{k:12}{float(fit.params[k]):9.4f}{float(fit.std[k]):9.4f}{value:9.4f}{value * std:9.4f}")
    print(f"log-likelihood: {-fit.loss:.3f}, scipy {-least:.3f}")
    if given.out:
        draw(given.out, fit, years, ys)
        print(f"picture: {given.out}")
    return fit, (point, deviation, least)


def draw(path, fit, years, ys):
    """Numbers, what was expected of each year the year before, and the years to come, with bands."""
    import matplotlib.pyplot as plt

    later = fit.forecast(AHEAD)
    to_come = years[-1] + 1 + np.arange(AHEAD)
    figure, axes = plt.subplots(2, 1, figsize=(9, 5.5), sharex=True, layout="constrained")
    for axis, k, name in zip(axes, range(2), ("hares", "lynxes"), strict=True):
        for when, mean, std, colour, label in (
            (years, fit.outputs[:, k], fit.bands[:, k], "tab:blue", "expected a year ahead, 95 %"),
            (to_come, later.mean[:, k], later.std[:, k], "tab:orange", "forecast, 95 %"),
        ):
            axis.fill_between(when, np.exp(mean - 1.96 * std), np.exp(mean + 1.96 * std), color=colour, alpha=0.2, lw=0)
            axis.plot(when, np.exp(mean), color=colour, lw=1.4, label=label)
        axis.plot(years, np.exp(ys[:, k]), "o", ms=4, color="black", label="counted")
        axis.set(ylabel=f"{name} (thousand pelts)", yscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
