"""Checkpoints of a released version, and how their learners go on, for `tests/learning/test_old_checkpoints.py`.

    python tests/tools/checkpoints.py tests/data/checkpoints

Run once for a version, never to make a test pass: files of an older version are what users have.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fwdgrad as fg
from fwdgrad import systems

BEFORE, AFTER, SEED = 37, 20, 3
"""Samples before the checkpoint (in the middle of any window), and after it."""


def network() -> fg.System:
    """A gated network that reads symbols."""
    return systems.gru(units=4, symbols=3)


def equations() -> fg.System:
    """A differential equation."""
    return systems.mass_spring_damper()


def kept() -> dict[str, tuple[Callable[[], fg.System], Any, Any]]:
    """Name of the file → how to declare the system, estimator and optimizer."""
    return {
        "rtrl-sgd": (network, fg.RTRL(), fg.SGD(0.01)),
        "uoro-adam": (network, fg.UORO(), fg.Adam(fg.schedules.InverseTime(0.01, 1e-3))),
        "uoro-rank": (network, fg.UORO(rank=3, scale="probe"), fg.Adam(0.01)),
        "nobacktrack-window": (network, fg.NoBackTrack(window=5), fg.AdaGrad(0.01)),
        "snap": (network, fg.SnAp(1), fg.Adam(0.01)),
        "sparse": (network, fg.SparseRTRL(), fg.SGD(0.01)),
        "kfrtrl": (network, fg.KFRTRL("uoro"), fg.SGD(0.01)),
        "tensor": (network, fg.TensorNoBackTrack(), fg.SGD(0.01)),
        "forward-gradient": (network, fg.ForwardGradient(), fg.SGD(0.01)),
        "tbptt": (network, fg.TBPTT(5), fg.Adam(0.01)),
        "sliding": (network, fg.TBPTT(6, stride=2), fg.Adam(0.01)),
        "artbp": (network, fg.ARTBP(0.2), fg.SGD(0.01)),
        "hybrid": (network, fg.Hybrid(4), fg.SGD(0.01)),
        "ode-rtrl": (equations, fg.RTRL(), fg.Adam(0.01)),
        "ode-filter": (equations, fg.RTRL(), fg.InformationFilter()),
        "ode-full": (equations, fg.RTRL(), fg.InformationFilter("full")),
    }


def samples(system: fg.System) -> tuple[Any, Any]:
    """Inputs and targets, the same for every version."""
    rng = np.random.default_rng(SEED)
    length = BEFORE + AFTER
    if isinstance(system.loss, fg.losses.CrossEntropy):
        return fg.streams.next_symbol(rng.integers(0, 3, size=length + 1))
    like = system.x
    xs = {k: rng.normal(size=(length, *v.shape)) for k, v in like.items()} if isinstance(like, dict) else None
    xs = rng.normal(size=(length, *like.shape)) if isinstance(like, np.ndarray) else xs
    return xs, rng.normal(size=(length, *system.prediction.shape))


def part(tree: Any, begin: int, end: int) -> Any:
    """Samples from `begin` to `end`."""
    return {k: v[begin:end] for k, v in tree.items()} if isinstance(tree, dict) else tree[begin:end]


def gone_on(learner: fg.Learner, system: fg.System) -> dict[str, np.ndarray]:
    """Losses of the samples after the checkpoint, and the parameters then."""
    xs, ys = samples(system)
    history = learner.run(part(xs, BEFORE, BEFORE + AFTER), ys[BEFORE:])
    return {"losses": np.asarray(history.loss), **learner.params}


def main(folder: Path) -> None:
    """Write the files."""
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (declare, estimator, optimizer) in kept().items():
        system = declare()
        xs, ys = samples(system)
        learner = fg.Learner(system, estimator, optimizer, seed=SEED, engine="numpy")
        learner.run(part(xs, 0, BEFORE), ys[:BEFORE])
        learner.save(folder / f"{name}.npz")
        np.savez_compressed(folder / f"{name}.after.npz", **gone_on(learner, system))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
