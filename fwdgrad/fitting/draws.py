"""What a model says with all parameters that the data leave possible: bands and forecasts where there is no filter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betainc, expit, gammaincc, stdtrit

from fwdgrad.learning.loops import Record
from fwdgrad.learning.loops.feed import Feed
from fwdgrad.losses import Bernoulli, NegativeBinomial, Poisson
from fwdgrad.program import at_points
from fwdgrad.support.trees import flatten
from fwdgrad.system import GIVEN, OWN, System
from fwdgrad.system.tracing import traced

__all__ = ["Draws", "Spread", "predictive"]

PAIRS = 64
"""Pairs of draws: each with its mirror image, so that their mean is the fit's own to first order."""
TAIL = 0.025
"""Probability below, and above, 95 % of observations."""
REACH, SPARE = 12.0, 30.0
"""Counts are looked for up to so many deviations above their mean, and so many more."""


class Spread(NamedTuple):
    """What is expected of observations: each of shape (T, m)."""

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    """With `high`, where 95 % of them lie."""
    high: np.ndarray


class Draws:
    """A model run through a record, and on, at many points: θ as its covariance lets it be, the same for all samples.

    Where the model corrects its state by what it has seen (injection), it is given, behind the record, what it
    may see: its own prediction and noise, for each draw another one.

    Args:
        system: the model.
        record: what was fitted.
        point: coordinates, shape (p,).
        covariance: of these, shape (p, p), zero for what is not to be varied.
        noise: variances of observations over their scale, (m,); without meaning for counts.
        freedom: of the residuals that have told them.
    """

    def __init__(
        self,
        system: System,
        record: Record,
        point: np.ndarray,
        covariance: np.ndarray,
        noise: np.ndarray,
        freedom: float,
    ) -> None:
        self._system, self._record, self._noise, self._freedom = system, record, noise, freedom
        values, vectors = np.linalg.eigh(covariance)
        normal = np.random.default_rng(0).normal(size=(PAIRS, len(point)))
        away = (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        drawn = point + np.concatenate([away, -away])
        self._count = len(drawn)
        leaves = [system.leaves_at(row) for row in drawn]
        self._theta = [
            np.array([row[k] for row in leaves], system.dtype) if k in system.trainable else v
            for k, v in system.coordinates.items()
        ]

    def _made(self, h: Any, given: Sequence[Any]) -> tuple[Any, np.ndarray]:
        """The state after a sample, and the prediction, at all points."""
        programs = traced(self._system)
        (h,) = at_points(programs.transition, [h, *given, *self._theta], self._count)
        (prediction,) = at_points(programs.output, [h, *given, *self._theta], self._count)
        return h, np.reshape(prediction, (self._count, -1))

    @cached_property
    def _along(self) -> tuple[np.ndarray, Any, Feed]:
        """Predictions for the record, (S, T, m); states at its end, and what the next sample is to be given."""
        feed, made, h = Feed(self._system), [], np.zeros(self._system.size)
        with np.errstate(all="ignore"):
            for start, chunk in self._record.trajectories():
                feed.restart(GIVEN if start.given else OWN)
                h, columns = start.state, (feed.extend(chunk) if feed else chunk).x
                for k in range(len(chunk.observed)):
                    h, prediction = self._made(h, [column[k] for column in columns])
                    made.append(prediction)
                feed.advance(chunk, len(chunk.observed))
        return np.stack(made, axis=1), h, feed

    def bands(self) -> Spread:
        """For the record."""
        return predictive(self._system.loss, self._along[0], self._noise, self._freedom)

    def ahead(self, inputs: list[Any], count: int) -> Spread:
        """For so many samples after it, with these inputs, columns of arrays."""
        _, h, feed = self._along
        row, rng, made = list(feed.row), np.random.default_rng(1), []
        mark = [np.zeros((), self._system.dtype)] if self._system.marked else []
        for k in range(count):
            x = [
                np.asarray(column[k], leaf.dtype) for column, leaf in zip(inputs, flatten(self._system.x), strict=True)
            ]
            with np.errstate(all="ignore"):
                h, prediction = self._made(h, [*x, *row])
            made.append(prediction)
            row = list(mark)
            if self._system.corrects:
                seen = prediction + np.sqrt(self._noise) * rng.normal(size=prediction.shape)
                row += [*x, np.reshape(seen, (self._count, *np.shape(self._system.y))).astype(self._system.dtype)]
        return predictive(self._system.loss, np.stack(made, axis=1), self._noise, self._freedom)


def predictive(loss: Any, predictions: np.ndarray, noise: np.ndarray, freedom: float = math.inf) -> Spread:
    """What observations are like whose prediction is one of several, (S, T, m), all as likely.

    Numbers: mean, deviation with that of the noise, and Student's t. Counts: the quantiles of the mixture of their
    distributions. Yes and no: the probability of a yes, and where it lies itself, since what is observed is 0 or 1.

    Args:
        loss: what was fitted with.
        predictions: those that are not finite are left out.
        noise: variances of observations over their scale, (m,); without meaning for counts.
        freedom: degrees of freedom of Student's t.
    """
    made = np.where(np.isfinite(predictions), predictions, np.nan)
    if isinstance(loss, Bernoulli):
        p = expit(made)
        mean = np.nanmean(p, axis=0)
        low, high = np.nanquantile(p, [TAIL, 1.0 - TAIL], axis=0)
        return Spread(mean, np.sqrt(mean * (1.0 - mean)), low, high)
    mean, apart = np.nanmean(made, axis=0), np.nanvar(made, axis=0)
    if isinstance(loss, (Poisson, NegativeBinomial)):
        scattered = made + made**2 / loss.size if isinstance(loss, NegativeBinomial) else made
        std = np.sqrt(apart + np.nanmean(scattered, axis=0))
        below = _below(loss, made)
        most = np.ceil(mean + REACH * std + SPARE)
        return Spread(mean, std, _quantile(below, most, TAIL), _quantile(below, most, 1.0 - TAIL))
    std = np.sqrt(apart + noise * loss.spread)
    half = float(stdtrit(freedom, 1.0 - TAIL))
    return Spread(mean, std, mean - half * std, mean + half * std)


def _below(loss: Any, means: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The probability of a count of at most so many, (T, m), over all means."""
    if isinstance(loss, NegativeBinomial):
        k = loss.size
        return lambda count: np.asarray(np.nanmean(betainc(k, count + 1.0, k / (k + means)), axis=0))
    return lambda count: np.asarray(np.nanmean(gammaincc(count + 1.0, means), axis=0))


def _quantile(below: Callable[[np.ndarray], np.ndarray], most: np.ndarray, part: float) -> np.ndarray:
    """The least count that so much of the probability is not above, (T, m), by bisection."""
    low, high = -np.ones_like(most), most  # below(low) < part ≤ below(high)
    while np.max(high - low) > 1.0:
        middle = np.floor((low + high) / 2.0)
        enough = below(np.maximum(middle, 0.0)) >= part
        inside = high - low > 1.0
        low, high = np.where(inside & ~enough, middle, low), np.where(inside & enough, middle, high)
    return high
