"""A chemical reaction on a grid of 60 × 60 cells: four constants and the feed of every cell are learned together.

    du/dt = a(z) − (b + 1) u + k u² v + D_u ∇²u        dv/dt = b u − k u² v + D_v ∇²v

The Brusselator (Prigogine and Lefever 1968), with a feed a that is not the same everywhere: 7200 state variables and
3604 parameters, as a map with a step of 0.02. Both substances are measured in every cell, with noise, and the model
follows what it saw last with a gain. `fwdgrad.analyze` finds that a cell depends on its neighbours, and its rate on one
number of the field; SnAp-1 keeps, of ∂h/∂θ, what one step makes, so that a step costs O(cells).

    python reaction_diffusion.py --out reaction_diffusion.png

takes a minute or two.
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

NOISE, GAIN = 0.02, 0.3
TRUTH = {"b": 3.0, "k": 1.0, "Du": 0.2, "Dv": 0.5}


def spread(u):
    """∇²u on cells, with nothing going through the walls."""
    across = np.diff(np.concatenate([u[:1], u, u[-1:]]), axis=0)
    along = np.diff(np.concatenate([u[:, :1], u, u[:, -1:]], axis=1), axis=1)
    return np.diff(across, axis=0) + np.diff(along, axis=1)


def rates(h, x, p):
    """du/dt and dv/dt."""
    u, v = h["u"], h["v"]
    made = p["k"] * u * u * v
    return {
        "u": p["a"] - (p["b"] + 1.0) * u + made + p["Du"] * spread(u),
        "v": p["b"] * u - made + p["Dv"] * spread(v),
    }


def reactor(cells, seed=0):
    """The system with wrong constants and an even feed."""
    rng = np.random.default_rng(seed)
    start = {k: level + 0.2 * rng.normal(size=(cells, cells)) for k, level in (("u", 1.0), ("v", 3.0))}
    wrong = {"a": np.ones((cells, cells)), "b": 2.0, "k": 1.4, "Du": 0.4, "Dv": 0.3}
    return fg.System(
        rates,
        None,
        start,
        {k: fg.positive(v) for k, v in wrong.items()},
        dt=0.02,
        method="euler",
        injection=lambda theta: np.array(GAIN),
    )


def feed(cells):
    """What is fed to each cell."""
    z = (np.arange(cells) + 0.5) / cells
    return 1.0 + 0.3 * np.sin(2 * np.pi * z)[:, None] * np.cos(np.pi * z)[None, :]


def run(cells=60, steps=1000, seed=0):
    """Learned system, truth, the time of a step, and constants on the way."""
    system, truth = reactor(cells), TRUTH | {"a": feed(cells)}
    ys = system.replace(injection=None).simulate(steps=steps, params=truth).outputs
    ys = ys + NOISE * np.random.default_rng(seed).normal(size=ys.shape)
    optimizer = fg.Adam(fg.schedules.inverse_sqrt(0.01, 0.01))
    learner = fg.Learner(system, fg.SnAp(1), optimizer, engine="compiled")
    learner.prepare(steps)
    begun, path = time.process_time(), []
    for part in np.array_split(ys, 40):
        learner.run(ys=part)
        path.append([float(learner.params[k]) for k in TRUTH])
    return learner, truth, (time.process_time() - begun) / steps, np.array(path)


def figure(learner, truth, path, out):
    """The fields, and the constants against their values."""
    fig, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    low, high = truth["a"].min(), truth["a"].max()
    shown = (("u, at the end", learner.state["u"]), ("feed, learned", learner.params["a"]), ("feed, true", truth["a"]))
    for ax, (title, field) in zip(axes, shown, strict=False):
        limits = {} if title.startswith("u") else {"vmin": low, "vmax": high}
        fig.colorbar(ax.imshow(field, **limits), ax=ax, shrink=0.8)
        ax.set(title=title, xticks=[], yticks=[])
    for k, (name, value) in enumerate(TRUTH.items()):
        axes[3].plot(np.arange(1, len(path) + 1) / len(path), path[:, k] / value, label=name)
    axes[3].axhline(1.0, color="0.6", lw=0.8)
    axes[3].set(title="constants, learned over true", xlabel="part of the run")
    axes[3].legend(frameon=False)
    fig.savefig(out, dpi=120)


def main():
    """Learn, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", default="reaction_diffusion.png")
    options = parser.parse_args()
    learner, truth, seconds, path = run(options.cells, options.steps)
    for name, value in TRUTH.items():
        print(f"{name:3} {float(learner.params[name]):.3f}, truth {value}")
    off = learner.params["a"] - truth["a"]
    print(f"feed: off by {np.sqrt(np.mean(off**2)):.3f} r.m.s., where it differs by {np.std(truth['a']):.3f}")
    print(f"{1e3 * seconds:.1f} ms a sample of {learner.system.size} numbers")
    figure(learner, truth, path, options.out)


if __name__ == "__main__":
    main()
