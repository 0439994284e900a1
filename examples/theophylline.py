"""Twelve patients, one dose of theophylline each: absorption and volume are shared, clearance is each one's own.

The drug leaves the gut at the rate `ka` and the blood at the rate `clearance`/`volume` (one compartment, first-order
absorption). The dose, in mg per kg of body weight, is in the gut at the beginning; eleven concentrations follow over 25
hours, at times of each patient's own. `ka` and `volume` are one number each, `clearance` has one for each patient:
`fg.per_stream`. All are found twice:

- by `fg.fit(…, streams=12)`, from all of the data;
- by a learner of twelve streams (`fg.Learner(…, streams=12)`), in one pass, as the samples would come.

The reference is scipy's `least_squares` on the solution of the equations in closed form. All concentrations count
alike, since one laboratory measured them, and how well is given: `observation_noise`.

    python theophylline.py --out theophylline.png

Data: examples/data/theophylline.csv, from a study by Dr. Robert Upton (Boeckmann, Sheiner and Beal 1994, NONMEM Users
Guide; Davidian and Giltinan 1995), as in the data set Theoph that R distributes under the GPL (measured numbers, no
code): doses in mg/kg, concentrations in mg/l.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

import fwdgrad as fg

NOISE = 1.25
"""Deviation of a concentration, mg/l."""
MODEL = """
d gut/dt = -ka*gut                                   : mg/kg
d conc/dt = ka*gut/volume - clearance/volume*conc    : mg/l
gut(0) = 4.6
conc(0) = 0
param ka = 1              : 1/h
param volume = 0.5        : l/kg
param clearance = 0.03    : l/h/kg
output concentration = conc
"""


def read():
    """Hours and concentrations of each patient, and the doses."""
    table = np.genfromtxt(Path(__file__).parent / "data" / "theophylline.csv", delimiter=",", names=True)
    rows = [table[table["subject"] == k] for k in np.unique(table["subject"])]
    return [r["hour"] for r in rows], [r["conc"] for r in rows], np.array([r["dose"][0] for r in rows])


def patient():
    """The system of one patient."""
    system = fg.from_text(MODEL, name="theophylline", dt="elapsed", substeps=24)
    positive = {k: fg.positive(v) for k, v in system.params.items()}
    return system.replace(params={**positive, "clearance": fg.per_stream(positive["clearance"])})


def concentration(hours, dose, ka, volume, clearance):
    """The solution of the equations."""
    out = clearance / volume
    return dose * ka / (volume * (ka - out)) * (np.exp(-out * hours) - np.exp(-ka * hours))


def reference(hours, concentrations, doses):
    """ka, volume and twelve clearances that scipy finds."""

    def residuals(u):
        made = [
            concentration(t, dose, *np.exp(u[:2]), np.exp(own)) - y
            for t, y, dose, own in zip(hours, concentrations, doses, u[2:], strict=True)
        ]
        return np.concatenate(made)

    return np.exp(least_squares(residuals, np.log([1.0, 0.5, *[0.03] * len(doses)])).x)


def flat(params):
    """ka, volume and the clearances as one array."""
    return np.concatenate([np.ravel(params[k]) for k in ("ka", "volume", "clearance")])


def draw(path, hours, concentrations, doses, params):
    """A panel for each patient: what was measured, and the fit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 4, figsize=(10, 6.5), sharex=True, sharey=True, layout="constrained")
    fine = np.linspace(0, 25, 300)
    for k, axis in enumerate(axes.flat):
        axis.plot(fine, concentration(fine, doses[k], *params[:2], params[2 + k]), color="C0", lw=1.5)
        axis.plot(hours[k], concentrations[k], "o", color="0.2", ms=3.5)
        axis.set_title(f"patient {k + 1}: {doses[k]:.2f} mg/kg, {1000 * params[2 + k]:.0f} ml/h/kg", fontsize=8)
    figure.supxlabel("hours after the dose", fontsize=9)
    figure.supylabel("theophylline, mg/l", fontsize=9)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(f"drawn: {path}")


def main(arguments=None):
    """Fit, learn, compare and draw; the parameters of the fit, the learner and scipy, each as one array."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="file for a picture")
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args(arguments)
    hours, concentrations, doses = read()
    xs = [{"elapsed": np.diff(t, prepend=t[0])} for t in hours]
    ys = [y[:, None] for y in concentrations]
    state = {"gut": doses, "conc": np.zeros(len(doses))}
    system, count = patient(), len(doses)
    found = fg.fit(
        system, trajectories=[fg.Trajectory(xs, ys, state)], streams=count, observation_noise=NOISE, engine=given.engine
    )
    optimizer = fg.JointFilter(observation_noise=NOISE, process_noise=0.0, prior=10.0)
    learner = fg.Learner(system, optimizer=optimizer, streams=count, engine=given.engine)
    learner.reset_state(state)
    learner.run({"elapsed": np.stack([x["elapsed"] for x in xs], axis=1)}, np.stack(ys, axis=1))
    fit, online, best = flat(found.params), flat(learner.params), reference(hours, concentrations, doses)
    std = flat(found.std)
    print(f"{'':15}{'fit':>10}{'std':>10}{'learner':>10}{'scipy':>10}")
    for k, name in enumerate(["ka", "volume", *(f"clearance {n + 1}" for n in range(count))]):
        print(f"{name:15}{fit[k]:10.4f}{std[k]:10.4f}{online[k]:10.4f}{best[k]:10.4f}")
    if given.out:
        draw(given.out, hours, concentrations, doses, fit)
    return fit, online, best


if __name__ == "__main__":
    main()
