"""A bouncing ball: the moments of the impacts depend on the parameters, and derivatives go through them.

    d²x/dt² = −g,   where x < 0: v ← −e v

The height is measured every 50 ms, to 1 cm, by a closed form that knows nothing of steps. Gravity g and the
coefficient of restitution e are fitted from a start at which the fourth impact is 70 ms off. The lower picture is what
a little more of e changes in the height: at every impact it jumps, as the ball is then on its way up a little earlier
or later (the saltation term).

    python bouncing_ball.py --out bouncing_ball.png

takes some seconds.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

MODEL = """
d x/dt = v
d v/dt = -g
x(0) = 1
v(0) = 0
when x < 0: v = -e*v
param g = 9 in (0, inf) : m/s²
param e = 0.76 in (0, 1)
output x noise 0.01 : m
dt = 0.05
"""
TRUTH = {"g": 9.81, "e": 0.8}
DT, NOISE = 0.05, 0.01


def heights(times, g, e):
    """In closed form, from impact to impact."""
    start, speed = -np.sqrt(2 / g), np.sqrt(2 * g)  # as if it had been thrown up before
    made = np.empty(len(times))
    for k, t in enumerate(times):
        while t > start + 2 * speed / g:
            start, speed = start + 2 * speed / g, e * speed
        made[k] = speed * (t - start) - g * (t - start) ** 2 / 2
    return made


def observations(samples, seed=0):
    """Heights with noise, shape (samples, 1)."""
    x = heights(DT * np.arange(samples), **TRUTH)
    return x[:, None] + NOISE * np.random.default_rng(seed).normal(size=(samples, 1))


def influence(system, params, samples):
    """∂x/∂e at every sample."""
    learner = fg.Learner(system.starting_at(params), fg.RTRL(), fg.SGD(1e-300), engine="numpy")
    made = []
    for _ in range(samples):
        learner.step()
        made.append(learner.influence_matrix()[0, 1])
    return np.array(made)


def draw(system, ys, fit, out):
    times = DT * np.arange(len(ys))
    figure, axes = plt.subplots(2, figsize=(7, 5), layout="constrained", sharex=True)
    fine, steps = system.replace(dt=DT / 10), 10 * len(ys)
    axes[0].plot(times, ys[:, 0], ".", color="0.5", label="data")
    for params, style, label in (({}, "--", "start"), (fit.params, "-", "fitted")):
        x = fine.simulate(steps=steps, params=params).outputs[:, 0]
        axes[0].plot(DT / 10 * np.arange(steps), x, style, lw=1, label=label)
    axes[0].set(ylabel="height x [m]", title=f"g = {fit.params['g']:.3f}, e = {fit.params['e']:.4f}")
    axes[0].legend()
    axes[1].plot(times, influence(system, fit.params, len(ys)), ".-", lw=0.8)
    axes[1].set(xlabel="time [s]", ylabel="∂x/∂e [m]")
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="bouncing_ball.png")
    parser.add_argument("--quick", action="store_true", help="a second and a half, of two and a half")
    options = parser.parse_args(arguments)
    system, ys = fg.from_text(MODEL), observations(30 if options.quick else 50)
    fit = fg.fit(system, ys=ys, engine="numpy")
    print(fit)
    draw(system, ys, fit, options.out)
    print(f"truth: {TRUTH}; written to {options.out}")
    return fit


if __name__ == "__main__":
    main()
