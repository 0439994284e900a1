"""What the information filter adds to the step of SGD: `python information.py [--units 256] [--engine numba]`.

A tanh network learns characters by NoBackTrack.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time

import numpy as np

import fwdgrad as fg
from fwdgrad import systems


def prepared(optimizer, options):
    """A learner that has made its first steps."""
    system = systems.tanh_rnn(units=options.units, symbols=32)
    return fg.Learner(system, fg.NoBackTrack(), optimizer, engine=options.engine)


def seconds(learners, options):
    """Time per step of each, the best of several, taken in turn so that other load falls on all of them."""
    symbols = np.random.default_rng(0).integers(0, 32, options.steps + 1)
    best = dict.fromkeys(learners, np.inf)
    for _ in range(options.repeats + 1):
        for name, learner in learners.items():
            start = time.perf_counter()
            learner.run(symbols[:-1], symbols[1:])
            best[name] = min(best[name], (time.perf_counter() - start) / options.steps)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--engine", default="numba")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    rate = fg.schedules.inverse_power(0.01)
    decay = fg.schedules.inverse_power(0.03)
    cases = {
        "SGD": fg.SGD(rate),
        "Adam": fg.Adam(rate),
        "diagonal": fg.InformationFilter("diagonal", decay=decay, prior=options.units),
        "quasi-diagonal": fg.InformationFilter("quasi-diagonal", decay=decay, prior=options.units),
    }
    best = seconds({name: prepared(optimizer, options) for name, optimizer in cases.items()}, options)
    for name, each in best.items():
        print(f"{name:15} {1e6 * each:8.1f} µs a step, {each / best['SGD']:.2f} times SGD")


if __name__ == "__main__":
    main()
