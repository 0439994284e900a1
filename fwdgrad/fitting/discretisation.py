"""How far the steps of an integrator bias a fit: the same simulation with finer ones."""

from __future__ import annotations

import numpy as np

from fwdgrad.errors import StepError
from fwdgrad.loops import Record
from fwdgrad.system import System
from fwdgrad.trees import unflatten

__all__ = ["FINER", "discretisation_error"]

FINER = 4
"""Times as many substeps."""


def discretisation_error(system: System, record: Record, params: dict[str, np.ndarray]) -> np.ndarray | None:
    """How much outputs change with `FINER` times as many substeps, shape (T, m); NaN where the finer run cannot go on.

    None for a map in discrete time. By Richardson's argument a method of order q has then (4^q − 1)/4^q of its error
    left out of it: three quarters for Euler's, nearly all for others.
    """
    if system.dt is None or system.injection is not None:
        return None
    finer = system.replace(substeps=FINER * system.substeps)
    made = []
    for start, chunk in record.trajectories():
        count = len(chunk.observed)
        xs = None if system.x is None else unflatten(system.x, chunk.x)
        state = system.unpack(start.state) if start.given else None
        try:
            coarse, fine = (
                s.simulate(xs, steps=None if xs is not None else count, params=params, state=state).outputs
                for s in (system, finer)
            )
            made.append(np.reshape(fine - coarse, (count, -1)))
        except StepError:
            made.append(np.full((count, int(np.prod(np.shape(system.prediction), dtype=int))), np.nan))
    return np.concatenate(made)
