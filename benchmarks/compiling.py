"""How long the compiled engine takes until a step is ready: with nothing on disk, and from there.

Run: python benchmarks/compiling.py [--rounds 5]

Seconds of processor time, the median of some rounds: writing the loops, compiling or loading them. Tracing, which every
engine does, and importing are left out. Prints a table in Markdown.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.engines import compiled_engine
from fwdgrad.learning.execution import execution_for
from fwdgrad.program import Program
from fwdgrad.program.costs import length
from fwdgrad.support.trees import flatten

WINDOW = 16


def network(name: str, units: int, estimator: Any) -> Callable[[], list[tuple[Program, int | None]]]:
    """The step of a network, or with a window all that it consists of."""

    def programs() -> list[tuple[Program, int | None]]:
        system = systems.build(name, units=units)
        made = execution_for(system, estimator, fg.Adam(1e-3), "numpy")
        kinds = ["learn"] if estimator.window.length == 1 else ["window", "walk"]
        return [(made.program(kind), made.carried(kind)) for kind in kinds]

    return programs


def small(name: str) -> Callable[[], list[tuple[Program, int | None]]]:
    """The step of what a learner takes for a small model by itself."""

    def programs() -> list[tuple[Program, int | None]]:
        learner = fg.Learner(systems.build(name), engine="numpy")
        made = execution_for(learner.system, learner.estimator, learner.optimizer, "numpy")
        return [(made.program("learn"), len(flatten(made.template)))]

    return programs


ROWS = {
    "tanh network, 16 units, UORO": network("tanh-rnn", 16, fg.UORO()),
    "tanh network, 256 units, UORO": network("tanh-rnn", 256, fg.UORO()),
    "GRU, 64 units, UORO": network("gru", 64, fg.UORO()),
    "LSTM, 64 units, UORO": network("lstm", 64, fg.UORO()),
    "GRU, 16 units, RTRL": network("gru", 16, fg.RTRL()),
    f"tanh network, 64 units, UORO, window {WINDOW}": network("tanh-rnn", 64, fg.UORO(window=WINDOW)),
    f"GRU, 64 units, UORO, window {WINDOW}": network("gru", 64, fg.UORO(window=WINDOW)),
    "Van der Pol, filter": small("van-der-pol"),
    "Lorenz, filter": small("lorenz"),
}


def spent(programs: list[tuple[Program, int | None]]) -> float:
    """Seconds until all of them are ready."""
    start = time.process_time()
    for program, carried in programs:
        if carried is None:
            compiled_engine.compile_program(program)
        else:
            compiled_engine.compile_stream(program, carried)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| step | operations | compiled | from disk |\n| --- | --- | --- | --- |")
    for name, prepare in ROWS.items():
        programs, cold, warm = prepare(), [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["FWDGRAD_CACHE"] = folder
                cold.append(spent(programs))
                warm.append(spent(programs))
        count = sum(length(program) for program, _ in programs)
        print(f"| {name} | {count} | {statistics.median(cold):.2f} | {statistics.median(warm):.2f} |", flush=True)


if __name__ == "__main__":
    main()
