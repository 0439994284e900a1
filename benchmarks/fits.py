"""What does a fit cost beside scipy's least_squares, and does it find as much?

    python -m benchmarks.fits [--repeats 3] [--models lag,decay]

Small models as people fit them, each from a wrong start: by `fg.fit(system, xs, ys)` and by
`scipy.optimize.least_squares` on `system.simulate` with difference quotients, as in `benchmarks.success`; taken in
turn, every time with a system that is made anew. Seconds are those of the processor, the median over repeats; the
first time, in which steps are compiled, is told apart. "error" is the largest one of a parameter, as a part of it.
"""

import argparse
import time
import warnings

import numpy as np

import fwdgrad as fg
from benchmarks.success import least


def lag(rng):
    """A slow first-order lag, 480 samples, noise 0.01 (g 1, τ 100)."""
    xs = np.repeat(rng.normal(size=48), 10)[:, None]
    system = fg.System(
        lambda h, x, p: (p["g"] * x - h) / p["tau"], None, np.zeros(1),
        {"tau": fg.positive(30.0), "g": fg.positive(2.0)}, np.zeros(1), dt=1.0,
    )  # fmt: skip
    return system, xs, {"tau": 100.0, "g": 1.0}, 0.01


def mass(rng):
    """A mass in raw units, 2000 samples (m 35 000)."""
    system = fg.System(lambda h, x, p: 0.5 * h + x / p["m"], None, np.zeros(1), {"m": 3e4}, np.zeros(1))
    return system, 1e5 * rng.normal(size=(2000, 1)), {"m": 3.5e4}, 0.1


def decay(rng):
    """Exponential decay, 40 samples, RK4 (k 0.3)."""
    text = "d x/dt = -k*x\nx(0) = 10\nparam k = 0.1 in (0, inf)\ndt = 0.5\nmethod = rk4"
    return fg.from_text(text), 40, {"k": 0.3}, 0.1


def drug(rng):
    """Absorption and elimination, 30 samples, RK4 in four substeps (ka 1.5, ke 0.08, V 0.48)."""
    text = """
    d gut/dt = -ka*gut
    d c/dt = ka*gut/V - ke*c
    gut(0) = 4.5
    c(0) = 0
    param ka = 1 in (0, inf)
    param ke = 0.2 in (0, inf)
    param V = 0.8 in (0, inf)
    output c
    dt = 0.5
    method = rk4
    substeps = 4
    """
    return fg.from_text(text), 30, {"ka": 1.5, "ke": 0.08, "V": 0.48}, 0.05


def spring(rng):
    """A damped oscillation of three periods, 400 samples, RK4 (k 4, d 0.3)."""
    system = fg.System(
        lambda h, x, p: np.array([h[1], -p["k"] * h[0] - p["d"] * h[1]]), lambda h, x, p: h[:1], np.array([1.0, 0.0]),
        {"k": fg.positive(5.0), "d": fg.positive(0.6)}, dt=0.025, method="rk4", first="initial",
    )  # fmt: skip
    return system, 400, {"k": 4.0, "d": 0.3}, 0.02


def house(rng):
    """One room in SI units, 480 quarters of an hour (R 3e-3 K/W, C 4e7 J/K)."""
    hours = np.arange(480) / 4.0
    xs = {"out": 5 + 5 * np.sin(hours / 24 * 2 * np.pi), "power": 5e3 * (rng.uniform(size=480) < 0.5)}
    system = fg.System(
        lambda h, x, p: {"T": ((x["out"] - h["T"]) / p["R"] + x["power"]) / p["C"]}, lambda h, x, p: h["T"],
        {"T": 19.0}, {"R": fg.positive(2e-3), "C": fg.positive(2e7)}, {"out": 0.0, "power": 0.0}, dt=900.0,
        method="heun",
    )  # fmt: skip
    return system, xs, {"R": 3e-3, "C": 4e7}, 0.1


def hares(rng):
    """Predators and prey with learned beginnings, 60 samples, RK4 in four substeps (six parameters)."""
    text = """
    d prey/dt = a*prey - b*prey*pred
    d pred/dt = d*prey*pred - c*pred
    prey(0) = prey0
    pred(0) = pred0
    param a = 0.5 in (0, inf)
    param b = 0.025 in (0, inf)
    param c = 0.8 in (0, inf)
    param d = 0.025 in (0, inf)
    param prey0 = 30 in (0, inf)
    param pred0 = 5 in (0, inf)
    output hare = log(prey)
    output lynx = log(pred)
    dt = 0.5
    method = rk4
    substeps = 4
    """
    truth = {"a": 0.54, "b": 0.027, "c": 0.8, "d": 0.024, "prey0": 34.0, "pred0": 6.0}
    return fg.from_text(text), 60, truth, 0.1


def pitch(rng):
    """An aircraft's pitch, two states seen, 2000 samples, RK4 (four parameters)."""
    system = fg.System(
        lambda h, x, p: np.array([p["za"] * h[0] + h[1], p["ma"] * h[0] + p["mq"] * h[1] + p["md"] * x]),
        None, np.zeros(2), {"za": -1.0, "ma": -6.0, "mq": -2.0, "md": -8.0}, 0.0, dt=0.02, method="rk4",
    )  # fmt: skip
    xs = np.repeat(0.1 * rng.choice([-1.0, 1.0], size=40), 50)
    return system, xs, {"za": -1.3, "ma": -8.0, "mq": -2.6, "md": -10.0}, 0.005


MODELS = {made.__name__: made for made in (lag, mass, decay, drug, spring, house, hares, pitch)}


def timed(how, name, seed):
    """Seconds, and the largest relative error of a parameter."""
    rng = np.random.default_rng(seed)
    system, xs, truth, noise = MODELS[name](rng)
    steps, xs = (xs, None) if isinstance(xs, int) else (None, xs)
    ys = system.simulate(xs, steps=steps, params=truth).outputs
    ys = ys + noise * rng.normal(size=ys.shape)
    begun = time.process_time()
    if how == "fit":
        params = fg.fit(system, xs, ys).params
    else:
        params, _ = least(system, xs, ys, {k: np.asarray(system.params[k]) for k in system.trainable})
    took = time.process_time() - begun
    return took, max(abs(float(params[k]) / v - 1) for k, v in truth.items())


def main():
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", default=",".join(MODELS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    timed("fit", "decay", 0)
    timed("least_squares", "decay", 0)
    print("| model | fit, first time | fit | least_squares | ratio | error of fit | of least_squares |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.models.split(","):
        runs = {how: [] for how in ("fit", "least_squares")}
        for seed in range(1 + arguments.repeats):
            for how, found in runs.items():
                found.append(timed(how, name, seed))
        first = runs["fit"][0][0]
        took, off = ({how: np.median([r[k] for r in found[1:]]) for how, found in runs.items()} for k in (0, 1))
        seconds = (
            f"{first:.2f} | {took['fit']:.2f} | {took['least_squares']:.2f} | {took['fit'] / took['least_squares']:.1f}"
        )
        print(f"| {name} | {seconds} | {off['fit']:.1%} | {off['least_squares']:.1%} |", flush=True)


if __name__ == "__main__":
    main()
