"""Noise with heavy tails: some data far off do not pull everything along."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.losses.squared_error import SquaredError
from fwdgrad.support.arguments import suggests

__all__ = ["StudentT"]


@suggests
@dataclass(frozen=True)
class StudentT(SquaredError):
    """ℓ = Σ ½ (ν + 1) log(1 + z²/ν), z = (ŷ − y)/scale: minus the log-likelihood of Student's t, up to a constant.

    A residual of many scales weighs (ν + 1)/(ν + z²) of what it would in a squared error, so that outliers tell little.
    `fwdgrad.fit` and `JointFilter` find the scale with the parameters: reweighted least squares, and a Kalman filter
    whose noise is larger by 1/weight for a sample (Lange, Little and Taylor, JASA 84, 1989).

    Args:
        scale: of the noise, in the units of y; one number, or one for each prediction. Its standard deviation is
            √(ν/(ν − 2)) times as large.
        freedom: ν > 2, degrees of freedom: the smaller the heavier the tails; at 30 they are nearly Gaussian.

    Example:
        >>> import numpy as np
        >>> loss = StudentT(scale=1.0, freedom=4.0)
        >>> [round(float(loss.value(np.array([0.0]), np.array([y]))), 2) for y in (1.0, 10.0, 100.0)]
        [0.56, 8.15, 19.56]
    """

    freedom: float = 4.0

    unit: ClassVar[str] = "nats, up to a constant"

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        value = self.freedom
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 2 < value < math.inf:
            raise DeclarationError(
                f"StudentT(freedom=…): expected a number above 2, got {value!r}.\n"
                "Give e.g. 4, the default; for Gaussian noise use SquaredError."
            )

    @property
    def spread(self) -> float:  # type: ignore[override]
        """The variance of the noise over scale²: ν/(ν − 2)."""
        return self.freedom / (self.freedom - 2.0)

    def weight(self, square: Any) -> Any:
        """What a component counts in least squares, by z²: (ν + 1)/(ν + z²)."""
        return (self.freedom + 1.0) / (self.freedom + square)

    def cost(self, square: Any) -> Any:
        """What a component contributes to the loss, by z²."""
        return 0.5 * (self.freedom + 1.0) * np.log1p(square / self.freedom)

    def value(self, prediction: Any, y: Any) -> Any:
        """Σ ½ (ν + 1) log(1 + z²/ν) over the observed components."""
        return np.sum(self.cost(self._square(prediction, y)))

    def gradient(self, prediction: Any, y: Any) -> Any:
        """w (ŷ − y)/scale², zero where y is NaN."""
        return self.weight(self._square(prediction, y)) * self._residual(prediction, y) * self._precision(prediction)

    def normalized(self, prediction: Any, y: Any) -> Any:
        """As `standard`, of the shape of ŷ, zero where y is NaN."""
        return self.standard(super().normalized(prediction, y))

    def standard(self, z: Any) -> Any:
        """(y − ŷ)/scale pulled in, with variance 1: w z √((ν + 3)/(ν + 1)), the score over its deviation."""
        return self.weight(z * z) * z * math.sqrt((self.freedom + 3.0) / (self.freedom + 1.0))

    def fisher(self, prediction: Any) -> Any:
        """(ν + 1)/(ν + 3)/scale² on the diagonal."""
        return super().fisher(prediction) * ((self.freedom + 1.0) / (self.freedom + 3.0))

    def _square(self, prediction: Any, y: Any) -> Any:
        residual = self._residual(prediction, y)
        return residual * residual * self._precision(prediction)
