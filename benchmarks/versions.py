"""Two checkouts of fwdgrad against each other: whether anything has become slower.

Run: python benchmarks/versions.py OLD NEW [--rounds 9] [--seconds 0.2] [--rows PATTERN] [--engine numba]

OLD and NEW are folders with a checkout each; what both need (an old version may need numba) has to be installed. The
rows are those of docs/performance.md that an ordinary learner makes. Each checkout runs a row in a process of its own,
with an empty cache. The two take turns, and the least of the processor's seconds counts, as whatever else the machine
does only adds to them. Prints a table in Markdown, and at the end the rows that are more than a twentieth slower.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SLOWER = 1.05
SYMBOLS = 32
ESTIMATORS = {
    "UORO": ("uoro", (16, 64, 256, 1024)),
    "NoBackTrack": ("nobacktrack", (16, 64, 256, 1024)),
    "RTRL": ("rtrl", (16, 32, 64)),
    "TBPTT(1)": ("tbptt:1", (16, 64, 256)),
}
ROWS: dict[str, tuple[str, str, str, int]] = {
    **{
        f"{name}, run, n = {n}": ("run", key, "compiled", n) for name, (key, sizes) in ESTIMATORS.items() for n in sizes
    },
    **{f"UORO, step, n = {n}": ("step", "uoro", "compiled", n) for n in (16, 32, 64, 128, 256)},
    **{f"{key}, windows of 16, n = {n}": ("window", key, "compiled", n) for key in ("UORO", "TBPTT") for n in (16, 64)},
    **{f"UORO, NumPy engine, n = {n}": ("run", "uoro", "numpy", n) for n in (16, 64, 256)},
    "UORO, step, NumPy engine, n = 16": ("step", "uoro", "numpy", 16),
    **{f"Lotka and Volterra, {m}, {how}": (how, m, "compiled", 0) for m in ("euler", "rk4") for how in ("run", "step")},
    "Lotka and Volterra, default filter": ("filter", "rk4", "compiled", 0),
    "information filter, diagonal, n = 64": ("information", "diagonal", "compiled", 64),
}
"""By label: how samples are handed over, of which estimator or method, on which engine, and how many units."""


def learner(row: tuple[str, str, str, int], engine: str) -> tuple[Any, Callable[[int], tuple[Any, Any]]]:
    """A learner, and what makes so many samples for it."""
    import fwdgrad as fg
    from fwdgrad import systems

    how, key, _, units = row
    rng = np.random.default_rng(0)
    if units:
        system = systems.build("tanh-rnn", units=units, symbols=SYMBOLS, seed=0)
        given: dict[str, Any] = {"estimator": key, "optimizer": fg.SGD(1e-3)}
        if how == "window":
            given = {"estimator": fg.UORO(window=16) if key == "UORO" else fg.TBPTT(16), "optimizer": fg.Adam(1e-3)}
        elif how == "information":
            given = {"estimator": "uoro", "optimizer": fg.InformationFilter(key)}
        return fg.Learner(system, **given, seed=0, engine=engine), lambda n: tuple(rng.integers(SYMBOLS, size=(2, n)))
    system = systems.lotka_volterra(dt=1e-4, method=key)
    given = {} if how == "filter" else {"estimator": "rtrl", "optimizer": fg.SGD(1e-12)}
    ys = system.simulate(steps=100_000).outputs
    return fg.Learner(system, **given, seed=0, engine=engine), lambda n: (None, ys[:n])


def child(checkout: str, label: str, engine: str) -> None:
    """Times a row, with so many samples as each line says."""
    sys.path[0] = checkout
    place = Path(checkout) / "systems"
    spec = importlib.util.spec_from_file_location(
        "fwdgrad.systems", place / "__init__.py", submodule_search_locations=[str(place)]
    )
    assert spec is not None
    assert spec.loader is not None
    import fwdgrad

    assert Path(fwdgrad.__file__).is_relative_to(checkout), fwdgrad.__file__
    sys.modules["fwdgrad.systems"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fwdgrad.systems = module
    warnings.simplefilter("ignore")
    row = ROWS[label]
    one, samples = learner(row, engine if row[2] == "compiled" else row[2])
    for line in sys.stdin:
        xs, ys = samples(int(line))
        pairs = list(zip(xs.tolist() if xs is not None else [None] * len(ys), ys, strict=True))
        if not ROWS[label][3]:
            one.reset_state()
        start = time.process_time()
        if row[0] == "step":
            for x, y in pairs:
                one.step(x, y)
        else:
            one.run(xs, ys, record=len(ys))
        print(time.process_time() - start, flush=True)


class Contender:
    """A checkout that runs a row."""

    def __init__(self, checkout: str, label: str, engine: str, cache: str) -> None:
        environment = {**os.environ, "FWDGRAD_CACHE": cache, "NUMBA_CACHE_DIR": cache}
        environment.pop("PYTHONPATH", None)
        command = [sys.executable, __file__, "--child", checkout, label, engine]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def seconds(self, samples: int) -> float:
        """For so many samples."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{samples}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline() or "nan")

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def compared(label: str, old: tuple[str, str], new: tuple[str, str], rounds: int, seconds: float) -> tuple[float, ...]:
    """Seconds to begin with, and per sample, of both."""
    with tempfile.TemporaryDirectory() as folder:
        both = [Contender(checkout, label, engine, f"{folder}/{k}") for k, (checkout, engine) in enumerate((old, new))]
        first = [one.seconds(64) for one in both]
        pace = max(one.seconds(64) / 64 for one in both)
        count = int(np.clip(seconds / pace, 64, 100_000)) if pace == pace else 64
        times = [[one.seconds(count) / count for one in both] for _ in range(rounds)]
        for one in both:
            one.close()
    return (*first, *(min(column) for column in zip(*times, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Two checkouts of fwdgrad against each other.")
    parser.add_argument("old", help="a folder with a checkout")
    parser.add_argument("new", help="another one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.2, help="of one run in a round, about")
    parser.add_argument("--rows", default="", help="only rows whose label contains this")
    parser.add_argument("--engine", default="compiled", help="what the old checkout calls the compiled engine")
    options = parser.parse_args()
    old, new = (str(Path(p).resolve()) for p in (options.old, options.new))
    print(
        "| row | old, µs | new, µs | new ÷ old | first samples, s: old | new |\n|---|---|---|---|---|---|", flush=True
    )
    slower = []
    for label in ROWS:
        if options.rows not in label:
            continue
        a, b, before, after = compared(label, (old, options.engine), (new, "compiled"), options.rounds, options.seconds)
        ratio = after / before
        print(f"| {label} | {before * 1e6:.3g} | {after * 1e6:.3g} | {ratio:.2f} | {a:.1f} | {b:.1f} |", flush=True)
        if not ratio <= SLOWER:
            slower.append(f"{label} ({ratio:.2f})")
    print(f"\nSlower by more than a twentieth: {', '.join(slower) or 'none'}.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
