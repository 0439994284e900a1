"""Gauss–Newton on a record: passes with θ fixed, each of which gives the normal equations, forward in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import StepError
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.loops.record import Record
from fwdgrad.learning.step import Carry
from fwdgrad.losses import SquaredError
from fwdgrad.panels import PanelSystem
from fwdgrad.support.types import Flat

__all__ = ["ENOUGH", "GAIN", "LONGEST", "PASSES", "GaussNewton", "Normal"]

PASSES = 15
"""Passes from one start, at most, unless more are asked for."""
WIDEST, NARROWEST = 1e3, 1e-6
"""Limits of the deviation that a step is held to, as variances."""
LONGEST = 1.0
"""How far a step moves a coordinate at most, in its unit."""
SETTLED = 1e-12
"""A step that ends the iterations, in units of the coordinates: rounding."""
GAIN, ENOUGH = 1e-5, 1e-2
"""An improvement of the objective that ends them; and that on the way to somewhere else."""
STALLED = 3
"""Steps in a row, of those taken, without such an improvement that end them too."""
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
    """Information of the data, Σ Ĵᵀ W Ĵ, shape (p, p)."""
    vector: np.ndarray
    """−Σ Ĵᵀ ∂ℓ/∂ŷ, shape (p,)."""
    weights: np.ndarray
    """R in these sums, shape (m,)."""
    noise: np.ndarray
    """Variances of the residuals, shape (m,); ones for a loss without a scale."""
    counts: np.ndarray
    """How many targets each output had, shape (m,)."""
    carry: Carry
    """At the end of the record: the state, and the exact influence."""

    def covariance(self, prior: np.ndarray) -> np.ndarray:
        """That of the coordinates, shape (p, p), with a prior of these deviations, shape (p,)."""
        matrix = self.matrix + np.diag(prior**-2.0)
        scale = 1.0 / np.sqrt(np.diag(matrix))  # its rows may differ much in size
        sizes, vectors = np.linalg.eigh(matrix * scale * scale[:, None])
        sizes = np.maximum(sizes, len(sizes) * np.finfo(float).eps * sizes[-1])  # rounding makes no negative variance
        return scale * scale[:, None] * (vectors / sizes @ vectors.T)


class GaussNewton:
    """Levenberg–Marquardt on the loss of the simulated model, with a Gaussian prior on θ.

        (Σ Ĵᵀ W Ĵ + Λ + λ Id) Δ = −Σ Ĵᵀ ∂ℓ/∂ŷ − Λ (u − u₀)

    λ falls after a step that makes the objective smaller and rises after another, which is not taken; Nocedal and
    Wright 2006, §10.3. W is R⁻¹ for squared errors, whose R is what the residuals say; see `NormalEquations` for other
    losses. Streams have the noise of an output in common, as trajectories in turn have: the likelihood of a stream with
    noise of its own has no bound where as many numbers of its own are learned as it has targets.

    Args:
        loop: makes the passes: exact influence, with `NormalEquations` as optimizer.
        known: variances R, shape (m,); None if they are learned. Without meaning where the loss has no scale.
        told: called after every pass with the number of samples.

    Attributes:
        scaled: whether the loss is one of residuals over a scale, R.
        learned: whether R is.
        engine: on which the passes are made.
    """

    def __init__(self, loop: Loop, known: np.ndarray | None, told: Callable[[int], None] | None = None) -> None:
        self._loop, self._execution, self._told = loop, loop.execution, told
        self.system, self.engine = loop.execution.system, loop.execution.engine
        self._streams = self.system.count if isinstance(self.system, PanelSystem) else 1
        sums: Any = self._execution.steps.informed
        self._outputs: int = sums.outputs
        self.scaled: bool = sums.scaled
        self._known = known if sums.scaled else np.ones(self._outputs)
        self.learned = self._known is None
        self._profiled = self.learned and type(self.system.loss) is SquaredError

    def use(self, loop: Loop) -> None:
        """Make the passes with another loop, for the same steps on another engine."""
        self._loop, self._execution, self.engine = loop, loop.execution, loop.execution.engine

    def _leaves(self, point: np.ndarray) -> dict[str, np.ndarray]:
        """Coordinates, shape (p,), by leaf."""
        return {k: v.astype(self.system.coordinates[k].dtype) for k, v in self.system.leaves_at(point).items()}

    def influence(self, carry: Carry) -> dict[str, np.ndarray]:
        """The exact influence in full, arrays (n, *leaf shape)."""
        steps = self._execution.steps
        return steps.influence.dense(carry.influence, steps.layout)

    def minimum(
        self,
        record: Record,
        start: np.ndarray,
        centre: np.ndarray,
        prior: np.ndarray,
        units: np.ndarray,
        passes: int = PASSES,
        gain: float = GAIN,
    ) -> Normal | None:
        """The best point found from a start; None if even that cannot be simulated.

        Args:
            record: the data.
            start: coordinates to begin with, shape (p,).
            centre: the mean u₀ of the prior, shape (p,).
            prior: its standard deviations, shape (p,).
            units: what a coordinate is measured in, shape (p,).
            passes: how many, at most, not counting those that weigh the same sums anew.
            gain: an improvement that ends them.
        """
        begun = self.begun(record, start, centre, prior)
        return None if begun is None else self.improved(record, begun, centre, prior, units, passes, gain)

    def begun(self, record: Record, point: np.ndarray, centre: np.ndarray, prior: np.ndarray) -> Normal | None:
        """The normal equations at a point, weighted by the noise there; None if it cannot be simulated."""
        noise = self._known if self._known is not None else (0.1 * record.spread(self._outputs)) ** 2 + 1e-300
        return self._weighted(record, self._pass(record, point, centre, prior, noise), centre, prior)

    def improved(
        self,
        record: Record,
        best: Normal,
        centre: np.ndarray,
        prior: np.ndarray,
        units: np.ndarray,
        passes: int,
        gain: float = GAIN,
    ) -> Normal | None:
        """The best point found from another one; arguments as for `minimum`."""
        width, stalled = 1.0, 0
        for _ in range(passes):
            step, promised = self._step(best, centre, prior, width * units**2)
            longest = np.max(np.abs(step) / units) if np.all(np.isfinite(step)) else 0.0
            if longest < SETTLED or promised < gain:
                weighed = self._weighted(record, best, centre, prior)
                if weighed is None or weighed is best:
                    break
                best = weighed  # the noise was not that of the weights yet, and what is promised by it too small
                continue
            step = step / max(longest / LONGEST, 1.0)
            noise = best.noise if self._profiled else best.weights
            made = self._pass(record, best.point + step, centre, prior, noise)
            if made is not None and made.objective < best.objective:
                stalled = 0 if made.objective < best.objective - gain else stalled + 1
                best, width = made, min(4 * width, WIDEST)
                if not self._profiled:
                    best = self._weighted(record, best, centre, prior) or best
            else:
                width /= 8
            if width < NARROWEST or stalled >= STALLED:
                break
        return self._weighted(record, best, centre, prior)

    def _weighted(self, record: Record, found: Normal | None, centre: np.ndarray, prior: np.ndarray) -> Normal | None:
        """The same point, its sums weighted by the noise that was found there."""
        if found is None or np.all(np.abs(np.log(found.weights / found.noise)) < SAME):
            return found
        ratios = found.weights / found.noise
        if self._profiled and np.ptp(ratios) <= SETTLED * ratios[0]:
            times = float(ratios[0])
            return found._replace(matrix=times * found.matrix, vector=times * found.vector, weights=found.noise)
        return self._pass(record, found.point, centre, prior, found.noise)

    def promised(self, found: Normal, centre: np.ndarray, prior: np.ndarray) -> float:
        """What the objective is, at least, where the step without damping goes, if residuals are linear."""
        by = self._step(found, centre, prior, np.full_like(prior, np.inf))[1]
        if not np.isfinite(by):
            return np.inf
        if not self._profiled:
            return found.objective - by
        count = float(found.counts.sum())
        return found.objective + 0.5 * count * float(np.log(np.clip(1.0 - 2.0 * by / count, LEAST**2, 1.0)))

    def _step(
        self, found: Normal, centre: np.ndarray, prior: np.ndarray, width: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """The damped step, NaN where the equations have no solution; and by how much it lowers their sum of squares."""
        matrix = found.matrix + np.diag(prior**-2.0 + 1.0 / width)
        vector = found.vector + (centre - found.point) / prior**2
        scale = 1.0 / np.sqrt(np.diag(matrix))
        with np.errstate(all="ignore"):
            try:
                step = scale * np.linalg.solve(matrix * scale * scale[:, None], vector * scale)
            except np.linalg.LinAlgError:
                step = np.full_like(vector, np.nan)
            return step, 0.5 * float(np.dot(step, vector))

    def _start(self, point: np.ndarray, noise: np.ndarray) -> Flat:
        """A carry with these coordinates and R, and nothing summed up."""
        execution = self._execution
        fresh = execution.unpack(execution.initial())
        optimizer = fresh.optimizer._replace(noise=np.asarray(noise, self.system.dtype))
        return execution.pack(fresh._replace(params=fresh.params | self._leaves(point), optimizer=optimizer))

    @property
    def row(self) -> list[Any]:
        """What a sample after the last one gone through is to be given, see `fwdgrad.learning.loops.feed`."""
        return self._loop.feed.row

    def refused(self, record: Record, point: np.ndarray) -> StepError:
        """What ends a simulation with these coordinates, which cannot be made."""
        self._loop.carry, self._loop.steps = self._start(point, np.ones(self._outputs)), 0
        error = record.run(self._loop)
        return error or StepError("the model cannot be simulated: its loss, or a derivative, is not finite.")

    def along(self, record: Record, point: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The predictions for a record at a point, (T, m), and `matrix`; arguments, errors as of `sample_by_sample`."""
        loop, made = self._loop, []
        loop.carry = self._start(point, noise)
        for start, chunk in record.trajectories():
            loop.restart(np.array(start.state), start.given)
            if not len(chunk.observed):
                continue
            ran = loop.run(chunk)
            if ran.error is not None:
                raise ran.error
            made.append(np.reshape(ran.predictions, (len(chunk.observed), -1)))
        matrix = np.array(self._execution.unpack(loop.carry).optimizer.matrix, float)
        return np.concatenate(made), matrix

    def predictions(self, record: Record, point: np.ndarray) -> np.ndarray | None:
        """Those of a simulation with these coordinates, (T, m); None if it cannot be made."""
        try:
            return self.along(record, point, np.ones(self._outputs))[0]
        except StepError:
            return None

    def sample_by_sample(
        self, record: Record, point: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The predictions for a record, (T, m), what samples add to `vector`, (T, p), and `matrix`, at a point.

        Args:
            record: the data.
            point: coordinates, shape (p,).
            noise: variances of the residuals, shape (m,).

        Raises:
            StepError: the model cannot be simulated with these parameters.
        """
        loop, predictions, sums = self._loop, [], [np.zeros(len(point))]
        loop.carry = self._start(point, noise)
        for start, chunk in record.trajectories():
            loop.restart(np.array(start.state), start.given)
            for k in range(len(chunk.observed)):
                ran = loop.run(chunk.part(k, k + 1))
                if ran.error is not None:
                    raise ran.error
                predictions.append(np.ravel(ran.predictions[0]))
                sums.append(np.array(self._execution.unpack(loop.view).optimizer.vector, float))
        matrix = np.array(self._execution.unpack(loop.carry).optimizer.matrix, float)
        return np.array(predictions), np.diff(np.array(sums), axis=0), matrix

    def _of_all_streams(self, values: np.ndarray) -> np.ndarray:
        """Sums over the streams of what there is for each output of each stream, shape (m,), for each of them."""
        return np.tile(np.sum(np.reshape(values, (self._streams, -1)), axis=0), self._streams)

    def _pass(
        self, record: Record, point: np.ndarray, centre: np.ndarray, prior: np.ndarray, noise: np.ndarray
    ) -> Normal | None:
        """The normal equations at a point; None where the model cannot be simulated."""
        execution = self._execution
        carry = record.replayed(self._loop, self._start(point, noise))
        if self._told is not None:
            self._told(len(record))
        if carry is None:
            return None
        held = execution.unpack(carry)
        sums = held.optimizer
        seen = np.asarray(sums.counts, float)
        found, fit = self._known, float(sums.cost)
        if found is None:
            floor = (LEAST * record.spread(self._outputs)) ** 2 + 1e-300
            squares, counts = self._of_all_streams(np.asarray(sums.squares, float)), self._of_all_streams(seen)
            found = np.maximum(squares / np.maximum(counts, 1.0), self._of_all_streams(floor) / self._streams)
        if self._profiled:
            fit = 0.5 * float(np.sum(seen * (np.log(found) + 1.0)))
        elif self._known is None:
            fit += 0.5 * float(np.sum(seen * np.log(noise)))
        objective = float(fit + 0.5 * np.sum(((point - centre) / prior) ** 2))
        if not np.isfinite(objective):
            return None
        matrix, vector = np.asarray(sums.matrix, float), np.asarray(sums.vector, float)
        return Normal(objective, point, matrix, vector, np.asarray(noise, float), found, seen, held)
