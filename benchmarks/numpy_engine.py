"""The NumPy engine against calling autograd at every step, and the cost of a step over that of the model.

Run: python benchmarks/numpy_engine.py [--units 16 64 256] [--repeats 5]

Interleaved in one process, one thread, float64; medians. Prints a Markdown table; only the ratios mean anything.
"""

import argparse
import os
import statistics
import time

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import autograd.numpy as anp
import numpy as np
from autograd.core import make_jvp, make_vjp

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.step.kinds import LEARN, PREDICT

SYMBOLS = 32


def runner(system, estimator, optimizer, engine, steps):
    """A function that makes `steps` steps on prepared samples and returns seconds per step."""
    execution = Execution(system, estimator, optimizer, engine)
    rng = np.random.default_rng(0)
    xs, ys = rng.integers(SYMBOLS, size=(2, steps))
    noise = [np.where(rng.random((steps, *s.shape)) < 0.5, -1.0, 1.0) for s in execution.specs]
    carry = execution.initial()
    outputs = len(carry)
    execution.make(LEARN, carry, [xs[0]], [ys[0]], [e[0] for e in noise])  # prepares the function

    def run():
        c = carry
        start = time.perf_counter()
        for k in range(steps):
            c = execution.make(LEARN, c, [xs[k]], [ys[k]], [e[k] for e in noise])[:outputs]
        return (time.perf_counter() - start) / steps

    return run


def autograd_runner(system, steps):
    """UORO with SGD as one writes it by hand with autograd: two backward and one forward product at every step."""
    params = {k: v.copy() for k, v in system.params.items()}
    inner, outer = ("b", "R", "W"), ("V", "c")

    def transition(z, x):
        h, b, R, W = z
        return b + R[:, x] + anp.dot(W, anp.tanh(h))

    def loss(z, y):
        h, V, c = z
        scores = anp.dot(V, anp.tanh(h)) + c
        shifted = scores - anp.max(scores)
        return (anp.log(anp.sum(anp.exp(shifted))) - shifted[y]) / np.log(2)

    def run():
        rng = np.random.default_rng(0)
        xs, ys = rng.integers(SYMBOLS, size=(2, steps))
        theta = {k: v.copy() for k, v in params.items()}
        h = np.zeros(system.size)
        v, w = np.zeros(system.size), [np.zeros_like(theta[k]) for k in inner]
        start = time.perf_counter()
        for x, y in zip(xs, ys, strict=True):
            signs = np.where(rng.random(system.size) < 0.5, -1.0, 1.0)
            point = (h, *(theta[k] for k in inner))
            pull, new = make_vjp(lambda z, x=x: transition(z, x), point)
            back, _ = make_vjp(lambda z, y=y: loss(z, y), (new, *(theta[k] for k in outer)))
            c, *direct = back(1.0)
            past, *through = pull(c)
            zeros = tuple(np.zeros_like(a) for a in point[1:])
            _, carried = make_jvp(lambda z, x=x: transition(z, x), point)((v, *zeros))
            _, *fresh = pull(signs)
            along = past @ v
            for k, a, b in zip(inner, w, through, strict=True):
                theta[k] = theta[k] - 1e-3 * (along * a + b)
            for k, d in zip(outer, direct, strict=True):
                theta[k] = theta[k] - 1e-3 * d
            norm = np.sqrt(sum(np.vdot(a, a) for a in w))
            rho0 = np.sqrt(norm / (np.linalg.norm(carried) + 1e-7)) + 1e-7
            size = np.sqrt(sum(np.vdot(f, f) for f in fresh))
            rho1 = np.sqrt(size / (np.linalg.norm(signs) + 1e-7)) + 1e-7
            v = rho0 * carried + rho1 * signs
            w = [a / rho0 + f / rho1 for a, f in zip(w, fresh, strict=True)]
            h = new
        return (time.perf_counter() - start) / steps

    return run


def model_runner(system, steps):
    """Running F and Y alone, on the NumPy engine."""
    execution = Execution(system, fg.TBPTT(1), fg.SGD(1e-3), "numpy")
    carry = execution.initial()
    execution.make(PREDICT, carry, [np.int64(0)])

    def run():
        start = time.perf_counter()
        for _ in range(steps):
            execution.make(PREDICT, carry, [np.int64(0)])
        return (time.perf_counter() - start) / steps

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| units | estimator | autograd, µs | NumPy engine, µs | ratio | step ÷ model |")
    print("|---|---|---|---|---|---|")
    for units in options.units:
        system = systems.build("tanh-rnn", units=units, symbols=SYMBOLS)
        for estimator in (fg.UORO(), fg.NoBackTrack()):
            fast = runner(system, estimator, fg.SGD(1e-3), "numpy", 500)
            slow = autograd_runner(system, 50)
            model = model_runner(system, 500)
            times = [(slow(), fast(), model()) for _ in range(options.repeats)]
            eager, numpy = (statistics.median(t[k] for t in times) for k in (0, 1))
            ratios = statistics.median(a / b for a, b, _ in times), statistics.median(b / c for _, b, c in times)
            print(
                f"| {units} | {estimator.name} | {eager * 1e6:.0f} | {numpy * 1e6:.0f} "
                f"| {ratios[0]:.1f} | {ratios[1]:.1f} |"
            )


if __name__ == "__main__":
    main()
