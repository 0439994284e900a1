"""From where scoring has arrived to the minimum itself, by quasi-Newton steps."""

from __future__ import annotations

import numpy as np

from fwdgrad.learning.loops.gauss_newton import LONGEST, GaussNewton, Normal
from fwdgrad.learning.loops.record import Record

__all__ = ["polished"]

PASSES = 20
"""Passes, at most."""
PROMISED = 1e-9
"""Nats that a step has to promise."""


def polished(
    newton: GaussNewton, record: Record, found: Normal, centre: np.ndarray, prior: np.ndarray, units: np.ndarray
) -> Normal:
    """The minimum near a point that scoring has found.

    Scoring takes the Fisher matrix for the Hessian matrix. Of a likelihood whose covariance is learned that is another
    one, whatever the data, and scoring comes nearer by a constant factor with each pass. So the matrix is corrected by
    what gradients have changed by (BFGS; Nocedal and Wright 2006, §6.1): in its inverse H, for a step s that changed
    the gradient by y, H ← (1 − s yᵀ/sᵀy) H (1 − y sᵀ/sᵀy) + s sᵀ/sᵀy.

    Args:
        newton: makes the passes.
        record: the data.
        found: the point.
        centre: the mean of the prior, shape (p,).
        prior: its standard deviations, shape (p,).
        units: what a coordinate is measured in, shape (p,).
    """
    best = newton.begun(record, found.point, centre, prior)
    if best is None:
        return found

    def slope(at: Normal) -> np.ndarray:
        return (at.point - centre) / prior**2 - at.vector

    inverse, part = best.covariance(prior), 1.0
    for _ in range(PASSES):
        step = -inverse @ slope(best)
        if not np.all(np.isfinite(step)) or -0.5 * float(step @ slope(best)) < PROMISED:
            break
        step = part * step / max(np.max(np.abs(step) / units) / LONGEST, 1.0)
        made = newton.begun(record, best.point + step, centre, prior)
        if made is None or made.objective >= best.objective:
            part *= 0.25
            continue
        change, part = slope(made) - slope(best), 1.0
        curved = float(step @ change)
        if curved > 0.0:
            left = np.eye(len(step)) - np.outer(step, change) / curved
            inverse = left @ inverse @ left.T + np.outer(step, step) / curved
        best = made
    return best
