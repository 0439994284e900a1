"""Robertson's kinetics (1966): three rates, nine orders of magnitude apart, from times that are nine orders apart.

    A → B (k₁),   2 B → B + C (k₂),   B + C → A + C (k₃)

Measurements are taken at 10⁻⁵ to 10⁴ s, evenly in the logarithm of time, so every sample brings the time since the one
before, and `esdirk4` takes as many steps between them as its tolerances ask for. An explicit method would need some ten
million. The three rates are fitted from starts that are twice or half of them; the data come from scipy's Radau method.

    python robertson.py --out robertson.png

takes a minute.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import fwdgrad as fg

MODEL = """
d A/dt = -k1*A + k3*B*C
d B/dt = k1*A - k3*B*C - k2*B**2
d C/dt = k2*B**2
A(0) = 1
B(0) = 0
C(0) = 0
param k1 = 0.08 in (0, inf) : 1/s
param k2 = 1.5e7 in (0, inf) : 1/s
param k3 = 2e4 in (0, inf) : 1/s
output A noise 0.01
output traces = 1e4*B noise 0.01
output C noise 0.01
dt = since
method = esdirk4
rtol = 1e-6
atol = 1e-10
"""
TRUTH = {"k1": 0.04, "k2": 3e7, "k3": 1e4}
NOISE = 0.01


def times_of(samples):
    """In s."""
    return np.geomspace(1e-5, 1e4, samples)


def observations(samples, seed=0):
    """A, 10⁴ B and C with noise, shape (samples, 3)."""
    k1, k2, k3 = TRUTH.values()

    def rates(_, h):
        forth, back, on = k1 * h[0], k3 * h[1] * h[2], k2 * h[1] ** 2
        return [back - forth, forth - back - on, on]

    times = times_of(samples)
    found = solve_ivp(rates, (0.0, times[-1]), [1.0, 0.0, 0.0], "Radau", times, rtol=1e-9, atol=1e-13).y.T
    return found * [1.0, 1e4, 1.0] + NOISE * np.random.default_rng(seed).normal(size=(samples, 3))


def draw(system, ys, fit, out):
    times = times_of(len(ys))
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for params, style, label in (({}, "--", "start"), (fit.params, "-", "fitted")):
        curves = system.simulate({"since": np.diff(times, prepend=0.0)}, params=params).outputs
        for k in range(3):
            axes.plot(times, curves[:, k], style, color=f"C{k}", lw=1, label=label if k == 0 else None)
    for k, name in enumerate(("A", "10⁴ B", "C")):
        axes.plot(times, ys[:, k], ".", color=f"C{k}", label=name)
    shown = ", ".join(f"{k} = {v:.3g} ± {fit.std[k]:.1g}" for k, v in fit.params.items())
    axes.set(xscale="log", xlabel="time [s]", ylabel="amount", ylim=(-0.05, 1.25), title=shown)
    axes.legend(ncols=5, loc="upper center")
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="robertson.png")
    parser.add_argument("--quick", action="store_true", help="20 samples, of 60")
    options = parser.parse_args(arguments)
    system, ys = fg.from_text(MODEL), observations(20 if options.quick else 60)
    fit = fg.fit(system, {"since": np.diff(times_of(len(ys)), prepend=0.0)}, ys)
    print(fit)
    draw(system, ys, fit, options.out)
    print(f"truth: {TRUTH}; written to {options.out}")
    return fit


if __name__ == "__main__":
    main()
