"""Yes or no, by the logarithm of the odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fwdgrad.losses.base import evened

__all__ = ["Bernoulli"]

RAREST = 1e-12
"""Variance of an event, at least."""


@dataclass(frozen=True)
class Bernoulli:
    """ℓ = Σ log(1 + exp(ŷ)) − y ŷ: minus the log-likelihood of y = 0 or 1, whose probability of 1 is 1/(1 + exp(−ŷ)).

    A y between 0 and 1 is a frequency. Components that are NaN count as not observed.

    Example:
        >>> import numpy as np
        >>> round(float(Bernoulli().value(np.array([0.0]), np.array([1.0]))), 4)
        0.6931
    """

    componentwise: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"

    def target(self, prediction: Any) -> Any:
        """An array of the prediction's shape and dtype."""
        return np.zeros(np.shape(prediction), prediction.dtype)

    def value(self, prediction: Any, y: Any) -> Any:
        """In nats, over the observed components; without overflow."""
        seen = ~np.isnan(y)
        term = np.logaddexp(0.0, prediction) - np.where(seen, _share(y), 0.0) * prediction
        return np.sum(np.where(seen, term, 0.0))

    def gradient(self, prediction: Any, y: Any) -> Any:
        """σ(ŷ) − y, zero where y is NaN."""
        seen = ~np.isnan(y)
        return np.where(seen, _probability(prediction) - np.where(seen, _share(y), 0.0), 0.0)

    def fisher(self, prediction: Any) -> Any:
        """σ (1 − σ) on the diagonal."""
        p = np.ravel(_probability(prediction))
        return np.eye(int(np.prod(np.shape(prediction)))) * (p * (1.0 - p))

    def evened(self, square: Any, prediction: Any) -> Any:
        """Squares of Pearson's residuals, as even as those of normal ones."""
        p = np.ravel(_probability(prediction))
        return evened(square, 1.0 / np.maximum(p * (1.0 - p), RAREST) - 6.0)


def _share(y: Any) -> Any:
    """Y where it is a share, between 0 and 1; else NaN."""
    return np.where((y < 0) | (y > 1), np.nan, y)


def _probability(odds: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * odds))
