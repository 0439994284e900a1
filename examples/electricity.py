"""Half-hourly electricity demand, predicted one step ahead by a small model that learns while the data come in.

The model keeps the step to be expected at each of the 336 half-hours of a week, and what the last day had of its own at
each of its 48. Every new value is compared with what was predicted, and the surprise e moves both:

    ŷ = before + week[0] + day[0] + φ last
    week[0] += ω e,    day[0] = ρ (day[0] + δ e),    both then move on by one,    last = e,    before = y

ω = 1 with the rest at 0 is "the last value, and the step of a week ago". The four gains are learned by exact gradients
carried forward (RTRL: the state is its own past, so a gain acts on all that comes after) and Adam, in one pass.

    python electricity.py --out electricity.png

takes a few seconds. Data: demand in England and Wales in MW from 5 June to 27 August 2000, 4032 values, as discussed in
Taylor 2003, "Short-term electricity demand forecasting using double seasonal exponential smoothing". It is read from
the package pmdarima (`pip install pmdarima`); `--csv FILE` reads another series, one number a line, half-hourly from
the start of a day on, at least three weeks.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import fwdgrad as fg

DAY, WEEK = 48, 336
MODEL = """
surprise = seen - (before + week[0] + day[0] + phi*last)
next before = seen                                     : 10 GW
next week = join(week[1:], week[0] + omega*surprise)   : 10 GW
next day = join(day[1:], rho*(day[0] + delta*surprise))
next last = surprise
before(0) = 0
week(0) = repeat(0, 336)
day(0) = repeat(0, 48)
last(0) = 0
param omega = 0.5 in (0, 1)
param rho = 0.8 in (0, 1)
param delta = 0.2 in (0, 1)
param phi = 0.1 in (-1, 1)
input seen = 0
output demand = before + week[0] + day[0] + phi*last   : 10 GW
"""


def read(path=None):
    """The series in MW."""
    if path is not None:
        return np.loadtxt(path)
    try:
        from pmdarima.datasets import load_taylor
    except ImportError as error:
        raise SystemExit(
            f"electricity: the data are read from the package pmdarima, which cannot be imported ({error}).\n"
            "Mend: pip install pmdarima, or give a series of your own with --csv FILE."
        ) from error
    return load_taylor()


def predict(demand, learn=True):
    """Predictions of every value from those before it, from the second week on, in MW; and the learner.

    The first week gives the first steps of the week.
    """
    y = demand / 1e4
    system = fg.from_text(MODEL, name="electricity demand", loss=fg.losses.SquaredError(0.02))
    optimizer = fg.Adam(0.01 if learn else 1e-12)
    learner = fg.Learner(system, fg.RTRL(), optimizer, engine="numpy")
    first = np.diff(y[:WEEK], prepend=y[0])
    week = np.roll(first, 1)  # the step to y[WEEK − 1] comes first: the learner is about to be told of that value
    learner.reset_state({"before": y[WEEK - 2], "week": week, "day": np.zeros(DAY), "last": 0.0})
    history = learner.run({"seen": y[WEEK - 1 : -1]}, y[WEEK:, None], keep_predictions=True)
    return 1e4 * history.predictions[:, 0], learner


def baselines(demand):
    """Predictions without a model, from the second week on."""
    last, before, week_ago = demand[WEEK - 1 : -1], demand[: len(demand) - WEEK], demand[:-WEEK]
    step = np.diff(demand, prepend=demand[0])[: len(before)]
    return {"last value": last, "value of a week ago": week_ago, "last value, step of a week ago": last + step}


def errors(predictions, demand):
    """Absolute errors from the second week on, in percent."""
    return 100 * np.abs(predictions / demand[WEEK:] - 1)


def draw(demand, made, out):
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 6), layout="constrained")
    days = np.arange(WEEK) / DAY
    above.plot(days, demand[-WEEK:] / 1e3, color="0.2", lw=3, alpha=0.35, label="demand")
    above.plot(days, made["learned online"][-WEEK:] / 1e3, color="C0", lw=1, label="predicted half an hour before")
    above.set(xlabel="days of the last week", ylabel="GW", title="Electricity demand, one step ahead")
    above.set_ylim(18.5, 41)
    above.legend(loc="upper right", ncols=2)
    colours = dict(zip(made, ("C0", "C4", "0.3", "0.6", "0.8"), strict=True))
    for label, predictions in made.items():
        error = errors(predictions, demand)
        whole = len(error) // DAY
        daily = error[: whole * DAY].reshape(whole, DAY).mean(axis=1)
        below.semilogy(7 + np.arange(whole), daily, color=colours[label], label=label, lw=1.2)
    below.set(xlabel="day", ylabel="mean error of a day (%)", ylim=(0.2, 30))
    below.set_yticks([0.2, 0.5, 1, 2, 5, 10], labels=["0.2", "0.5", "1", "2", "5", "10"])
    below.legend(ncols=2, fontsize="small", loc="upper right")
    figure.savefig(out, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", help="another series, one number a line")
    parser.add_argument("--out", default="electricity.png")
    parser.add_argument("--quick", action="store_true", help="the first four weeks")
    options = parser.parse_args(arguments)
    demand = read(options.csv)
    if options.quick:
        demand = demand[: 4 * WEEK]
    learned, learner = predict(demand)
    made = {"learned online": learned, "the same, not learned": predict(demand, learn=False)[0], **baselines(demand)}
    half = len(learned) // 2
    scores = {}
    for label, predictions in made.items():
        error = errors(predictions, demand)
        scores[label] = (float(error.mean()), float(error[half:].mean()))
        print(f"{label:32} mean error {scores[label][0]:.3f} %, second half {scores[label][1]:.3f} %")
    print(", ".join(f"{k} = {float(v):.3f}" for k, v in learner.params.items()))
    draw(demand, made, options.out)
    print(f"written to {options.out}")
    return scores


if __name__ == "__main__":
    main()
