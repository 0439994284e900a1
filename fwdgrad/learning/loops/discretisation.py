"""Whether the steps of an integrator are too long for what is learned: the same simulation with finer ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fwdgrad.errors import StepError
from fwdgrad.learning.loops.record import Record
from fwdgrad.support.trees import unflatten
from fwdgrad.system import System

__all__ = ["coarse_steps", "discretisation_error"]

FINER = 4
"""Times as many substeps."""
COARSE, NEGLIGIBLE = 0.1, 1e-5
"""Change of outputs from which it is told of: in parts of the residuals, and of the outputs' deviation."""


def coarse_steps(
    system: System, record: Record, params: Mapping[str, Any], residual: np.ndarray, outputs: np.ndarray | None = None
) -> str:
    """What is said of steps that are too long; nothing if they are not, or in discrete time.

    Args:
        system: the declared system.
        record: the samples.
        params: θ as F and Y see it.
        residual: root mean square of the residuals of each output, or the deviation of its noise, shape (m,); NaN
            where there are none.
        outputs: those with the steps as they are, (T, m), if they are known.
    """
    error = discretisation_error(system, record, params, outputs)
    if error is None:
        return ""
    targets = record.targets(len(residual))
    size = np.sqrt(np.mean(np.square(error), axis=0))
    spread = np.array([np.std(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in targets.T])
    least = np.maximum(COARSE * residual, NEGLIGIBLE * spread)
    known = np.isfinite(residual) & np.isfinite(targets).any(axis=0)
    if not np.any(~(size <= least) & known):
        return ""
    residual = np.where(known, residual, 0.0)
    parts = np.where(residual > 0, size / np.where(residual > 0, residual, 1.0), np.inf)
    part = float(np.nanmax(parts[known]))
    method = str(system.method) + (f", {system.substeps} substeps" if system.substeps > 1 else "")
    how_far = f"change by {part:.2g} times the residuals" if np.isfinite(part) else "change"
    return (
        f"integration steps are too long ({method}): with {FINER} times as many, outputs {how_far}, and parameters are "
        "biased (method=, substeps=)"
    )


def discretisation_error(
    system: System, record: Record, params: Mapping[str, Any], outputs: np.ndarray | None = None
) -> np.ndarray | None:
    """How much outputs change with `FINER` times as many substeps, shape (T, m); NaN where the finer run cannot go on.

    None for a map in discrete time, or with injection. By Richardson's argument a method of order q has then
    (4^q − 1)/4^q of its error left out of it: three quarters for Euler's, nearly all for others. Cost: four passes of
    the model as plain NumPy calls, and one more unless its outputs are known.
    """
    if system.dt is None or system.corrects:
        return None
    finer = system.replace(substeps=FINER * system.substeps)
    made = []
    for start, chunk in record.trajectories():
        count = len(chunk.observed)
        xs = None if system.x is None else unflatten(system.x, chunk.x)
        state = system.unpack(start.state) if start.given else None

        def run(one: System, xs: Any = xs, count: int = count, state: Any = state) -> np.ndarray:
            made = one.simulate(xs, steps=None if xs is not None else count, params=params, state=state).outputs
            return np.reshape(made, (count, -1))

        try:
            coarse = run(system) if outputs is None else outputs[start.place : start.place + count]
            made.append(run(finer) - coarse)
        except StepError:
            made.append(np.full((count, int(np.prod(np.shape(system.prediction), dtype=int))), np.nan))
    return np.concatenate(made)
