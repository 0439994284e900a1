"""Whether a record begins in another state than the declared one.

A model that starts in the wrong place has residuals as if its equations were wrong: a filter takes noise in the state,
a simulation other parameters. So where residuals speak against a simulation, it is fitted once more with an initial
state that is learned beside the parameters; where that explains the record likelier by far, and leaves residuals that
are white, the equations are right and the start is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import chdtri

from fwdgrad.engines.registry import NUMPY
from fwdgrad.errors import FwdgradError
from fwdgrad.estimators import RTRL
from fwdgrad.learning.execution import Execution, execution_for
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.loops.deviations import longest_memory, normalised, quiet
from fwdgrad.learning.loops.gauss_newton import ENOUGH, GaussNewton, Normal
from fwdgrad.learning.loops.lacking import at, numbered, ran_through
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.tails import far_off
from fwdgrad.optimizers import NormalEquations
from fwdgrad.panels import PanelSystem
from fwdgrad.system import System
from fwdgrad.system.parameters import Parameter

__all__ = ["Beginning", "elsewhere"]

MOST = 256
"""First targets that are looked at, at most."""
EARLY, CHANCE = 8, 1e-4
"""First targets whose residuals show a wrong start, and the probability with which those of a right one are doubted."""
MATTERS = 12.0
"""Nats by which the record has to be likelier with another start."""
FAR = 4.0
"""Deviations by which it has to be another one."""
PASSES = 15
"""Of Gauss–Newton from each start, at most."""
WIDE = 10.0
"""Deviation of what is not known of the start, in sizes of the state."""
START = "the start"
"""Name of the parameter that it is: none that could be another one's in a formula."""
SHOWN = 4
"""State variables that are named."""


class Beginning(NamedTuple):
    """A start that explains a record."""

    moved: np.ndarray
    """How far each coordinate of θ is from where it would be with that start, shape (p,)."""
    gain: float
    """Nats by which the record is likelier."""
    text: str
    """In words."""

    def __str__(self) -> str:
        return self.text


def elsewhere(
    record: Record,
    newton: GaussNewton,
    found: Normal,
    points: Sequence[np.ndarray],
    prior: np.ndarray,
    loop_for: Callable[[Execution], Loop],
) -> Beginning | None:
    """The start that the record asks for, if the declared one is wrong, and nothing else.

    Args:
        record: the samples.
        newton: what has found the minimum.
        found: the minimum of a simulation.
        points: coordinates of θ to search from, shape (p,); how far they are off is asked of the first.
        prior: deviations of the prior, shape (p,).
        loop_for: makes a loop for an execution without random numbers.

    Cost: a pass through the first `MOST` targets; some dozens more, as plain NumPy calls, where residuals are doubted.
    """
    system = newton.system
    known = system.init is None and not any(start.given for start in record.starts)
    own = known and not system.corrects and not isinstance(system, PanelSystem) and system.past is None
    places = np.flatnonzero(record.observed)[:MOST]
    if not own or not hasattr(system.loss, "weight") or len(places) <= len(prior) + system.size + EARLY:
        return None
    record = record.head(int(places[-1]) + 1)
    targets = record.targets(len(found.noise))
    outputs = newton.predictions(record, found.point)
    starts = [start.place for start in record.starts]
    doubted = outputs is not None and _doubted(normalised(system.loss, targets, outputs, found.noise), starts)
    if not doubted or np.any(quiet(targets, found.noise)):
        return None
    here = newton.minimum(record, found.point, found.point, prior, prior, PASSES, ENOUGH)
    if here is None:
        return None
    try:
        states = ran_through(at(system, found.point), record)[0]
        freed = _freed(system)
        noise = found.noise if not newton.learned else None
        search = GaussNewton(loop_for(execution_for(freed, RTRL(), NormalEquations(), NUMPY.name)), noise)
    except FwdgradError:
        return None
    begun = np.ravel(system.initial).astype(float)
    size = np.maximum(np.max(np.abs(states), axis=0), np.abs(begun))
    size = np.where(size > 0, size, max(float(np.max(size)), 1.0))
    units, wide = np.concatenate([prior, size]), np.concatenate([prior, WIDE * size])
    made, p, centre = [], len(prior), np.concatenate([found.point, begun])
    for point in points:
        there = search.begun(record, np.concatenate([point, begun]), centre, wide)
        if there is not None:  # with these parameters first, of which the start is often nearly linear
            by = np.linalg.solve(there.matrix[p:, p:] + np.diag(wide[p:] ** -2.0), there.vector[p:])
            start = np.concatenate([point, begun + by])
            made.append(search.minimum(record, start, centre, wide, units, PASSES, ENOUGH))
    best = min((one for one in made if one is not None), key=lambda one: one.objective, default=None)
    if best is None or here.objective - best.objective < MATTERS:
        return None
    after = search.predictions(record, best.point)
    if after is None:
        return None
    z = normalised(system.loss, targets, after, best.noise)
    if longest_memory(z, starts) > 1.0 or far_off(z):  # a start may be bent to a few of these
        return None
    deviations = np.sqrt(np.diag(best.covariance(wide)))[p:]
    far = np.abs(best.point[p:] - begun) / deviations
    if np.max(far) < FAR:
        return None
    return Beginning(
        np.abs(best.point[:p] - points[0]),
        here.objective - best.objective,
        _told(numbered(system.state, "h"), begun, best.point[p:], deviations, far),
    )


def _told(names: list[str], declared: np.ndarray, found: np.ndarray, deviations: np.ndarray, far: np.ndarray) -> str:
    """In words, with what mends it; the surest first."""
    order = [k for k in np.argsort(-far) if far[k] >= FAR][:SHOWN]
    shown = ", ".join(f"{names[k]} = {found[k]:.4g} ± {deviations[k]:.2g} in place of {declared[k]:.4g}" for k in order)
    return (
        f"the data begin in another state than the declared one: {shown} (declare that, make the initial state a "
        "function of parameters, or begin with reset_state(…))"
    )


def _doubted(z: np.ndarray, starts: Sequence[int]) -> bool:
    """Whether normalised residuals remember one another, or the first ones are larger than others."""
    for column in z.T:
        early = column[np.isfinite(column)][:EARLY]
        if np.sum(early**2) > chdtri(max(len(early), 1), CHANCE):
            return True
    return longest_memory(z, starts) > 1.0


def _freed(system: System) -> System:
    """The same equations with an initial state that is learned beside θ."""

    def begun(theta: Any) -> Any:
        return system.unpack(theta[START])

    names = tuple(system.params)

    def F(h: Any, x: Any, theta: Any) -> Any:
        return system.F(h, x, {k: theta[k] for k in names})

    def Y(h: Any, x: Any, theta: Any) -> Any:
        return system.observed(system.pack(h), x, {k: theta[k] for k in names})

    params = system.declared | {START: Parameter(np.array(np.ravel(system.initial), system.dtype))}
    first = {} if isinstance(system.dt, str) else {"first": system.first}
    return system.replace(F=F, Y=Y, state=begun, params=params, **first)
