"""Whether another solution explains a record as well as the best that is known, or better."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fwdgrad.learning.loops.gauss_newton import ENOUGH, LONGEST, GaussNewton, Normal
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.report import entries_of
from fwdgrad.system import System

__all__ = ["TARGETS", "alternatives", "described", "distinct", "exchanged", "labelled", "preferred"]

MOST = 7
"""Parameters up to which each pair of values is exchanged; and labels whose values are."""
TARGETS = 256
"""Targets that solutions are looked for in, at most; what is found is held against all of them."""
FAR = 10.0
"""Deviations to which it is gone along the direction that is known least."""
TRIED = 3
"""Starts of each kind from which a minimum is looked for: those that promise most."""
ROUGH, PASSES = 3, 10
"""Passes from each, at most, before it is given up; and after."""
ADAPTED, HELD = 5, 1e-6
"""Passes in which the rest is fitted to parameters that are exchanged, at most; and by which part of the prior's
deviation these may move meanwhile."""
HOPELESS = 2.5
"""Nats by which a number observed is less likely, where a start leads that is given up: twelve times the noise."""
BACK = 1.0
"""Deviations of every parameter within which a start has come back to the minimum that is known."""
WITHIN = 10.0
"""Nats by which another minimum may be less likely to be kept: with more data it may be the better one,"""
AS_WELL = 2.0
"""and to be told of."""
BETTER = 0.5
"""By how much another one has to be likelier to be taken though it is farther from the start."""
SAME, APART = 0.5, 3.0
"""Deviations of every parameter within which two minima are one; and of some, beyond which another one is told of."""
FLAT = 0.5
"""Part of the prior's variance that is left in some direction, above which a minimum is a valley, not a point."""
LEAST = 1e-3
"""Part of the prior's deviation that counts as one, at least."""
EXCHANGED = 0.1
"""How far, in logarithms, values of two parameters may be from those of one another to count as exchanged."""


def alternatives(
    record: Record, newton: GaussNewton, best: Normal, centre: np.ndarray, prior: np.ndarray, units: np.ndarray
) -> list[Normal]:
    """Other minima of a simulation, nearly as likely as the best or likelier.

    They are looked for in the first samples,

    - where two parameters have the value of one another, and the rest makes up for it. Rates of stages in a row may be
      exchanged, as absorption and elimination of a drug with its volume ("flip-flop"), incubation and recovery of the
      infected with the rate of contacts: the data cannot tell which is which, and what is found depends on the start.
      Where stages are not quite alike, as two tanks one above the other, the data can, but each order has its own
      minimum;
    - where all that belongs to one label has the value of another's: R1 and C1 those of R2 and C2, tau[0] and gain[0]
      those of tau[1] and gain[1]. Units alike may stand in either order;
    - far along the direction that is known least, since rates that are nearly alike lie in one valley with two bottoms.

    None are where the first samples say nothing of some direction: then all of it explains them.

    Args:
        record: the samples.
        newton: what has found the best.
        best: the best minimum.
        centre: the mean of the prior, shape (p,).
        prior: its deviations, shape (p,).
        units: what coordinates are measured in, shape (p,).
    """
    places = np.flatnonzero(record.observed)[:TARGETS]
    part = record.head(int(places[-1]) + 1)
    here = best if len(part) == len(record) else newton.minimum(part, best.point, centre, prior, units, PASSES, ENOUGH)
    if here is None or np.linalg.eigvalsh(here.covariance(prior) / prior / prior[:, None])[-1] > FLAT:
        return []
    swapped = _promising(part, newton, _exchanged(newton, best.point), centre, prior)
    made_up = [
        made for start in swapped if (made := _made_up(part, newton, best.point, start.point, prior, units)) is not None
    ]
    tried = [
        *swapped,
        *_promising(part, newton, made_up, centre, prior),
        *_promising(part, newton, _relabelled(newton.system, best.point), centre, prior),
        *_promising(part, newton, _along(here, prior, units), centre, prior),
    ]
    given = centre, prior, units
    known = [found for one in tried if (found := _searched(part, newton, one, here, given)) is not None]
    known = distinct(here, known, prior)
    whole = [newton.minimum(record, other.point, centre, prior, units, PASSES) for other in known]
    return distinct(best, [other for other in whole if other is not None], prior)


def _promising(
    record: Record, newton: GaussNewton, starts: Sequence[np.ndarray], centre: np.ndarray, prior: np.ndarray
) -> list[Normal]:
    """Those of some starts from which the least objective is promised."""
    begun = [made for start in starts if (made := newton.begun(record, start, centre, prior)) is not None]
    return sorted(begun, key=lambda made: newton.promised(made, centre, prior))[:TRIED]


def _made_up(
    record: Record, newton: GaussNewton, point: np.ndarray, start: np.ndarray, prior: np.ndarray, units: np.ndarray
) -> np.ndarray | None:
    """A start at which all but what was exchanged has been fitted to the exchange; None if there is nothing else."""
    held = start != point
    if np.all(held):
        return None
    found = newton.minimum(record, start, start, np.where(held, HELD, 1.0) * prior, units, ADAPTED, ENOUGH)
    return None if found is None else found.point


def _searched(
    record: Record, newton: GaussNewton, begun: Normal, here: Normal, given: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Normal | None:
    """The minimum that is found from a point, unless it is the known one or less likely by far."""
    centre, prior, units = given
    hopeless = here.objective + HOPELESS * here.counts.sum()
    deviation, found = np.sqrt(np.diag(here.covariance(prior))), begun
    for passes in (ROUGH, PASSES):
        if newton.promised(found, centre, prior) > hopeless or _apart(found, here, deviation) < BACK:
            return None
        better = newton.improved(record, found, centre, prior, units, passes, ENOUGH)
        if better is None:
            return None
        found = better
    return found


def distinct(best: Normal, others: Sequence[Normal], prior: np.ndarray) -> list[Normal]:
    """Those that are other minima than the best, and one another, and not far less likely; the likeliest first."""
    deviation = np.sqrt(np.diag(best.covariance(prior)))
    made: list[Normal] = []
    for other in sorted(others, key=lambda found: found.objective):
        likely = other.objective <= best.objective + WITHIN
        if likely and all(_apart(other, one, deviation) > SAME for one in (best, *made)):
            made.append(other)
    return made


def preferred(
    best: Normal, others: Sequence[Normal], centre: np.ndarray, prior: np.ndarray
) -> tuple[Normal, list[Normal]]:
    """The one to be taken, and those of the rest that explain the record as well and are far from it.

    The prior, about where the search began, chooses between them; the data alone say which explain it as well.
    """
    least = min([best, *others], key=lambda found: found.objective)
    if least.objective < best.objective - BETTER:
        best, others = least, [best, *(other for other in others if other is not least)]
    deviation = np.sqrt(np.diag(best.covariance(prior)))

    def by_data(found: Normal) -> float:
        return found.objective - 0.5 * float(np.sum(((found.point - centre) / prior) ** 2))

    as_well = [other for other in distinct(best, others, prior) if by_data(other) <= by_data(best) + AS_WELL]
    floor = np.maximum(deviation, LEAST * prior)  # residuals of rounding make no other solution
    return best, [other for other in as_well if _apart(other, best, floor) > APART]


def exchanged(system: System, one: np.ndarray, other: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Which pairs of parameters have the values of one another in another solution, by coordinates, shape (p,)."""
    values = [np.concatenate([np.ravel(v) for v in _natural(system, point).values()]) for point in (one, other)]
    made = []
    for i, j in combinations(range(len(one)), 2):
        a, b, c, d = values[0][i], values[1][j], values[0][j], values[1][i]
        alike = a * b > 0 and c * d > 0 and max(abs(np.log(a / b)), abs(np.log(c / d))) < EXCHANGED
        if alike and (a * c < 0 or abs(np.log(a / c)) > 3 * EXCHANGED):
            made.append((i, j))
    return tuple(made)


def described(system: System, points: Sequence[np.ndarray]) -> list[str]:
    """A sentence for each other solution, by its coordinates."""
    made = []
    for point in points:
        shown = ", ".join(f"{k} = {np.array2string(v, precision=4)}" for k, v in _natural(system, point).items())
        made.append(f"another solution explains the data as well: {shown} (bounds, or a start near it, choose it)")
    return made


def _natural(system: System, point: np.ndarray) -> dict[str, np.ndarray]:
    """Values by leaf, from coordinates, shape (p,)."""
    return {k: np.asarray(system.coordinate[k].natural(v)) for k, v in system.leaves_at(point).items()}


def _exchanged(newton: GaussNewton, point: np.ndarray) -> list[np.ndarray]:
    """Coordinates with the values of two parameters exchanged, where both may have the other's and that matters."""
    pairs = combinations(range(len(point)), 2) if len(point) <= MOST else ()
    made = [_with_values_of(newton.system, point, [pair]) for pair in pairs]
    return [start for start in made if start is not None]


def _relabelled(system: System, point: np.ndarray) -> list[np.ndarray]:
    """Coordinates with the values of two labels exchanged, where several parameters have each; see `labelled`."""
    names = [name for name, *_ in entries_of(system)]
    stems: dict[str, dict[str, int]] = {}
    for place, name in enumerate(names):
        stem, label = labelled(name)
        if label:
            stems.setdefault(label, {})[stem] = place
    made = []
    for one, other in combinations(list(stems.values())[:MOST], 2):
        pairs = [(one[stem], other[stem]) for stem in one if stem in other]
        start = _with_values_of(system, point, pairs) if len(pairs) > 1 else None
        made += [] if start is None else [start]
    return made


def labelled(name: str) -> tuple[str, str]:
    """A name without the label that says which of several alike it belongs to, and that label; "" if it has none.

    Example:
        >>> labelled("R1"), labelled("k_fast"), labelled("tau[2]"), labelled("rate")
        (('R', '1'), ('k', 'fast'), ('tau', '2'), ('rate', ''))
    """
    found = re.fullmatch(r"(.*?\w)(?:\[([\d, ]+)\]|_([^\W_]+)|(\d+))", name)
    return (name, "") if found is None else (found[1], found[2] or found[3] or found[4])


def _with_values_of(system: System, point: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """Coordinates with values exchanged; None where a parameter may not have the other's, or it is nearly its own."""
    held = [system.coordinate[k] for k in system.trainable for _ in range(system.coordinates[k].size)]
    start = point.copy()
    with np.errstate(all="ignore"):
        for i, j in pairs:
            start[i] = held[i].learned(np.asarray(held[j].natural(point[j])))
            start[j] = held[j].learned(np.asarray(held[i].natural(point[i])))
    nearly = np.allclose(start, point, rtol=0.05, atol=0.05)
    return None if nearly or not np.all(np.isfinite(start)) else start


def _along(here: Normal, prior: np.ndarray, units: np.ndarray) -> list[np.ndarray]:
    """Points on both sides along the direction that is known least."""
    sizes, vectors = np.linalg.eigh(here.covariance(prior) / units / units[:, None])
    away = min(FAR * np.sqrt(sizes[-1]), LONGEST / np.max(np.abs(vectors[:, -1]))) * units * vectors[:, -1]
    return [here.point + away, here.point - away]


def _apart(one: Normal, other: Normal, deviation: np.ndarray) -> float:
    """By how many deviations, shape (p,), of some parameter two minima differ."""
    return float(np.max(np.abs(one.point - other.point) / deviation))
