"""Rainfall and runoff of a small catchment: five parameters from five years of days, with bands and a reference.

HYMOD (Moore 1985; Boyle, Gupta and Sorooshian 2000): rain fills a soil whose storage capacity differs from place to
place, as a Pareto distribution with the largest capacity `cmax` and the exponent `bexp`; what does not fit is split, a
part `alpha` to three quick stores in a row with the rate `quick`, the rest to a slow one with the rate `slow`. Water
evaporates from the soil in proportion to how full it is. The first year fills the stores: nothing is learned of it.

`fg.fit` is given the equations, the bounds of the parameters, and the table. The same recursion in plain Python is
given to scipy's `least_squares`, from the same start. Residuals of such a model remember for days, so the deviations
that least squares claims are too small; they are printed beside those of the fit.

    python rainfall_runoff.py --out rainfall_runoff.png

Data: examples/data/catchment.csv, from the examples of SPOTPY (Houska, Kraft, Chamorro-Chavez and Breuer 2015; MIT
license): rain and evaporation in mm a day, discharge in litres a second of 1.783 square kilometres.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

import fwdgrad as fg

WARM_UP = 366
LITRES = 1.783e6 / 86400
"""Litres a second of one mm a day."""
MODEL = f"""
top = cmax/(bexp + 1)
filled = cmax*(1 - abs(1 - soil/top)**(1/(bexp + 1)))
runs_over = max(rain - cmax + filled, 0)
enters = rain - runs_over
wet = top*(1 - abs(1 - min((filled + enters)/cmax, 1))**(bexp + 1))
excess = runs_over + max(enters - (wet - soil), 0)
next soil = max(wet*(1 - evaporation/top), 0)                  : mm
next deep = (1 - slow)*(deep + (1 - alpha)*excess)             : mm
first_store = (1 - quick)*(one + alpha*excess)
second_store = (1 - quick)*(two + quick/(1 - quick)*first_store)
next one = first_store                                         : mm
next two = second_store                                        : mm
next three = (1 - quick)*(three + quick/(1 - quick)*second_store) : mm
soil(0) = 0
deep(0) = 0
one(0) = 0
two(0) = 0
three(0) = 0
param cmax = 250 in (1, 500)       : mm
param bexp = 0.5 in (0.1, 2)
param alpha = 0.5 in (0.1, 0.99)
param slow = 0.02 in (0.001, 0.1)  : 1/day
param quick = 0.5 in (0.1, 0.99)   : 1/day
input rain = 0                     : mm/day
input evaporation = 0              : mm/day
output discharge = {LITRES}*(slow/(1 - slow)*deep + quick/(1 - quick)*three) : l/s
first = next
"""


def read():
    """Dates, inputs by name, and discharge, NaN where none was measured."""
    table = np.genfromtxt(Path(__file__).parent / "data" / "catchment.csv", delimiter=",", skip_header=1, dtype=None,
                          encoding="utf-8", names=("date", "rain", "evaporation", "discharge"))  # fmt: skip
    discharge = np.array(table["discharge"], float)
    discharge[:WARM_UP] = np.nan
    return table["date"], {k: np.array(table[k], float) for k in ("rain", "evaporation")}, discharge


def recursion(xs, cmax, bexp, alpha, slow, quick):
    """The same model, number by number."""
    top, soil, deep, one, two, three, made = cmax / (bexp + 1), 0.0, 0.0, 0.0, 0.0, 0.0, []
    for rain, evaporation in zip(xs["rain"].tolist(), xs["evaporation"].tolist(), strict=True):
        filled = cmax * (1 - abs(1 - soil / top) ** (1 / (bexp + 1)))
        over = max(rain - cmax + filled, 0.0)
        wet = top * (1 - abs(1 - min((filled + rain - over) / cmax, 1)) ** (bexp + 1))
        excess = over + max(rain - over - (wet - soil), 0.0)
        soil = max(wet - wet / top * evaporation, 0.0)
        deep = (1 - slow) * (deep + (1 - alpha) * excess)
        one = (1 - quick) * (one + alpha * excess)
        two = (1 - quick) * (two + quick / (1 - quick) * one)
        three = (1 - quick) * (three + quick / (1 - quick) * two)
        made.append(LITRES * (slow / (1 - slow) * deep + quick / (1 - quick) * three))
    return np.array(made)


def reference(system, xs, discharge):
    """Parameters and deviations that scipy finds from the same start, by name."""
    seen, start = np.isfinite(discharge), {k: float(v) for k, v in system.params.items()}
    low, high = np.array([(1, 500), (0.1, 2), (0.1, 0.99), (0.001, 0.1), (0.1, 0.99)]).T
    found = least_squares(
        lambda u: (recursion(xs, *u) - discharge)[seen], list(start.values()), bounds=(low, high), x_scale=high - low
    )
    variance = 2 * found.cost / (seen.sum() - len(start))
    free = found.active_mask == 0
    std = np.full(len(start), np.nan)
    std[free] = np.sqrt(np.diag(np.linalg.inv(found.jac[:, free].T @ found.jac[:, free])) * variance)
    return dict(zip(start, found.x, strict=True)), dict(zip(start, std, strict=True))


def root_mean_square(residuals):
    """Of what was measured."""
    return float(np.sqrt(np.nanmean(residuals**2)))


def main(arguments=None):
    """Fit, compare, draw; parameters and root mean square of the fit, and those of scipy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="file for a picture")
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args(arguments)
    dates, xs, discharge = read()
    system = fg.from_text(MODEL, name="hymod")
    fit = fg.fit(system, xs, discharge[:, None], engine=given.engine)
    print(fit)
    params, std = reference(system, xs, discharge)
    print(f"\n{'parameter':10}{'fit':>10}{'std':>10}{'scipy':>10}{'std':>10}")
    for k in params:
        print(f"{k:10}{float(fit.params[k]):10.4f}{float(fit.std[k]):10.4f}{params[k]:10.4f}{std[k]:10.4f}")
    ours, theirs = root_mean_square(fit.residuals[:, 0]), root_mean_square(recursion(xs, **params) - discharge)
    print(f"root mean square of residuals: {ours:.3f} l/s, scipy {theirs:.3f} l/s")
    if given.out:
        draw(given.out, fit, dates, xs, discharge)
        print(f"picture: {given.out}")
    return (fit.params, ours), (params, theirs)


def draw(path, fit, dates, xs, discharge):
    """Rain above; discharge, the fit and its band below: the third year."""
    import matplotlib.pyplot as plt

    year = slice(366 + 365, 366 + 2 * 365)
    days = np.array(dates[year], "datetime64[D]")
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, height_ratios=(1, 3), layout="constrained")
    above.bar(days, xs["rain"][year], width=1.0, color="tab:blue")
    above.invert_yaxis()
    above.set_ylabel("rain (mm/day)")
    curve, band = fit.outputs[year, 0], 1.96 * fit.bands[year, 0]
    below.fill_between(days, np.maximum(curve - band, 0), curve + band, color="tab:orange", alpha=0.25, lw=0,
                       label="95 % of observations")  # fmt: skip
    below.plot(days, discharge[year], ".", ms=3, color="black", label="measured")
    below.plot(days, curve, color="tab:orange", lw=1.3, label="HYMOD, five parameters")
    below.set_ylabel("discharge (l/s)")
    below.legend(frameon=False, loc="upper center")
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
