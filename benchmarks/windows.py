"""What windows cost: backpropagation with and without checkpoints, and the hybrid against RTRL over the state size.

Run: python benchmarks/windows.py [--steps 1000 10000 100000] [--units 16 32 64 128 192] [--repeats 3] [--engine numpy]

One thread, float64. States are those held at the worst moment, memory is the peak of what is allocated during the run
(inputs and targets are there before it). Only ratios and slopes mean anything.
"""

import argparse
import os
import statistics
import time
import tracemalloc

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

import fwdgrad as fg
from fwdgrad import systems

SYMBOLS = 32


def data(steps):
    return np.random.default_rng(0).integers(SYMBOLS, size=(2, steps))


def network(units):
    return systems.build("tanh-rnn", units=units, symbols=SYMBOLS, seed=0)


def timed(system, estimator, steps, engine):
    """Seconds for a run over a sequence, with everything prepared."""
    learner = fg.Learner(system, estimator, fg.SGD(1e-6), engine=engine)
    learner.run(*data(steps), record=1000)
    learner.finish()
    learner.reset_state()
    start = time.perf_counter()
    learner.run(*data(steps), record=1000)
    learner.finish()
    return time.perf_counter() - start


def peak(system, estimator, steps, engine):
    """Peak memory of a run in bytes, with everything prepared, and the largest number of states held."""
    learner = fg.Learner(system, estimator, fg.SGD(1e-6), engine=engine)
    learner.run(*data(min(steps, 1000)), record=1000)
    learner.reset_state()
    xs, ys = data(steps)
    held = 0

    def watch(done, mean):
        nonlocal held
        held = max(held, len(learner._loop._states))

    tracemalloc.start()
    learner.run(xs, ys, record=1000, progress=watch)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most, held


def backpropagation(options):
    system = network(64)
    print(
        "| steps | states held, plain | with checkpoints | peak, plain | with checkpoints | time, checkpoints ÷ plain |"
    )
    print("|---|---|---|---|---|---|")
    for steps in options.steps:
        ratios = []
        for _ in range(options.repeats):
            plain, thin = (timed(system, fg.BPTT(c), steps, options.engine) for c in (False, True))
            ratios.append(thin / plain)
        (a, states), (b, kept) = (peak(system, fg.BPTT(c), steps, options.engine) for c in (False, True))
        print(
            f"| {steps} | {states} | {kept} | {a / 1e6:.1f} MB | {b / 1e6:.1f} MB | {statistics.median(ratios):.2f} |",
            flush=True,
        )


def hybrid(options):
    times = {"RTRL": [], "Hybrid": []}
    print("\n| units | RTRL, µs per step | Hybrid(n), µs per step | ratio |")
    print("|---|---|---|---|")
    for units in options.units:
        system = network(units)
        for estimator, steps in ((fg.RTRL(), max(2, 300_000_000 // units**4)), (fg.Hybrid(), 2 * units)):
            steps = min(steps, 400)
            seconds = min(timed(system, estimator, steps, options.engine) for _ in range(options.repeats))
            times[estimator.name].append(seconds / steps)
        a, b = times["RTRL"][-1], times["Hybrid"][-1]
        print(f"| {units} | {a * 1e6:.0f} | {b * 1e6:.0f} | {a / b:.2f} |", flush=True)
    for name, found in times.items():
        half = len(found) // 2
        slope = np.polyfit(np.log(options.units[half:]), np.log(found[half:]), 1)[0]
        print(f"\n{name}: time per step grows like n^{slope:.2f} over n = {options.units[half]} … {options.units[-1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--units", type=int, nargs="+", default=[16, 32, 64, 128, 192])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine", default="numpy")
    options = parser.parse_args()
    backpropagation(options)
    hybrid(options)


if __name__ == "__main__":
    main()
