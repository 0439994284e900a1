"""The JAX engine on whatever device JAX sees, and the compiled engine on the processor beside it.

Run: python benchmarks/devices.py [--units 256 1024] [--streams 1 32] [--dtype float32] [--output devices.md]

A tanh network of n units learns from B streams by UORO and SGD, random numbers in, one number out. A cell is the time
of one sample of one stream, and, in brackets, of the first call, which compiles. The two engines take turns, and the
median of five turns counts. Without --units and --streams the grid is small on a processor (n = 64, 256; B = 1, 8, 32),
and n = 256 to 8192 by B = 1 to 1024 on anything else. A cell that needs more than --memory gigabytes (influence and
parameters, twice) is left out, and one that has taken --patience seconds is the last of its row. The table is written
after every cell.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

if os.environ.get("JAX_PLATFORMS") == "cpu":
    for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_variable, "1")

import jax
import numpy as np

import fwdgrad as fg
from fwdgrad import systems

INPUTS, ROUNDS = 16, 5
ENGINES = ("jax", "compiled")


class Cell:
    """A learner of so many units and streams on an engine, and samples for it."""

    def __init__(self, engine: str, units: int, streams: int, dtype: str) -> None:
        system = systems.tanh_rnn(units=units, inputs=INPUTS, outputs=1).astype(dtype)
        given: Any = {"streams": streams} if streams > 1 else {}
        self.learner = fg.Learner(system, fg.UORO(), fg.SGD(1e-4), seed=0, engine=engine, **given)
        self.shape = (streams,) if streams > 1 else ()
        self.streams, self.count, self.generator = streams, 8, np.random.default_rng(0)
        self.first = self._run(self.count)

    def _run(self, count: int) -> float:
        xs = self.generator.normal(size=(count, *self.shape, INPUTS))
        ys = self.generator.normal(size=(count, *self.shape, 1))
        start = time.perf_counter()
        self.learner.run(xs, ys)
        return time.perf_counter() - start

    def fit(self, seconds: float) -> None:
        """As many samples as take so long."""
        while (spent := self._run(self.count)) < seconds / 2 and self.count < 1 << 16:
            self.count *= 2 if spent > seconds / 20 else 8

    def each(self) -> float:
        """Seconds for a sample of one stream."""
        return self._run(self.count) / self.count / self.streams


def gigabytes(units: int, streams: int, dtype: str) -> float:
    """What influence and parameters take, and a copy of them to go back to."""
    return 2 * (streams + 2) * units * (units + INPUTS + 2) * np.dtype(dtype).itemsize / 1e9


def measured(units: int, streams: int, dtype: str, seconds: float) -> dict[str, tuple[float, float]]:
    """By engine, seconds for a sample of one stream, and those of the first call."""
    cells = {engine: Cell(engine, units, streams, dtype) for engine in ENGINES}
    for cell in cells.values():
        cell.fit(seconds)
    times: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for _ in range(ROUNDS):
        for engine, cell in cells.items():
            times[engine].append(cell.each())
    return {engine: (statistics.median(times[engine]), cell.first) for engine, cell in cells.items()}


def table(made: dict[tuple[int, int], dict[str, tuple[float, float]]], head: list[str]) -> str:
    """All cells so far, in Markdown."""
    lines = [
        *head,
        "",
        "| n | B | JAX, µs (first call, s) | compiled, µs (first call, s) | compiled ÷ JAX |",
        "|--:" * 5 + "|",
    ]
    for (units, streams), cell in made.items():
        (a, first), (b, other) = cell["jax"], cell["compiled"]
        lines.append(
            f"| {units} | {streams} | {a * 1e6:.3g} ({first:.1f}) | {b * 1e6:.3g} ({other:.1f}) | {b / a:.2f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+")
    parser.add_argument("--streams", type=int, nargs="+")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one turn, about")
    parser.add_argument("--memory", type=float, default=4.0, help="gigabytes that a cell may need")
    parser.add_argument(
        "--patience", type=float, default=120.0, help="seconds for a cell, before larger ones are left out"
    )
    parser.add_argument("--output", type=Path, default=Path("devices.md"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    device = jax.devices()[0]
    small = device.platform == "cpu"
    units = options.units or ([64, 256] if small else [256, 512, 1024, 2048, 4096, 8192])
    streams = options.streams or ([1, 8, 32] if small else [1, 8, 32, 128, 1024])
    head = [
        f"JAX {jax.__version__} on {len(jax.devices())} × {device.device_kind} ({device.platform}), {options.dtype}; "
        f"fwdgrad {fg.__version__}, {os.cpu_count()} cores.",
        "A sample of one stream; tanh network of n units, B streams, UORO, SGD.",
    ]
    made: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
    for n in units:
        for b in streams:
            if gigabytes(n, b, options.dtype) > options.memory:
                break
            start = time.perf_counter()
            made[n, b] = measured(n, b, options.dtype, options.seconds)
            options.output.write_text(table(made, head), encoding="utf-8")
            if time.perf_counter() - start > options.patience:
                break
    print(options.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
