"""A neuron that integrates and fires: its threshold and its time constant, from its voltage.

    dv/dt = (R I(t) − v)/τ,   where v > θ: v ← 0

The current I changes every 20 ms. Between its changes v has a closed form (Lapicque 1907), by which the data are made.
Spikes are events: their moments are found within steps of 1 ms, and derivatives go through them, so that R, τ and θ are
found by least squares; for a loss of spikes that are held fixed, θ would have no derivative at all.

    python spiking_neuron.py --out spiking_neuron.png

takes some ten seconds.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

MODEL = """
d v/dt = (R*current - v)/tau
v(0) = 0
when v > theta: v = 0
param R = 9 in (0, inf) : MΩ
param tau = 11 in (0, inf) : ms
param theta = 14 in (0, inf) : mV
input current = 0 : nA
output v noise 0.3 : mV
dt = 1
"""
TRUTH = {"R": 10.0, "tau": 10.0, "theta": 15.0}
HELD, NOISE = 20, 0.3


def currents(samples, seed=0):
    """nA, one each HELD ms."""
    drawn = np.random.default_rng(seed).uniform(0.5, 3.0, -(-samples // HELD))
    return np.repeat(drawn, HELD)[:samples]


def voltages(current, R, tau, theta):
    """In closed form at every ms, in mV; the first is at the start."""
    made, v = [0.0], 0.0
    for end in R * current[1:]:  # where v goes to
        left = 1.0
        while end > theta and (to := tau * np.log((end - v) / (end - theta))) < left:
            left, v = left - to, 0.0
        v = end + (v - end) * np.exp(-left / tau)
        made.append(v)
    return np.array(made)


def draw(system, current, ys, fit, out):
    figure, axes = plt.subplots(2, figsize=(7, 5), layout="constrained", sharex=True, height_ratios=(3, 1))
    axes[0].plot(ys[:, 0], ".", color="0.5", ms=4, label="data")
    for params, style, label in (({}, "--", "start"), (fit.params, "-", "fitted")):
        v = system.simulate({"current": current}, params=params).outputs[:, 0]
        axes[0].plot(v, style, lw=0.8, label=label)
    axes[0].set(
        ylabel="v [mV]",
        ylim=(-1, 19),
        title=", ".join(f"{k} = {v:.2f} ± {fit.std[k]:.2f}" for k, v in fit.params.items()),
    )
    axes[0].legend(ncols=3, loc="upper right")
    axes[1].step(np.arange(len(current)), current, where="mid")
    axes[1].set(xlabel="time [ms]", ylabel="I [nA]", xlim=(0, 200))
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="spiking_neuron.png")
    parser.add_argument("--quick", action="store_true", help="60 ms, of 200")
    options = parser.parse_args(arguments)
    system, current = fg.from_text(MODEL), currents(60 if options.quick else 200)
    v = voltages(current, **TRUTH)
    ys = v[:, None] + NOISE * np.random.default_rng(1).normal(size=(len(v), 1))
    fit = fg.fit(system, {"current": current}, ys, engine="numpy")
    print(fit)
    draw(system, current, ys, fit, options.out)
    print(f"truth: {TRUTH}; written to {options.out}")
    return fit


if __name__ == "__main__":
    main()
