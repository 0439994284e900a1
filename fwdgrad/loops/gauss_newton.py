"""Gauss–Newton on a record: passes with θ fixed, each of which gives the normal equations, forward in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fwdgrad.loops.base import Loop
from fwdgrad.loops.record import Record
from fwdgrad.step import Carry

__all__ = ["GaussNewton", "Normal"]

PASSES = 15
"""Passes, at most, from one start."""
WIDEST, NARROWEST = 1e3, 1e-6
"""Limits of the deviation that a step is held to, as variances."""
LONGEST = 1.0
"""How far a step moves a coordinate at most, in its unit."""
SETTLED = 1e-4
"""A step that ends the iterations, in units of the coordinates."""
GAIN = 1e-3
"""An improvement of the objective that ends them."""
SAME = 0.05
"""How far, in logarithms, weights may be from the noise that is found."""
LEAST = 1e-6
"""Deviation of the noise, at least, as a part of the deviation of the first targets."""


class Normal(NamedTuple):
    """What a pass with θ fixed has found."""

    objective: float
    """−log of the likelihood, without the part that is the same for all θ, and of the prior."""
    point: np.ndarray
    """Coordinates of θ, shape (p,)."""
    matrix: np.ndarray
    """Information of the data, Σ Ĵᵀ R⁻¹ Ĵ, shape (p, p)."""
    vector: np.ndarray
    """Σ Ĵᵀ R⁻¹ (y − ŷ), shape (p,)."""
    weights: np.ndarray
    """R in these sums, shape (m,)."""
    noise: np.ndarray
    """Variances of the residuals, shape (m,)."""
    carry: Carry
    """At the end of the record: the state, and the exact influence."""


class GaussNewton:
    """Levenberg–Marquardt on the squares of prediction errors of the simulated model, with a Gaussian prior on θ.

        (Σ Ĵᵀ R⁻¹ Ĵ + Λ + λ Id) Δ = Σ Ĵᵀ R⁻¹ (y − ŷ) − Λ (u − u₀)

    λ falls after a step that makes the objective smaller and rises after another, which is not taken. R is what the
    residuals say. Nocedal and Wright 2006, §10.3.

    Args:
        loop: makes the passes: exact influence, with `NormalEquations` as optimizer.
        known: variances R, shape (m,); None if they are learned.
    """

    def __init__(self, loop: Loop, known: np.ndarray | None) -> None:
        self._loop, self._execution, self._known = loop, loop.execution, known
        self._system = loop.execution.system

    def _leaves(self, point: np.ndarray) -> dict[str, np.ndarray]:
        """Coordinates, shape (p,), by leaf."""
        made, place = {}, 0
        for k in self._system.trainable:
            like = self._system.coordinates[k]
            made[k] = point[place : place + like.size].reshape(like.shape).astype(like.dtype)
            place += like.size
        return made

    def influence(self, carry: Carry) -> dict[str, np.ndarray]:
        """The exact influence in full, arrays (n, *leaf shape)."""
        steps = self._execution.steps
        return steps.influence.dense(carry.influence, steps.layout)

    def minimum(
        self, record: Record, start: np.ndarray, centre: np.ndarray, prior: np.ndarray, units: np.ndarray
    ) -> Normal | None:
        """The best point found from a start; None if even that cannot be simulated.

        Args:
            record: the data.
            start: coordinates to begin with, shape (p,).
            centre: the mean u₀ of the prior, shape (p,).
            prior: its standard deviations, shape (p,).
            units: what a coordinate is measured in, shape (p,).
        """
        m = self._execution.steps.informed.outputs  # type: ignore[union-attr]
        noise = self._known if self._known is not None else (0.1 * record.spread(m)) ** 2 + 1e-300
        best = self._weighted(record, self._pass(record, start, centre, prior, noise), centre, prior)
        if best is None:
            return None
        width = 1.0
        for _ in range(PASSES):
            step = self._step(best, centre, prior, width * units**2)
            longest = np.max(np.abs(step) / units) if np.all(np.isfinite(step)) else 0.0
            promised = 0.5 * np.dot(step, best.vector + (centre - best.point) / prior**2)
            if longest < SETTLED or promised < GAIN:
                break
            step = step / max(longest / LONGEST, 1.0)
            made = self._pass(record, best.point + step, centre, prior, best.noise)
            if made is not None and made.objective < best.objective:
                gain, best, width = best.objective - made.objective, made, min(4 * width, WIDEST)
                if gain < GAIN:
                    break
            else:
                width /= 8
                if width < NARROWEST:
                    break
        return self._weighted(record, best, centre, prior)

    def _weighted(self, record: Record, found: Normal | None, centre: np.ndarray, prior: np.ndarray) -> Normal | None:
        """The same point, its sums weighted by the noise that was found there."""
        if found is None or np.all(np.abs(np.log(found.weights / found.noise)) < SAME):
            return found
        return self._pass(record, found.point, centre, prior, found.noise)

    def _step(self, found: Normal, centre: np.ndarray, prior: np.ndarray, width: np.ndarray) -> np.ndarray:
        """The damped step; NaN where the equations have no solution."""
        matrix = found.matrix + np.diag(prior**-2.0 + 1.0 / width)
        vector = found.vector + (centre - found.point) / prior**2
        scale = 1.0 / np.sqrt(np.diag(matrix))
        with np.errstate(all="ignore"):
            try:
                return scale * np.linalg.solve(matrix * scale * scale[:, None], vector * scale)
            except np.linalg.LinAlgError:
                return np.full_like(vector, np.nan)

    def _pass(
        self, record: Record, point: np.ndarray, centre: np.ndarray, prior: np.ndarray, noise: np.ndarray
    ) -> Normal | None:
        """The normal equations at a point; None where the model cannot be simulated."""
        execution, system = self._execution, self._system
        fresh = execution.unpack(execution.initial())
        params = fresh.params | self._leaves(point)
        optimizer = fresh.optimizer._replace(noise=np.asarray(noise, system.dtype))
        carry = record.replayed(self._loop, execution.pack(fresh._replace(params=params, optimizer=optimizer)))
        if carry is None:
            return None
        held = execution.unpack(carry)
        sums = held.optimizer
        counts = np.maximum(np.asarray(sums.counts, float), 1.0)
        floor = (LEAST * record.spread(len(counts))) ** 2 + 1e-300
        residual = np.maximum(np.asarray(sums.squares, float) / counts, floor)
        seen = np.asarray(sums.counts, float)
        if self._known is None:
            found, fit = residual, 0.5 * np.sum(seen * (np.log(residual) + 1.0))
        else:
            found = self._known
            fit = 0.5 * np.sum(seen * np.log(found) + np.asarray(sums.squares, float) / found)
        objective = float(fit + 0.5 * np.sum(((point - centre) / prior) ** 2))
        if not np.isfinite(objective):
            return None
        matrix, vector = np.asarray(sums.matrix, float), np.asarray(sums.vector, float)
        return Normal(objective, point, matrix, vector, np.asarray(noise, float), found, held)
