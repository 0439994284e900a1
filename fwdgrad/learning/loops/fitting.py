"""Fits of a record by a `JointFilter`: passes of the filter, and Gauss–Newton on the simulated model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.estimators import RTRL
from fwdgrad.learning.execution import Execution, execution_for
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.loops.beginnings import Beginning, elsewhere
from fwdgrad.learning.loops.deviations import normalised
from fwdgrad.learning.loops.gauss_newton import PASSES as STEPS
from fwdgrad.learning.loops.gauss_newton import GaussNewton, Normal
from fwdgrad.learning.loops.lateness import Late, beside
from fwdgrad.learning.loops.minima import alternatives, distinct, preferred
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.loops.scales import widened
from fwdgrad.optimizers import NormalEquations
from fwdgrad.support.trees import parted
from fwdgrad.support.types import Flat

__all__ = ["Fitting", "Pass"]

PASSES = 3
"""How often, at most, the filter goes through a record in a row."""
SETTLED = 0.02
"""A change of θ that ends it, in the units of its coordinates."""


Level = tuple[float, Any]
"""Deviations, as parts of the state: of the initial state, and of process noise, one number or one a variable."""


class Pass(NamedTuple):
    """What came of going through the record once."""

    surprise: float
    """−log of the likelihood, and of the prior."""
    carry: Flat
    level: Level


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
        newton: for the same system; None: one on the same engine.
        told: called after every pass with the number of samples.

    Attributes:
        filter: the bound `JointFilter`.
        declared: as given.
    """

    def __init__(
        self,
        loop: Loop,
        loop_for: Callable[[Execution], Loop],
        declared: np.ndarray | None = None,
        *,
        newton: GaussNewton | None = None,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self.loop, self.execution = loop, loop.execution
        self.declared = self.flat(loop.carry) if declared is None else declared
        self._loop_for, self._newton, self._told = loop_for, newton, told
        self.filter: Any = loop.execution.steps.informed
        self._options: Any = loop.execution.optimizer
        system = self.execution.system
        self._free = np.concatenate(
            [np.full(system.coordinates[k].size, not system.coordinate[k].bounded) for k in system.trainable]
        )
        self._least = np.zeros(len(self._free))

    def use(self, loop: Loop) -> None:
        """Make the passes with another loop, for the same steps on another engine."""
        self.loop, self.execution, self.filter = loop, loop.execution, loop.execution.steps.informed

    @property
    def levels(self) -> tuple[Level, ...]:
        """Noises of initial state and state that are tried, as in `Pass`."""
        return self._options.levels

    @property
    def learns_level(self) -> tuple[bool, bool]:
        """Which of the two is learned."""
        return self._options.initial_std == "learned", self._options.process_noise == "learned"

    def filtered(self, record: Record, present: Flat, level: Level) -> Pass | None:
        """The best pass of the filter, over the levels of noise."""
        best = self.settled(record, None, present, level)
        for another in self.levels:
            if another != level and best is not None:
                other = self._pass(record, best.carry, another)
                if other is not None and other.surprise < best.surprise:
                    best = self.settled(record, other, other.carry, another)
        return best

    def settled(self, record: Record, best: Pass | None, carry: Flat, level: Level) -> Pass | None:
        """`best`, or the best of consecutive passes, each from the parameters that the one before has found."""
        for _ in range(PASSES):
            made = self._pass(record, carry, level)
            if made is None:
                break
            if best is None or made.surprise < best.surprise:
                best = made
            moved = np.abs(self.flat(made.carry) - self.flat(carry)) / self.units(made.carry)
            carry = made.carry
            if np.max(moved) < SETTLED:
                break
        return best

    def _pass(self, record: Record, carry: Flat, level: Level, noise: np.ndarray | None = None) -> Pass | None:
        """Filter the record with the parameters of a carry; None if that fails."""
        execution, bound = self.execution, self.filter
        held, before = execution.unpack(carry), self.flat(carry)
        trained = {k: np.asarray(held.params[k]) for k in execution.system.trainable}
        known = held.optimizer._replace(units=self.units(carry).astype(held.optimizer.units.dtype))
        first = bound.levelled(bound.init(trained), known, level, record.spread(bound.outputs))
        if noise is not None:
            dtype = first.noise.dtype
            first = first._replace(noise=np.asarray(noise, dtype), open=np.zeros((), dtype))
        made = record.replayed(self.loop, execution.pack(held._replace(optimizer=first)))
        if self._told is not None:
            self._told(len(record))
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
        optimizer = after.optimizer._replace(open=np.ones_like(after.optimizer.open))
        ended = after._replace(h=h.astype(after.h.dtype), params=params, optimizer=optimizer)
        return Pass(surprise, execution.pack(ended), level)

    def simulated(self, record: Record, present: Flat, starts: Sequence[np.ndarray], gain: float) -> list[Normal]:
        """The minima that Gauss–Newton finds from some coordinates, the likeliest first; `gain` ends each search."""
        centre, prior, units = self._given(present)
        made = [self.newton.minimum(record, s.astype(float), centre, prior, units, gain=gain) for s in starts]
        found = sorted((one for one in made if one is not None), key=lambda one: one.objective)
        if found and self._free.any():
            best, wider = widened(record, self.newton, found[0], centre, prior, units, self._free, STEPS, gain)
            if np.any(wider > units):
                self._least = wider
                return [best]
        return [*found[:1], *distinct(found[0], found[1:], prior)] if found else []

    def begun(self, record: Record, present: Flat) -> Normal | None:
        """The simulation with the declared coordinates; None if it cannot be made."""
        centre, prior, _ = self._given(present)
        return self.newton.begun(record, centre, centre, prior)

    def others(self, record: Record, present: Flat, best: Normal) -> list[Normal]:
        """Other minima of the simulation that are nearly as likely, or likelier."""
        return alternatives(record, self.newton, best, *self._given(present))

    def preferred(self, present: Flat, best: Normal, others: Sequence[Normal]) -> tuple[Normal, list[Normal]]:
        """The minimum to be taken, and those that explain the record as well."""
        return preferred(best, others, *self._given(present)[:2])

    def late(self, record: Record, present: Flat, found: Normal, deviations: np.ndarray) -> Late | None:
        """By how many rows targets stand beside their inputs, by a minimum of the simulation; None if by none."""
        outputs = self.newton.predictions(record, found.point)
        if outputs is None:
            return None
        z = normalised(self.execution.system.loss, record.targets(outputs.shape[1]), outputs, found.noise)
        return beside(record, self.newton, found, deviations, self._given(present)[1], z)

    def elsewhere(self, record: Record, present: Flat, found: Normal, points: Sequence[np.ndarray]) -> Beginning | None:
        """The start that the record asks for in place of the declared one; None if it is right, or more is wrong."""
        return elsewhere(record, self.newton, found, points, self._given(present)[1], self._loop_for)

    def passed(self, present: Flat, found: Normal) -> Pass:
        """A minimum of the simulation as something to go on from with the filter."""
        level, (_, prior, _) = self.levels[0], self._given(present)
        return Pass(found.objective, self.carried(present, found, found.covariance(prior), level), level)

    def _given(self, present: Flat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and deviations of the prior, and the units of the coordinates, each of shape (p,)."""
        units = np.asarray(self.units(present), float)
        return self.declared.astype(float), self._options.prior * units, units

    @property
    def newton(self) -> GaussNewton:
        """Gauss–Newton for the same system."""
        if self._newton is None:
            known = None if self.filter.learns_noise else np.asarray(self.filter.first_noise, float)
            execution = execution_for(self.execution.system, RTRL(), NormalEquations(), self.execution.engine)
            self._newton = GaussNewton(self._loop_for(execution), known)
        return self._newton

    def carried(self, present: Flat, found: Normal, covariance: np.ndarray, level: Level) -> Flat:
        """The filter's carry at the end of a simulated record.

        Args:
            present: a carry of the filter.
            found: the end of the simulation.
            covariance: of its coordinates, shape (p, p).
            level: noise to go on with, as in `Pass`.
        """
        execution, bound, held = self.execution, self.filter, found.carry
        layout = execution.steps.layout
        G = self.newton.influence(held)
        rows = bound.rows({k: np.asarray(v).reshape(layout.size, -1) for k, v in G.items()}, layout.size)
        mine = execution.unpack(present)
        known = mine.optimizer._replace(units=self.units(present).astype(mine.optimizer.units.dtype))
        optimizer = bound.simulated(known, covariance, rows, found.noise, level, held)
        return execution.pack(mine._replace(h=np.asarray(held.h), params=held.params, optimizer=optimizer))

    # ---- carries to go through a record with

    def at(self, carry: Flat, point: np.ndarray) -> Flat:
        """A carry with other coordinates."""
        held = self.execution.unpack(carry)
        return self.execution.pack(held._replace(params=self._moved(held.params, point - self.flat(carry))))

    def once(self, record: Record, carry: Flat, level: Level, noise: np.ndarray) -> Pass | None:
        """One pass of the filter with a noise that is known, from the parameters of a carry; None if it fails.

        Args:
            record: the samples.
            carry: a carry of the filter.
            level: as in `Pass`.
            noise: variances R, shape (m,).
        """
        return self._pass(record, carry, level, noise)

    def certain(self, carry: Flat) -> Flat:
        """A carry with parameters, and noise, that are known: nothing is learned of them."""
        held = self.execution.unpack(carry)
        nothing = np.zeros_like(held.optimizer.root), np.zeros_like(held.optimizer.surprise)
        watch = self.filter.watch.init({}, {})
        optimizer = held.optimizer._replace(root=nothing[0], surprise=nothing[1], watch=watch, open=nothing[1])
        return self.execution.pack(held._replace(optimizer=optimizer))

    # ---- parameters as vectors

    def flat(self, carry: Flat) -> np.ndarray:
        """The coordinates of a carry, shape (p,)."""
        held = self.execution.unpack(carry)
        return np.concatenate([np.ravel(np.asarray(held.params[k])) for k in self.execution.system.trainable])

    def units(self, carry: Flat) -> np.ndarray:
        """What its coordinates are measured in, shape (p,)."""
        return np.maximum(np.asarray(self.execution.unpack(carry).optimizer.units), self._least)

    def _moved(self, params: Any, by: np.ndarray) -> dict[str, np.ndarray]:
        values = {k: np.asarray(params[k]) for k in self.execution.system.trainable}
        return dict(params) | {k: (values[k] + v).astype(values[k].dtype) for k, v in parted(by, values).items()}
