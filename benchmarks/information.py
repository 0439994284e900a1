"""What the information filter costs, in multiples of the step of SGD, and how that grows.

Run: python benchmarks/information.py [--units 64 128 256 512] [--engine compiled] [--seconds 0.05] [--rounds 41]

A tanh network learns random symbols by UORO and by NoBackTrack; one thread, float64. All optimizers run one after the
other in every round; a ratio is the median of the ratios within the rounds. Only ratios mean anything. The slopes are
those of log time and log memory (the filter's state) against log of the number of parameters, by least squares.
"""

import argparse
import gc
import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import statistics
import time

import numpy as np

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.support.trees import flatten

SYMBOLS = 32
TARGETS = {"diagonal": 1.5, "quasi-diagonal": 2.0}
"""At most so many steps of SGD, compiled, at n = 256."""


def optimizers(units):
    """SGD and the others, with small rates and decays, as late in a run."""
    late = fg.schedules.inverse_power(0.01)
    filters = {name: fg.InformationFilter(name, decay=late, prior=units) for name in TARGETS}
    return {"SGD": fg.SGD(late), "Adam": fg.Adam(late), **filters}


def measured(estimator, units, options):
    """For each optimizer seconds per step, a number a round; the bytes of its state; and the number of parameters."""
    learners = {}
    for name, optimizer in optimizers(units).items():
        system = systems.tanh_rnn(units=units, symbols=SYMBOLS)
        learners[name] = fg.Learner(system, estimator, optimizer, engine=options.engine)
    symbols = np.random.default_rng(0).integers(0, SYMBOLS, 101)
    for learner in learners.values():
        learner.run(symbols[:-1], symbols[1:])
    start = time.perf_counter()
    learners["SGD"].run(symbols[:-1], symbols[1:])
    steps = int(np.clip(options.seconds / (time.perf_counter() - start) * 100, 10, 100_000))
    symbols = np.random.default_rng(1).integers(0, SYMBOLS, steps + 1)
    times = {name: [] for name in learners}
    gc.collect()
    gc.disable()
    for _ in range(options.rounds):
        for name, learner in learners.items():
            start = time.perf_counter()
            learner.run(symbols[:-1], symbols[1:])
            times[name].append((time.perf_counter() - start) / steps)
    gc.enable()
    states = {
        name: sum(np.asarray(a).nbytes for a in flatten(learner._unpacked.optimizer))
        for name, learner in learners.items()
    }
    return times, states, sum(v.size for v in learners["SGD"].params.values())


def ratio(times, name):
    """How many times longer than SGD: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(times[name], times["SGD"], strict=True))


def slope(xs, ys):
    """Of log y against log x."""
    return np.polyfit(np.log(xs), np.log(ys), 1)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--engine", default="compiled")
    parser.add_argument("--seconds", type=float, default=0.05, help="of SGD in a round, about")
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args()
    for estimator in (fg.UORO(), fg.NoBackTrack()):
        found = {n: measured(estimator, n, options) for n in options.units}
        print(f"\n{estimator.name}, engine {options.engine}: µs a step (times SGD)\n")
        print(f"| | {' | '.join(f'n = {n}' for n in found)} | slope of time | of memory |")
        print(f"| --- |{' --- |' * (len(found) + 2)}")
        sizes = [p for _, _, p in found.values()]
        for name in optimizers(1):
            paces = [statistics.median(times[name]) for times, _, _ in found.values()]
            cells = [f"{1e6 * t:.1f} ({ratio(f[0], name):.2f}×)" for t, f in zip(paces, found.values(), strict=True)]
            memory = [states[name] for _, states, _ in found.values()]
            slopes = ["–"] * 2
            if len(sizes) > 1:
                slopes = [f"{slope(sizes, paces):.2f}", f"{slope(sizes, memory):.2f}" if min(memory) > 8 else "–"]
            print(f"| {name} | {' | '.join([*cells, *slopes])} |")
        if 256 in found:
            print()
            for name, most in TARGETS.items():
                made = ratio(found[256][0], name)
                print(f"- {name} ÷ SGD, n = 256: ≤ {most}: **{'met' if made <= most else 'missed'}**, {made:.2f}")


if __name__ == "__main__":
    main()
