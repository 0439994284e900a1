"""Doses of a drug: rates of absorption and elimination, and when a dose was taken that nobody has written down.

    d gut/dt = −kₐ gut,   d blood/dt = kₐ gut − kₑ blood,   at each dose: gut ← gut + D

Concentrations in blood are measured at uneven times over two days, with an error of 0.06 mg/L, by the closed form
(Bateman 1910). Doses of 100 mg were taken at 0, 12 and 24 h, and a fourth one late; its time is a parameter, as
derivatives go through the moment of a change.

    python doses.py --out doses.png

takes some seconds.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

MODEL = """
d gut/dt = -ka*gut
d blood/dt = ka*gut - ke*blood
gut(0) = 0
blood(0) = 0
at t = [0, 12, 24, late]: gut += 100
param ka = 1 in (0, inf) : 1/h
param ke = 0.1 in (0, inf) : 1/h
param volume = 30 in (0, inf) : L
param late = 36 in (25, 47) : h
output concentration = blood/volume noise 0.06 : mg/L
dt = since
substeps = 8
"""
TRUTH = {"ka": 0.7, "ke": 0.15, "volume": 25.0, "late": 38.7}
NOISE = 0.06


def concentrations(times, ka, ke, volume, late):
    """In closed form, mg/L."""
    made = np.zeros(len(times))
    for start in (0.0, 12.0, 24.0, late):
        since = np.maximum(times - start, 0.0)
        made += 100 / volume * ka / (ka - ke) * (np.exp(-ke * since) - np.exp(-ka * since))
    return made


def table(samples, seed=0):
    """Hours, and concentrations with noise, shape (samples, 1)."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.2, 48.0, samples)).round(2)
    return times, (concentrations(times, **TRUTH) + NOISE * rng.normal(size=samples))[:, None]


def draw(system, times, ys, fit, out):
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.errorbar(times, ys[:, 0], 2 * NOISE, fmt=".", color="0.4", label="measured, ± 2 σ")
    fine = np.linspace(0.0, 60.0, 601)
    for params, style, label in (({}, "--", "start"), (fit.params, "-", "fitted")):
        curve = system.simulate({"since": np.diff(fine, prepend=0.0)}, params=params).outputs[:, 0]
        axes.plot(fine, curve, style, label=label)
    for dose in (0, 12, 24):
        axes.axvline(dose, color="0.8", lw=1, zorder=0)
    late, std = float(fit.params["late"]), float(fit.std["late"])
    axes.axvspan(late - 2 * std, late + 2 * std, color="C3", alpha=0.3, label=f"late dose: {late:.2f} ± {std:.2f} h")
    axes.set(xlabel="time [h]", ylabel="concentration [mg/L]", ylim=(-0.2, 5.2))
    axes.legend(ncols=2)
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="doses.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="25 samples, of 60")
    options = parser.parse_args(arguments)
    times, ys = table(25 if options.quick else 60, options.seed)
    system = fg.from_text(MODEL)
    fit = fg.fit(system, {"since": np.diff(times, prepend=0.0)}, ys, engine="numpy")
    print(fit)
    draw(system, times, ys, fit, options.out)
    print(f"truth: {TRUTH}; written to {options.out}")
    return fit


if __name__ == "__main__":
    main()
