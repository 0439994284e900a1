"""Whether another solution explains a record as well: that with two parameters in each other's place."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from fwdgrad.loops import GaussNewton, Normal, Record
from fwdgrad.system import System

__all__ = ["exchanged"]

MOST = 4
"""Parameters, at most: each pair is tried."""
TARGETS = 64
"""Targets that solutions are looked for in, at most; what is found is held against all of them."""
PASSES = 10
"""Passes from each start, at most."""
AS_WELL = 2.0
"""Nats by which another solution may be less likely."""
APART = 5.0
"""Deviations of some parameter that it is away, at least."""


def exchanged(
    system: System, record: Record, newton: GaussNewton, best: Normal, prior: np.ndarray, units: np.ndarray
) -> list[Normal]:
    """Other minima of a simulation, as likely as the best or likelier, found from exchanged pairs of values.

    Rates of stages in a row may be exchanged if the rest makes up for it, as absorption and elimination of a drug with
    its volume ("flip-flop"): the data cannot tell which is which, and what is found depends on the start.

    Args:
        system: the declared system.
        record: the samples.
        newton: what has found the best.
        best: the best minimum.
        prior: deviations of the prior, shape (p,).
        units: what coordinates are measured in, shape (p,).
    """
    held = [system.coordinate[k] for k in system.trainable for _ in range(system.coordinates[k].size)]
    if not 2 <= len(held) <= MOST:
        return []
    places = np.flatnonzero(record.observed)[:TARGETS]
    part, centre = record.head(int(places[-1]) + 1), best.point
    here = newton.minimum(part, best.point, centre, prior, units, PASSES)
    width = np.sqrt(np.diag(np.linalg.pinv(best.matrix + np.diag(prior**-2.0))))
    found: list[Normal] = []
    for i, j in combinations(range(len(held)), 2):
        start = best.point.copy()
        with np.errstate(all="ignore"):
            start[i], start[j] = (
                held[i].learned(np.asarray(held[j].natural(best.point[j]))),
                held[j].learned(np.asarray(held[i].natural(best.point[i]))),
            )
        if here is None or not np.all(np.isfinite(start)) or np.allclose(start, best.point, rtol=0.05, atol=0.05):
            continue
        other = newton.minimum(part, start, centre, prior, units, PASSES)
        if other is None or other.objective > here.objective + AS_WELL:
            continue
        whole = newton.minimum(record, other.point, centre, prior, units, PASSES)
        if whole is None or whole.objective > best.objective + AS_WELL:
            continue
        if all(np.max(np.abs(whole.point - known.point) / width) > APART for known in (best, *found)):
            found.append(whole)
    return found
