"""Counts: y = 0, 1, 2, …, whose mean is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fwdgrad.losses.base import evened, positive
from fwdgrad.support.arguments import suggests

__all__ = ["NegativeBinomial", "Poisson"]


@dataclass(frozen=True)
class Poisson:
    """ℓ = Σ ŷ − y + y log(y/ŷ): minus the log-likelihood of counts with mean ŷ > 0, up to a term in y.

    It is half the deviance. A prediction that is not positive is no mean: the step is refused. Let Y return an
    exponential, or a sum of positive terms. Components that are NaN count as not observed.

    Example:
        >>> import numpy as np
        >>> loss = Poisson()
        >>> float(loss.value(np.array([3.0]), np.array([3.0]))), float(loss.value(np.array([2.0]), np.array([0.0])))
        (0.0, 2.0)
    """

    componentwise: ClassVar[bool] = True
    predicts_mean: ClassVar[bool] = True
    unit: ClassVar[str] = "half the deviance"

    def target(self, prediction: Any) -> Any:
        """An array of the prediction's shape and dtype."""
        return np.zeros(np.shape(prediction), prediction.dtype)

    def value(self, prediction: Any, y: Any) -> Any:
        """Half the deviance, over the observed components."""
        seen, count, mean = _observed(prediction, y)
        return np.sum(np.where(seen, mean - count + _times_log(count, count / mean), 0.0))

    def gradient(self, prediction: Any, y: Any) -> Any:
        """1 − y/ŷ, zero where y is NaN."""
        seen, count, mean = _observed(prediction, y)
        return np.where(seen, 1.0 - count / mean, 0.0)

    def fisher(self, prediction: Any) -> Any:
        """1/ŷ on the diagonal."""
        return np.eye(int(np.prod(np.shape(prediction)))) / _mean(np.ravel(prediction))

    def evened(self, square: Any, prediction: Any) -> Any:
        """Squares of Pearson's residuals, as even as those of normal ones."""
        return evened(square, 1.0 / _mean(np.ravel(prediction)))


@suggests
@dataclass(frozen=True)
class NegativeBinomial:
    """Counts with mean ŷ > 0 and variance ŷ + ŷ²/k, which scatter more than Poisson's; half the deviance.

        ℓ = Σ y log(y/ŷ) − (y + k) log((y + k)/(ŷ + k))

    As `Poisson` for what is not positive or not observed.

    Args:
        size: k > 0; the smaller, the more they scatter.

    Example:
        >>> import numpy as np
        >>> round(float(NegativeBinomial(size=5.0).value(np.array([2.0]), np.array([6.0]))), 3)
        1.62
    """

    size: float = 10.0

    componentwise: ClassVar[bool] = True
    predicts_mean: ClassVar[bool] = True
    unit: ClassVar[str] = "half the deviance"

    def __post_init__(self) -> None:
        """Check the field."""
        positive("NegativeBinomial(size=…)", self.size)

    def target(self, prediction: Any) -> Any:
        """An array of the prediction's shape and dtype."""
        return np.zeros(np.shape(prediction), prediction.dtype)

    def value(self, prediction: Any, y: Any) -> Any:
        """Half the deviance, over the observed components."""
        seen, count, mean = _observed(prediction, y)
        k = self.size
        term = _times_log(count, count / mean) - (count + k) * np.log((count + k) / (mean + k))
        return np.sum(np.where(seen, term, 0.0))

    def gradient(self, prediction: Any, y: Any) -> Any:
        """(ŷ − y)/(ŷ + ŷ²/k), zero where y is NaN."""
        seen, count, mean = _observed(prediction, y)
        return np.where(seen, (mean - count) / (mean + mean * mean / self.size), 0.0)

    def fisher(self, prediction: Any) -> Any:
        """1/(ŷ + ŷ²/k) on the diagonal."""
        mean = _mean(np.ravel(prediction))
        return np.eye(int(np.prod(np.shape(prediction)))) / (mean + mean * mean / self.size)

    def evened(self, square: Any, prediction: Any) -> Any:
        """Squares of Pearson's residuals, as even as those of normal ones."""
        mean = _mean(np.ravel(prediction))
        return evened(square, 6.0 / self.size + 1.0 / (mean + mean * mean / self.size))


def _observed(prediction: Any, y: Any) -> tuple[Any, Any, Any]:
    """Where y is observed; y with 0 elsewhere, NaN where it is no count; and ŷ."""
    seen = ~np.isnan(y)
    return seen, np.where(seen, np.where(y < 0, np.nan, y), 0.0), _mean(prediction)


def _mean(prediction: Any) -> Any:
    """ŷ, and NaN where it is no mean of counts."""
    return np.where(prediction > 0, prediction, np.nan)


def _times_log(count: Any, ratio: Any) -> Any:
    """Y log(ratio), 0 for y = 0."""
    some = count > 0
    return np.where(some, count * np.log(np.where(some, ratio, 1.0)), 0.0)
