"""What noise and bias of a gradient do to learning: a gated network on aⁿbⁿ, by estimators, seeds in turn.

    python benchmarks/anbn.py [--units 32] [--steps 200000] [--seeds 3] [names …]

Adam with the rate 1e-3/(1 + 0.03 √t), as in the UORO paper, section 6. For each estimator the mean loss over the last
tenth, in bits a character, one number a seed; and the processor's time of a step. The entropy rate is 0.14.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fwdgrad as fg
from fwdgrad import systems

NAMES = ("rtrl", "ok", "snap:1", "kfrtrl:rtrl", "debiased", "uoro")


def learned(name: str, units: int, steps: int, seed: int) -> tuple[float, float]:
    """Loss over the last tenth, and seconds a step."""
    xs, ys = fg.streams.next_symbol(fg.streams.anbn(1, 32, steps + 1, np.random.default_rng(seed)))
    optimizer = fg.Adam(fg.schedules.inverse_sqrt(1e-3, 0.03))
    learner = fg.Learner(systems.gru(units=units, symbols=3, seed=seed), name, optimizer, seed, engine="compiled")
    learner.prepare(steps)
    start = time.process_time()
    history = learner.run(xs, ys)
    return history.recent(steps // 10), (time.process_time() - start) / steps


def main() -> None:
    """Print a line for each estimator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name in options.names:
        found = [learned(name, options.units, options.steps, seed) for seed in range(options.seeds)]
        losses, seconds = zip(*found, strict=True)
        shown = "  ".join(f"{loss:.4f}" for loss in losses)
        print(f"{name:12} {np.mean(losses):.4f}   {shown}   {1e6 * min(seconds):.0f} µs", flush=True)


if __name__ == "__main__":
    main()
