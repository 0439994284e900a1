"""Speed and memory over the length of a stream, each length in a process of its own.

Run by itself: python -m benchmarks.rivals.length STEPS UNITS WINDOW prints "steps per second, peak memory in bytes".
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.rivals.measure import Effort, say
from benchmarks.rivals.problem import WINDOW
from benchmarks.rivals.report import table

CHUNK = 10_000
UNITS = 16


def peak() -> int | None:
    """Peak resident memory of this process in bytes; None where that is not known."""
    status = Path("/proc/self/status")
    if status.exists():  # `resource` may count what was there before this program was started
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if lines:
            return int(lines[0].split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def child(steps: int, units: int, window: int) -> None:
    import fwdgrad as fg
    from benchmarks.rivals.problem import RATE, SYMBOLS, Problem

    try:
        import llvmlite  # noqa: F401

        engine = "compiled"
    except ImportError:
        engine = "numpy"
    rng = np.random.default_rng(0)
    learner = fg.Learner(Problem(units, 1).system, fg.UORO(window=window), fg.SGD(RATE), engine=engine)
    learner.run(*rng.integers(SYMBOLS, size=(2, CHUNK)), record=CHUNK)  # the compiled step is ready then
    before, spent = peak(), 0.0
    for _ in range(steps // CHUNK):
        xs, ys = rng.integers(SYMBOLS, size=(2, CHUNK))
        started = time.process_time()
        learner.run(xs, ys, record=CHUNK)
        spent += time.process_time() - started
    print(steps / spent, before or -1, peak() or -1)


def streams(steps: Sequence[int], effort: Effort) -> str:
    """Steps per second and peak memory."""
    rows = []
    for count, window in ((count, window) for window in (1, WINDOW) for count in steps):
        say(f"length: {count} steps, windows of {window}")
        command = [sys.executable, "-m", "benchmarks.rivals.length", str(count), str(UNITS), str(window)]
        done = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        speed, before, after = float(done[0]), int(done[1]), int(done[2])
        memory = ["not known"] * 2 if after < 0 else [f"{b / 2**20:.1f}" for b in (before, after)]
        rows.append([f"{count:,}".replace(",", " "), str(window), f"{speed:,.0f}".replace(",", " "), *memory])
    header = ["steps", "window", "steps per second", "peak memory after the first 10 000 steps, MiB", "at the end, MiB"]
    return table(header, rows)


if __name__ == "__main__":
    child(*map(int, sys.argv[1:]))
