"""Samples that a system of the catalogue makes itself, where none are given: something to learn back."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from fwdgrad.cli.builders import Builder
from fwdgrad.cli.jobs import DataJob
from fwdgrad.errors import DataError, NonFiniteError
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system import System

__all__ = ["SimulatedJob"]

LENGTH = 2000
"""Samples."""

MOVED = 0.2
"""How far the true parameters are from those that learning starts from, in part of their size."""

NOISE = 0.05
"""Standard deviation of the noise, in part of that of each output."""

HELD = 20
"""Samples for which an input keeps its value."""

TRIES = 6
"""Where the moved parameters do not make a finite simulation, they are moved half as far, so often."""


class SimulatedJob(DataJob):
    """A simulation with parameters moved at random, and noise. All of it follows from the seed.

    Attributes:
        truth: the parameters of the simulation, by name.
    """

    def __init__(self, builder: Builder, settings: dict[str, Any]) -> None:
        units = {} if settings["units"] is None else {"units": settings["units"]}
        self.system = builder(units, {"seed": settings["seed"]})
        rng = np.random.default_rng([settings["seed"] or 0, 2])
        self.xs = _inputs(self.system, rng)
        self.truth, moved, clean = _simulated(builder.name, self.system, self.xs, rng)
        spread = NOISE * np.std(clean, axis=0)
        self.ys = clean + spread * rng.normal(size=clean.shape)
        self.source = (
            f"a simulation by {builder.name} itself (no --data): parameters moved by about {moved:.2g} of their size, "
            f"noise of {NOISE:.0%}"
        )
        self.groups, self.labels = [np.arange(len(self.ys))], []
        arrays = [*flatten(self.xs), self.ys]
        self.identity = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

    @property
    def names(self) -> list[str]:
        """A name for each number of a prediction."""
        numbered = [f"prediction{k}" for k in range(self.system.prediction.size)]
        return list(getattr(self.system, "output_names", numbered))


def _inputs(system: System, rng: np.random.Generator) -> Any:
    """Staircases between 0 and 1, which suit doses, flows and forces alike; None for an autonomous system."""
    if system.x is None:
        return None
    stairs = -(-LENGTH // HELD)
    made = [np.repeat(rng.uniform(size=(stairs, *v.shape)), HELD, axis=0)[:LENGTH] for v in flatten(system.x)]
    return unflatten(system.x, made)


def _simulated(
    name: str, system: System, xs: Any, rng: np.random.Generator
) -> tuple[dict[str, Any], float, np.ndarray]:
    """The true parameters, how far they were moved, and the predictions without noise."""
    coordinates = {k: system.coordinates[k] for k in system.trainable}
    directions = {k: rng.normal(size=v.shape) for k, v in coordinates.items()}
    for moved in MOVED * 0.5 ** np.arange(TRIES):
        # a bounded parameter moves in its coordinate, a logarithm or logit, another one by a part of its size
        free = {k: repr(system.coordinate[k]) == "Free()" for k in coordinates}
        size = {k: (np.sqrt(np.mean(v**2)) or 1.0) if free[k] else 1.0 for k, v in coordinates.items()}
        there = {k: v + moved * size[k] * directions[k] for k, v in coordinates.items()}
        truth = {k: v for k, v in system.natural({**system.coordinates, **there}).items() if k in coordinates}
        try:
            steps = None if xs is not None else LENGTH
            return truth, float(moved), np.asarray(system.simulate(xs, steps=steps, params=truth).outputs, float)
        except NonFiniteError:
            continue
    raise DataError(
        f"the system {name} needs data to learn from, as its own simulation is not finite: --data FILE.csv."
    )
