"""A recording of what learners compute, to hold a later version against.

    python tests/tools/recording.py record tests/data/recording.npz
    python tests/tools/recording.py compare tests/data/recording.npz
    python tests/tools/recording.py compare tests/data/recording.npz --engine compiled --tolerance 1e-11 [--every 7]

For each system of the catalogue, each named estimator that goes with it, and each of two optimizers, a learner goes
through 200 samples with fixed seeds. Kept are its losses, its parameters, and its influence matrix. A version that
computes the same, in the same order, agrees in every bit on the machine that made the recording; another processor,
another NumPy or another engine rounds differently, so say a tolerance there. Every cell of the compiled engine is
compiled, which takes a second or so: `--every 7` goes through a seventh of them.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import fwdgrad as fg
from fwdgrad import systems
from fwdgrad.estimators import estimator_named

STEPS, SEED = 200, 7
SMALL = {"units": 6, "symbols": 3, "minus": 4}
"""The sizes of networks and linear systems."""
ESTIMATORS = (
    "rtrl", "sparse-rtrl", "snap", "snap:2", "nobacktrack", "nobacktrack:3", "uoro", "uoro:4", "kfrtrl", "kfrtrl:uoro",
    "tensornobacktrack", "forward-gradient", "forward-gradient:signs", "hybrid", "hybrid:4", "bptt", "tbptt:5",
    "artbp:0.2",
)  # fmt: skip
OPTIMIZERS = {"sgd": lambda: fg.SGD(1e-5), "adam": lambda: fg.Adam(1e-3)}
KEPT = 128
"""Numbers of each result that are kept, evenly spread over it, beside their sum."""


def catalogue() -> Iterator[tuple[str, Any]]:
    """Each system of the catalogue, small."""
    for name, builder in systems.CATALOGUE.items():
        known = inspect.signature(builder).parameters
        yield name, systems.build(name, **{k: v for k, v in SMALL.items() if k in known})


def samples(system: Any) -> tuple[Any, Any]:
    """Inputs and targets of the system's kind: a simulation with noise, or random symbols."""
    rng = np.random.default_rng(SEED)
    if isinstance(system.loss, fg.losses.CrossEntropy):
        return fg.streams.next_symbol(rng.integers(0, len(system.prediction), size=STEPS + 1))
    like = system.x
    xs = None if like is None else _inputs(like, rng)
    ys = (system.simulate(steps=STEPS) if xs is None else system.simulate(xs)).outputs
    return xs, ys + 0.01 * rng.normal(size=ys.shape)


def _inputs(like: Any, rng: np.random.Generator) -> Any:
    if isinstance(like, dict):
        return {k: _inputs(v, rng) for k, v in like.items()}
    return like + 0.1 * rng.uniform(size=(STEPS, *like.shape))


def cell(system: Any, estimator: str, optimizer: str, engine: str) -> dict[str, np.ndarray] | str:
    """What a learner computes, or the name of the error that it ends with."""
    xs, ys = samples(system)
    try:
        learner = fg.Learner(system, estimator_named(estimator), OPTIMIZERS[optimizer](), seed=SEED, engine=engine)
        history = learner.run(xs, ys)
        influence = learner.influence_matrix().ravel()
    except fg.FwdgradError as error:
        return type(error).__name__
    return {
        "losses": _thinned(np.asarray(history.loss, float)),
        "parameters": _thinned(np.concatenate([np.ravel(v) for v in learner.params.values()])),
        "influence": _thinned(influence),
    }


def _thinned(values: np.ndarray) -> np.ndarray:
    chosen = np.linspace(0, len(values) - 1, min(KEPT, len(values))).astype(int)
    return np.append(values[chosen], np.nansum(values))


def cells(engine: str, every: int = 1) -> Iterator[tuple[str, dict[str, np.ndarray] | str]]:
    """All of them, or every so-manyth one, by name."""
    wanted = [
        (f"{name} {estimator} {optimizer}", system, estimator, optimizer)
        for name, system in catalogue()
        for estimator in ESTIMATORS
        for optimizer in OPTIMIZERS
    ]
    for label, system, estimator, optimizer in tqdm(wanted[::every]):
        yield label, cell(system, estimator, optimizer, engine)


def record(path: Path, engine: str) -> None:
    """Write a recording."""
    arrays, ended = {}, []
    for label, made in cells(engine):
        if isinstance(made, str):
            ended.append(f"{label}: {made}")
        else:
            arrays.update({f"{label} {what}": values for what, values in made.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, ended=np.array(ended), **arrays)
    print(f"{len(arrays) // 3} cells recorded, {len(ended)} ended in an error")


def compare(path: Path, engine: str, tolerance: float, every: int) -> int:
    """Hold this version against a recording; the number of cells that differ."""
    held = np.load(path)
    ended = dict(line.rsplit(": ", 1) for line in held["ended"])
    differing, tried, most = 0, 0, 0.0
    for label, made in cells(engine, every):
        tried += 1
        if isinstance(made, str) or label in ended:
            now = made if isinstance(made, str) else "runs"
            problem = "" if made == ended.get(label) else f"{ended.get(label, 'ran')} then, {now} now"
        else:
            worst = {what: _difference(held[f"{label} {what}"], values) for what, values in made.items()}
            most = max(most, *worst.values())
            problem = ", ".join(f"{what} by {d:.2g}" for what, d in worst.items() if d > tolerance)
        if problem:
            differing += 1
            print(f"{label}: {problem}")
    print(f"{differing} of {tried} cells differ; the largest difference is {most:.2g} of the largest number")
    return differing


def _difference(then: np.ndarray, now: np.ndarray) -> float:
    """The largest difference, as a part of the largest number; infinite where shapes or what is NaN differ."""
    if then.shape != now.shape or (np.isnan(then) != np.isnan(now)).any():
        return float("inf")
    if np.array_equal(then, now, equal_nan=True) or not then.size:
        return 0.0
    return float(np.nanmax(np.abs(then - now)) / max(np.nanmax(np.abs(then)), np.finfo(float).tiny))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--engine", default="numpy")
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.what == "record":
        record(given.path, given.engine)
        return 0
    return int(compare(given.path, given.engine, given.tolerance, given.every) > 0)


if __name__ == "__main__":
    sys.exit(main())
