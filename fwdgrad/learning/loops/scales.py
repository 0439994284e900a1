"""How far a parameter without bounds may be from where it begins: by the data, where that says little.

The prior of θ = 1 without bounds has the deviation 1, since nothing else is known of its size; a gain of 200, or an
offset of −30, is far out in it, and while the model is poor a little prior outweighs many samples. What a parameter is
worth is seen in what it does: by how much it has to change for outputs to change as much as they are off (a Jacobian as
scale, Moré 1978). So a prior of that width is tried, and kept if the data outweigh what it costs to allow for it, the
logarithm of how many times as wide it is (MacKay, Neural Computation 4, 1992).
"""

from __future__ import annotations

import numpy as np

from fwdgrad.learning.loops.gauss_newton import GaussNewton, Normal
from fwdgrad.learning.loops.record import Record

__all__ = ["widened"]

REACH = 3.0
"""Deviation of a wider prior, in changes that move outputs as much as they are off."""
WIDEST = 1e5
"""How many times as wide a prior becomes at most."""
TIMES = 3
"""How often it is made wider in a row, at most."""
WIDER = 1.5
"""Times as wide as it is worth while to try."""


def widened(
    record: Record,
    newton: GaussNewton,
    found: Normal,
    centre: np.ndarray,
    prior: np.ndarray,
    units: np.ndarray,
    free: np.ndarray,
    passes: int,
    gain: float,
) -> tuple[Normal, np.ndarray]:
    """A minimum of a simulation, or a likelier one that the prior kept from, and what coordinates are measured in then.

    Args:
        record: the samples.
        newton: what has found the minimum.
        found: the minimum.
        centre: the mean of the prior, shape (p,).
        prior: its deviations, shape (p,).
        units: what coordinates are measured in, shape (p,).
        free: which of them may be made wider, shape (p,): those without bounds.
        passes: of Gauss–Newton, at most.
        gain: an improvement that ends them.
    """
    for _ in range(TIMES):
        told = np.diag(found.matrix)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(told > 0, np.sqrt(found.counts.sum() / told), np.inf)
        away = np.abs(found.point - centre)
        times = np.where(free, np.maximum(REACH * reach, 2.0 * away) / units, 1.0)
        times = np.where((times > WIDER) & (times < WIDEST), times, 1.0)
        cost = float(np.sum(np.log(times)))
        if cost == 0.0 or newton.promised(found, centre, times * prior) + cost >= found.objective:
            break
        tried = newton.minimum(record, found.point, centre, times * prior, times * units, passes, gain)
        if tried is None or tried.objective + cost >= found.objective:
            break
        size = np.maximum(np.abs(tried.point), np.abs(tried.point - centre))
        wider = np.where(times > 1.0, np.maximum(units, size), units)
        again = newton.minimum(record, tried.point, centre, prior * wider / units, wider, passes, gain)
        if again is None:
            break
        found, prior, units = again, prior * wider / units, wider
    return found, units
