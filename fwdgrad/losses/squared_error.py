"""Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fwdgrad.errors import ShapeError
from fwdgrad.losses.base import positive
from fwdgrad.support.arguments import suggests

__all__ = ["SquaredError"]


@suggests
@dataclass(frozen=True)
class SquaredError:
    """ℓ = ½ ‖(ŷ − y)/scale‖²: minus the log-likelihood of Gaussian noise with standard deviation `scale`.

    NaN components of a target count as not observed and contribute nothing; a target that is NaN throughout is a
    missing one.

    Args:
        scale: standard deviation of the observation noise, in the units of y; positive. One number, or a tuple of as
            many as there are predictions.

    Example:
        >>> import numpy as np
        >>> float(SquaredError(scale=2.0).value(np.array([1.0, 4.0]), np.array([1.0, 2.0])))
        0.5
    """

    scale: float | tuple[float, ...] = 1.0

    componentwise: ClassVar[bool] = True
    predicts_mean: ClassVar[bool] = True
    spread: ClassVar[float] = 1.0
    """The variance of the noise over scale²."""

    def __post_init__(self) -> None:
        if isinstance(self.scale, (tuple, list, np.ndarray)):
            object.__setattr__(self, "scale", tuple(float(s) for s in np.ravel(np.asarray(self.scale, float))))
            for k, s in enumerate(self.scale):
                positive(f"SquaredError(scale=…)[{k}]", s)
        else:
            positive("SquaredError(scale=…)", self.scale)

    @property
    def unit(self) -> str:
        """What a loss is measured in."""
        return f"½ squared error ({'squared units' if self.scale == 1 else 'in units of the noise'})"

    def _precision(self, prediction: Any) -> Any:
        """1/scale²: a number, or one for each component, in the shape and dtype of the prediction."""
        if not isinstance(self.scale, tuple):
            return 1.0 / self.scale**2
        return np.reshape(1.0 / np.array(self.scale, prediction.dtype) ** 2, np.shape(prediction))

    def target(self, prediction: Any) -> Any:
        """An array of the prediction's shape and dtype."""
        count = int(np.prod(np.shape(prediction), dtype=int))
        if isinstance(self.scale, tuple) and len(self.scale) != count:
            raise ShapeError(
                f"SquaredError(scale=…): expected one standard deviation, or one for each of the {count} predictions; "
                f"got {len(self.scale)}."
            )
        return np.zeros(np.shape(prediction), prediction.dtype)

    def _residual(self, prediction: Any, y: Any) -> Any:
        return np.where(np.isnan(y), 0.0, prediction - y)

    def value(self, prediction: Any, y: Any) -> Any:
        """½ Σ ((ŷ − y)/scale)² over the observed components."""
        residual = self._residual(prediction, y)
        if isinstance(self.scale, tuple):
            return 0.5 * np.sum(self._precision(prediction) * residual * residual)
        return (0.5 / self.scale**2) * np.sum(residual * residual)

    def normalized(self, prediction: Any, y: Any) -> Any:
        """(y − ŷ)/scale, of the shape of ŷ, zero where y is NaN: of variance 1 if predictions and scale are right."""
        return -self._residual(prediction, y) * np.sqrt(self._precision(prediction))

    def gradient(self, prediction: Any, y: Any) -> Any:
        """(ŷ − y)/scale², zero where y is NaN."""
        residual = self._residual(prediction, y)
        return residual if self.scale == 1 else residual * self._precision(prediction)

    def weight(self, square: Any) -> Any:
        """What a component counts in least squares, by ((y − ŷ)/scale)²: 1."""
        return np.ones_like(square)

    def cost(self, square: Any) -> Any:
        """What a component contributes to the loss, by ((y − ŷ)/scale)²."""
        return 0.5 * square

    def standard(self, z: Any) -> Any:
        """(y − ŷ)/scale with variance 1: that itself."""
        return z

    def fisher(self, prediction: Any) -> Any:
        """Id/scale²; diag(1/scale²) with one scale for each prediction."""
        return np.eye(int(np.prod(np.shape(prediction)))) * np.ravel(self._precision(prediction))
