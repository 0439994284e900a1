"""A rod of 1000 cells, whose 1000 conductivities are learned from its temperatures at a cost linear in the cells.

    T_i(t + 1) = T_i + k_{i+1} (T_{i+1} − T_i) − k_i (T_i − T_{i−1}) + q_i + g (y_i − T_i)

Heaters q switch at random; every temperature is measured with noise, and the model follows what it saw last, y, with a
gain g. `fwdgrad.analyze` finds that a cell depends on three cells and two conductivities, that exact gradients would
keep a million numbers, and takes NoBackTrack: unbiased, with a step that costs O(cells). Its noise is the price: it
learns slowly, the more so the more parameters there are. Heat is local, so SnAp-1, which keeps of ∂T/∂k what one step
makes (2 entries a conductivity) and is biased, is nearly exact here; it costs O(cells), too. Both are run with Adam.

    python heat_rod.py --out heat_rod.png

takes some seconds. `--scaling` measures the time per step against the number of cells as well, which takes longer:
each size is compiled (extra `fast`).
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg
from fwdgrad import systems

NOISE = 0.1
GAIN = 0.3
MODEL = """
next T = T + diff(join(flow, 0)) + heat + GAIN*(seen - T)
flow = k*diff(join(left, T))
T(0) = repeat(0, CELLS)
param k = repeat(0.2, CELLS) in (0, inf)
input left = 0
input heat = repeat(0, CELLS)
input seen = repeat(0, CELLS)
output T noise NOISE
"""
ESTIMATORS = {"SnAp-1": fg.SnAp(1), "NoBackTrack": fg.NoBackTrack()}
RATES = {"SnAp-1": (0.02, 300), "NoBackTrack": (0.005, 1000)}
"""The rate of Adam at the start, and after how many steps it is half of that."""
SIZES = (1000, 4000, 16000)


def rod(cells):
    text = MODEL
    for name, value in (("CELLS", cells), ("GAIN", GAIN), ("NOISE", NOISE)):
        text = text.replace(name, str(value))
    return fg.from_text(text, name="heat rod")


def profile(cells):
    """The true conductivities: two materials, neither of them uniform."""
    z = (np.arange(cells) + 0.5) / cells
    return 0.2 + 0.1 * np.sin(3 * np.pi * z) - 0.08 * (z > 0.6)


def experiment(cells, steps, seed=0):
    """Inputs and noisy temperatures of a rod with the true profile; heaters switch every 20 steps."""
    rng = np.random.default_rng(seed)
    times = -(-steps // 20)
    heat = 0.2 * np.repeat(rng.normal(size=(times, cells)), 20, axis=0)[:steps]
    left = np.repeat(rng.normal(size=times), 20)[:steps]
    xs = {"left": left, "heat": heat}
    T = systems.heat_rod(cells=cells).simulate(xs, params={"k": profile(cells)}).outputs
    ys = T + NOISE * rng.normal(size=T.shape)
    return xs | {"seen": np.vstack([np.zeros((1, cells)), ys[:-1]])}, ys


def learn(estimator, xs, ys, seed=0):
    """The learned conductivities."""
    rate, fades = RATES[estimator]
    optimizer = fg.Adam(lambda t: rate / (1 + t / fades))
    learner = fg.Learner(rod(ys.shape[1]), ESTIMATORS[estimator], optimizer, seed=seed, engine="numpy")
    learner.run(xs, ys)
    return np.array(learner.params["k"])


def seconds_per_step(estimator, cells, steps=50, repeats=20):
    """The least processor time of several runs of the compiled step."""
    xs, ys = experiment(cells, steps)
    learner = fg.Learner(rod(cells), ESTIMATORS[estimator], fg.Adam(1e-3), engine="compiled")
    learner.run(xs, ys)
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        learner.run(xs, ys)
        taken.append((time.process_time() - start) / steps)
    return min(taken)


def slope(sizes, seconds):
    """The exponent of a power law."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def draw(learned, truth, out):
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    cells = np.arange(1, len(truth) + 1)
    for label, colour in (("NoBackTrack", "0.7"), ("SnAp-1", "C0")):
        axes.plot(cells, learned[label], ".", ms=2.5, color=colour, label=label)
    axes.plot(cells, truth, color="C3", lw=1.2, label="true profile")
    axes.axhline(0.2, color="0.5", ls=":", lw=1, label="start")
    axes.set(xlabel="cell", ylabel="conductivity", title="Heat rod: the learned profile", ylim=(0, 0.5))
    axes.legend(ncols=2)
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--scaling", action="store_true", help="measure the time per step against the cells")
    parser.add_argument("--out", default="heat_rod.png")
    parser.add_argument("--quick", action="store_true", help="100 cells, 1000 steps")
    options = parser.parse_args(arguments)
    cells, steps = (100, 1000) if options.quick else (options.cells, options.steps)
    structure = fg.analyze(rod(cells))
    print(structure)
    xs, ys = experiment(cells, steps)
    truth = profile(cells)
    learned = {label: learn(label, xs, ys) for label in ESTIMATORS}
    errors = {}
    for label, k in learned.items():
        errors[label] = np.abs(k / truth - 1)
        print(f"{label}: error of the conductivities {errors[label].mean():.2%} on average", end=", ")
        print(
            f"{errors[label].max():.1%} at most, after {steps} samples; {np.mean(np.abs(0.2 / truth - 1)):.0%} before"
        )
    if options.scaling:
        for label in ESTIMATORS:
            seconds = [seconds_per_step(label, n) for n in SIZES]
            shown = ", ".join(f"{n}: {1e3 * s:.2f} ms" for n, s in zip(SIZES, seconds, strict=True))
            print(f"{label}, time per step: {shown}; cells to the power of {slope(SIZES, seconds):.2f}")
    draw(learned, truth, options.out)
    print(f"written to {options.out}")
    return structure, errors


if __name__ == "__main__":
    main()
