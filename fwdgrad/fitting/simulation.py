"""What a minimum of Gauss–Newton is worth: deviations, residuals and bands of a simulated model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.fitting.draws import Draws
from fwdgrad.fitting.going_on import predicted_with_std, resumed
from fwdgrad.fitting.result import UNKNOWN, Fit, Going
from fwdgrad.learning.confidence import FEW, Verdict, judged, not_white
from fwdgrad.learning.learner import Learner
from fwdgrad.learning.loops import (
    Fitting,
    GaussNewton,
    Normal,
    Record,
    beside,
    elsewhere,
    lacking,
    noiseless,
    normalised,
    remembered,
    robust,
)
from fwdgrad.losses import Bernoulli, NegativeBinomial, Poisson
from fwdgrad.optimizers.information.watch import Watch
from fwdgrad.support.types import Flat

__all__ = ["simulated", "verdict_of"]

STILL = (0.0, 0.0)
"""No noise in the state, and an initial state that is known: as it is simulated."""


def simulated(
    record: Record,
    newton: GaussNewton,
    found: Normal,
    prior: np.ndarray,
    fitting: Callable[[], Fitting] | None,
    passes: float,
) -> Fit:
    """The fit that a minimum is.

    Args:
        record: what was fitted.
        newton: what has found the minimum.
        found: the minimum.
        prior: deviations of the prior, shape (p,).
        fitting: makes the filter that goes on from there, when it is asked for; None if there can be none.
        passes: how often samples were gone through.

    Raises:
        StepError: the model cannot be simulated with these parameters.
    """
    outputs, matrix = newton.along(record, found.point, found.noise)
    count, p = float(np.sum(found.counts)), len(found.point)
    # residuals of a fit are smaller than the noise: p numbers were fitted to them
    freedom = max(count - p, 1.0) / count if newton.learned else 1.0
    noise = found.noise / freedom
    covariance = found._replace(matrix=matrix * freedom).covariance(prior)
    starts = tuple(s.place for s in record.starts)
    loss: Any = newton.system.loss
    targets, verdict, withheld, remembers = np.full(outputs.shape, np.nan), None, count <= p, 1.0
    lacks: tuple[str, ...] = ()
    if getattr(loss, "predicts_mean", False):
        targets = record.targets(outputs.shape[1])
    if getattr(loss, "componentwise", False):
        z = normalised(loss, record.targets(outputs.shape[1]), outputs, noise)
        evened = getattr(loss, "evened", None)
        squares = None if evened is None else np.array([evened(*row) for row in zip(z * z, outputs, strict=True)])
        verdict = verdict_of(z, starts, squares)
        memory = remembers = float(np.max(verdict.memory))
        more = max(np.sum(np.isfinite(z)) - p, 1.0)
        scattered = not newton.scaled and verdict.level.max() > 1.0  # counts, more than their law says
        if scattered and verdict.findings:
            covariance = covariance * max(float(np.nansum(z * z) / more), 1.0)
        factors = np.ones(p)
        if memory > 1.0:
            scores = newton.sample_by_sample(record, found.point, found.noise)[1]
            factors = robust(covariance, scores, starts, memory)
            withheld = withheld or count / memory < FEW
        told: list[Any]
        lack = lacking(newton.system, record, found.point, noise, covariance, newton.engine, noiseless)
        told, far = lack.told, lack.perhaps
        late = beside(record, newton, found, np.sqrt(np.diag(covariance)), prior, z)
        if late is not None:  # what a model with that delay would lack is not known
            told = [late]
        declared = np.concatenate([np.ravel(newton.system.coordinates[k]) for k in newton.system.trainable])
        begun = None
        if late is None or late.memory > 1.0:
            begun = elsewhere(record, newton, found, [found.point, declared], prior, noiseless)
        if begun is not None:
            lacks = (str(begun),)
            factors = np.hypot(factors, begun.moved / np.sqrt(np.diag(covariance)))
        else:
            lacks = tuple(str(one) for one in told)
            factors = np.hypot(factors, np.max([far, *(np.abs(one.moved) for one in told)], axis=0))
        covariance = covariance * np.outer(factors, factors)
    spare = max(count / max(remembers, 1.0) - p, 1.0) if newton.learned else math.inf
    going: Going | None = None
    if fitting is not None:
        going = _going(record, fitting, found._replace(noise=noise), covariance, newton.row)
    elif newton.scaled or isinstance(loss, (Poisson, NegativeBinomial, Bernoulli)):
        known = np.sqrt(np.diag(covariance)) < UNKNOWN * prior  # what is not is not varied
        draws = Draws(newton.system, record, found.point, covariance * np.outer(known, known), noise, spare)
        going = Going(None, lambda: draws.bands().std, draws)
    deviation = np.sqrt(np.where(found.counts > 0, noise * loss.spread, np.nan)) if newton.scaled else None
    made = Fit(
        newton.system, "simulation", found.point, covariance, prior, withheld, deviation, np.zeros(newton.system.size),
        found.objective, outputs, targets, starts, record.times(), passes, verdict, (), going, lacks, spare,
    )  # fmt: skip
    return replace(made, withheld=True) if made.lost else made


def _going(
    record: Record, fitting: Callable[[], Fitting], held: Normal, covariance: np.ndarray, row: Sequence[Any]
) -> Going:
    """What goes on from a minimum, with a filter that is made only then: its step is another one to trace."""
    last = [np.array(v) for v in row]

    def carried(level: Any) -> tuple[Fitting, Flat]:
        made = fitting()
        return made, made.carried(made.execution.initial(), held, covariance, level)

    def onward() -> Learner:
        made, carry = carried(fitting().levels[0])
        return resumed(made, carry, len(record), last)()

    def bands() -> np.ndarray:
        made, carry = carried(STILL)
        return predicted_with_std(made, record, carry, learns=False)[1] + np.where(held.counts > 0, 0.0, np.nan)

    return Going(onward, bands)


def verdict_of(z: np.ndarray, starts: tuple[int, ...], squares: np.ndarray | None = None) -> Verdict:
    """What normalised residuals say, shape (T, m): as those of a filter, and by a test on the whole record.

    `squares` is what counts as z², likewise.
    """
    watch = Watch(z.shape[1], 0)
    state, seen = watch.init({}, {}), np.isfinite(z)
    squares = z * z if squares is None else squares
    rows = np.where(seen, z, 0.0), seen.astype(float), np.where(seen, squares, 0.0)
    for row, there, square in zip(*rows, strict=True):
        state = watch.update(state, row, there, square)
    verdict = judged(state)
    memory = np.array([remembered(column, starts) for column in z.T])
    if np.all(memory <= 1.0) or np.any(verdict.memory > 1.0):
        return verdict
    k = int(np.argmax(memory))
    where = "" if len(memory) == 1 else f" of output {k}"
    said = not_white(where, float(memory[k]))
    return replace(verdict, memory=np.maximum(verdict.memory, memory), findings=(*verdict.findings, said))
