"""Characters: Kalman against Euclidean NoBackTrack (figure 1 of Ollivier, Tallec and Charpiat 2015).

A tanh network of 100 units, each fed by 5 others (the paper's network is sparse and random, too), predicts English
text, one character after the other. NoBackTrack drives an Euclidean update with rates c·10/(n √t), and an information
filter (quasi-diagonal, outer product, decay c/√t, prior n·Id); c = 1 is the paper's choice for both. Each is also tried
with other c, so that the comparison does not rest on a poor rate; and the filter with a transition that is not learned
at all, which tells what is due to the readout alone.

    python characters.py --out characters.png

takes some minutes. `--characters 20000 --factors 1 --seeds 0` gives a first impression. The figures that
came of it: docs/information-filter.md.
"""

import argparse
import sys

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

COLORS = {"Euclidean": "C0", "Kalman": "C3", "readout only": "0.5"}
DASHES = ["--", "-.", ":", (0, (1, 4))]
PIECES = 100


def optimizers(units, factor):
    """All three, for a factor c of at most 1, which is as far as a decay can go."""
    decay = fg.schedules.inverse_power(factor)
    kalman = fg.InformationFilter("quasi-diagonal", decay=decay, prior=units)
    return {
        "Euclidean": fg.SGD(fg.schedules.inverse_power(factor * 10 / units)),
        "Kalman": kalman,
        "readout only": kalman,
    }


def network(units, inputs, frequencies, seed, learn_all=True):
    """h'_i = b_i + R_ix + Σ_k W_ik tanh(h_j), j the k-th of the units that feed i; ŷ = V tanh(h') + c.

    As in the paper, the readout begins with the frequencies of the characters.
    """
    rng = np.random.default_rng(seed)
    symbols = len(frequencies)
    feeding = np.array([rng.choice(units, inputs, replace=False) for _ in range(units)])

    def F(h, x, theta):
        return theta["b"] + theta["R"][:, x] + np.sum(theta["W"] * np.tanh(h)[feeding], axis=1)

    def Y(h, x, theta):
        return theta["V"] @ np.tanh(h) + theta["c"]

    params = {
        "b": np.zeros(units),
        "R": rng.normal(size=(units, symbols)),
        "W": 0.5 * rng.normal(size=(units, inputs)) / np.sqrt(inputs),
        "V": 0.1 * rng.normal(size=(symbols, units)) / np.sqrt(units),
        "c": np.log(frequencies),
    }
    loss = fg.losses.CrossEntropy(base=2)
    return fg.System(F, Y, np.zeros(units), params, np.int64(0), loss, frozen=[] if learn_all else ["b", "R", "W"])


def curve(optimizer, xs, ys, symbols, options, seed, learn_all=True):
    """Mean bits per character of each of a hundred pieces; infinite from where it diverged on."""
    counts = np.bincount(xs, minlength=symbols) + 0.5
    system = network(options.units, options.inputs, counts / counts.sum(), seed, learn_all)
    learner = fg.Learner(system, fg.NoBackTrack(), optimizer, seed=seed, engine=options.engine)
    losses = []
    for piece in np.array_split(np.arange(len(xs)), PIECES):
        try:
            losses.append(learner.run(xs[piece], ys[piece]).loss.mean())
        except fg.errors.NonFiniteError:
            losses.append(np.inf)
    return np.array(losses)


def so_far(losses):
    """Means over all pieces up to each, seed by seed."""
    return np.cumsum(losses, axis=1) / np.arange(1, PIECES + 1)


def draw(curves, options, count):
    """Means over the seeds; for the first c all seeds, too, in a band."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    at = (np.arange(PIECES) + 1) * count / PIECES
    for (name, factor), losses in curves.items():
        means, number = so_far(losses), options.factors.index(factor)
        style = {"lw": 1, "ls": DASHES[(number - 1) % len(DASHES)]} if number else {"lw": 2.5}
        axes.semilogx(at, means.mean(axis=0), color=COLORS[name], label=f"{name}, c = {factor:g}", **style)
        if not number:
            axes.fill_between(at, means.min(axis=0), means.max(axis=0), color=COLORS[name], alpha=0.25, lw=0)
    axes.set(xlabel="characters", ylabel="bits per character, mean so far", xlim=(at[0], at[-1]))
    axes.set_title(f"Sparse tanh network, {options.units} units, NoBackTrack, {len(options.seeds)} seeds")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(options.out, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--inputs", type=int, default=5, help="units that feed each unit")
    parser.add_argument("--characters", type=int, default=100_000)
    parser.add_argument("--factors", type=float, nargs="+", default=[1.0, 0.3, 0.1], help="c, several")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--out", default="characters.png")
    options = parser.parse_args()
    xs, ys, alphabet = fg.streams.text_stream(fg.streams.python_text(options.characters + 1))
    print(f"{len(xs)} characters of {len(alphabet)} kinds, Python {sys.version.split()[0]}; mean bits so far, by seed")
    curves = {}
    for factor in options.factors:
        for name, optimizer in optimizers(options.units, factor).items():
            made = [
                curve(optimizer, xs, ys, len(alphabet), options, seed, name != "readout only") for seed in options.seeds
            ]
            curves[name, factor] = losses = np.array(made)
            shares = {f"{share}/{PIECES}": so_far(losses)[:, share - 1] for share in (1, 10, 30, PIECES)}
            text = "; ".join(f"{k} " + " ".join(f"{m:.2f}" for m in means) for k, means in shares.items())
            print(f"{name:12} c = {factor:<5g} {text}", flush=True)
    draw(curves, options, len(xs))


if __name__ == "__main__":
    main()
