"""Fits of a record by a `JointFilter`: passes of the filter, and Gauss–Newton on the simulated model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.estimators import RTRL
from fwdgrad.execution import Execution, Flat, execution_for
from fwdgrad.loops.base import Loop
from fwdgrad.loops.gauss_newton import GaussNewton, Normal
from fwdgrad.loops.record import Record
from fwdgrad.optimizers import NormalEquations

__all__ = ["Fitting", "Pass"]

PASSES = 3
"""How often, at most, the filter goes through a record in a row."""
SETTLED = 0.02
"""A change of θ that ends it, in the units of its coordinates."""


class Pass(NamedTuple):
    """What came of going through the record once."""

    surprise: float
    """−log of the likelihood, and of the prior."""
    carry: Flat
    level: tuple[float, float]
    """Deviation of the initial state and of the process noise, as parts of the state."""


class Fitting:
    """Fits a record anew, from its start, as `JointFilter` models it.

    - `filtered`: by the filter, from the parameters it has found before, until these no longer move: it follows the
      data from far;
    - `simulated`: by `GaussNewton` on the model without corrections: what the data say exactly, if the model has no
      noise.

    Args:
        loop: makes the steps of the filter.
        loop_for: makes a loop for an execution without random numbers.
        declared: the coordinates of the declared parameters, the mean of the prior, shape (p,); None: those that the
            loop has now.
    """

    def __init__(self, loop: Loop, loop_for: Callable[[Execution], Loop], declared: np.ndarray | None = None) -> None:
        self.loop, self.execution = loop, loop.execution
        self.declared = self.flat(loop.carry) if declared is None else declared
        self._loop_for = loop_for
        self._filter: Any = loop.execution.steps.informed
        self._options: Any = loop.execution.optimizer
        self._newton: GaussNewton | None = None

    def filtered(self, record: Record, present: Flat, level: tuple[float, float]) -> Pass | None:
        """The best pass of the filter, over the levels of noise."""
        best = self._settled(record, None, present, level)
        for another in self._options.levels:
            if another != level and best is not None:
                other = self._pass(record, best.carry, another)
                if other is not None and other.surprise < best.surprise:
                    best = self._settled(record, other, other.carry, another)
        return best

    def _settled(self, record: Record, best: Pass | None, carry: Flat, level: tuple[float, float]) -> Pass | None:
        """The best of consecutive passes, each from the parameters that the one before has found."""
        for _ in range(PASSES):
            made = self._pass(record, carry, level)
            if made is None:
                break
            if best is None or made.surprise < best.surprise:
                best = made
            moved = np.abs(self.flat(made.carry) - self.flat(carry)) / self._units(made.carry)
            carry = made.carry
            if np.max(moved) < SETTLED:
                break
        return best

    def _pass(self, record: Record, carry: Flat, level: tuple[float, float]) -> Pass | None:
        """Filter the record with the parameters of a carry; None if that fails."""
        execution, bound = self.execution, self._filter
        held, before = execution.unpack(carry), self.flat(carry)
        trained = {k: np.asarray(held.params[k]) for k in execution.system.trainable}
        first = bound.levelled(bound.init(trained), held.optimizer, level, record.spread(bound.outputs))
        made = record.replayed(self.loop, execution.pack(held._replace(optimizer=first)))
        if made is None:
            return None
        # the prior is that of the declared parameters, not of those that the pass began with
        after = execution.unpack(made)
        width = self._options.prior * np.asarray(first.units)
        away = (self.declared - before) / width
        moved = bound.pulled(after.optimizer, away / width)
        h = np.asarray(after.h) + moved[: bound.size]
        params = self._moved(after.params, moved[bound.size :])
        surprise = float(after.optimizer.surprise) + 0.5 * float(np.sum(away**2))
        if not (np.isfinite(surprise) and np.all(np.isfinite(moved))):
            return None
        return Pass(surprise, execution.pack(after._replace(h=h.astype(after.h.dtype), params=params)), level)

    def simulated(self, record: Record, present: Flat, starts: Sequence[np.ndarray]) -> Pass | None:
        """The best that Gauss–Newton finds, from each of some coordinates; None if none of them can be simulated."""
        bound, units = self._filter, np.asarray(self._units(present), float)
        if self._newton is None:
            known = None if bound.learns_noise else np.asarray(bound.first_noise, float)
            execution = execution_for(self.execution.system, RTRL(), NormalEquations(), self.execution.engine)
            self._newton = GaussNewton(self._loop_for(execution), known)
        centre, prior = self.declared.astype(float), self._options.prior * units
        found = [self._newton.minimum(record, start.astype(float), centre, prior, units) for start in starts]
        likely = min((f for f in found if f is not None), key=lambda f: f.objective, default=None)
        if likely is None:
            return None
        return Pass(likely.objective, self._from_simulation(present, likely, prior), self._options.levels[0])

    def _from_simulation(self, present: Flat, found: Normal, prior: np.ndarray) -> Flat:
        """The filter's carry at the end of a simulated record."""
        execution, bound, held = self.execution, self._filter, found.carry
        layout = execution.steps.layout
        G = self._newton.influence(held) if self._newton is not None else {}
        rows = bound.rows({k: np.asarray(v).reshape(layout.size, -1) for k, v in G.items()}, layout.size)
        covariance = np.linalg.inv(found.matrix + np.diag(prior**-2.0))
        mine = execution.unpack(present)
        optimizer = bound.simulated(mine.optimizer, covariance, rows, found.noise, self._options.levels[0], held)
        return execution.pack(mine._replace(h=np.asarray(held.h), params=held.params, optimizer=optimizer))

    # ---- parameters as vectors

    def flat(self, carry: Flat) -> np.ndarray:
        """The coordinates of a carry, shape (p,)."""
        held = self.execution.unpack(carry)
        return np.concatenate([np.ravel(np.asarray(held.params[k])) for k in self.execution.system.trainable])

    def _units(self, carry: Flat) -> np.ndarray:
        return np.asarray(self.execution.unpack(carry).optimizer.units)

    def _moved(self, params: Any, by: np.ndarray) -> dict[str, np.ndarray]:
        made, place = dict(params), 0
        for k in self.execution.system.trainable:
            value = np.asarray(params[k])
            made[k] = (value + by[place : place + value.size].reshape(value.shape)).astype(value.dtype)
            place += value.size
        return made
