"""Losses ℓ(ŷ, y), with their gradient in ŷ and the Fisher matrix of the distribution that they are the log-loss of.

A loss says what a target looks like (`target`), and computes value and gradient in plain NumPy, so that it can be
traced with the rest of the step. `missing` says which targets count as not observed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fwdgrad.errors import DeclarationError, ShapeError

__all__ = ["CrossEntropy", "Custom", "Loss", "SquaredError", "as_loss"]


class Loss(Protocol):
    """What a loss provides. ŷ is an array of shape (m,) or (), y what `target` says."""

    def target(self, prediction: Any) -> Any:
        """An example target for a prediction like this one: its shape and dtype are what `step` will accept."""

    def value(self, prediction: Any, y: Any) -> Any:
        """ℓ(ŷ, y), a scalar."""

    def gradient(self, prediction: Any, y: Any) -> Any:
        """∂ℓ/∂ŷ, of the shape of ŷ; or None, to have it derived from `value`."""

    def fisher(self, prediction: Any) -> Any:
        """Fisher information matrix of ŷ, shape (m, m), positive semi-definite; or None if there is none."""


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

    def __post_init__(self) -> None:
        if isinstance(self.scale, (tuple, list, np.ndarray)):
            object.__setattr__(self, "scale", tuple(float(s) for s in np.ravel(np.asarray(self.scale, float))))
            for k, s in enumerate(self.scale):
                _positive(f"SquaredError(scale=…)[{k}]", s)
        else:
            _positive("SquaredError(scale=…)", self.scale)

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

    def fisher(self, prediction: Any) -> Any:
        """Id/scale²; diag(1/scale²) with one scale for each prediction."""
        return np.eye(int(np.prod(np.shape(prediction)))) * np.ravel(self._precision(prediction))


@dataclass(frozen=True)
class CrossEntropy:
    """ℓ = −log softmax(ŷ)[y]: the code length of symbol y, in units set by `base`.

    Args:
        base: None or e for nats, 2 for bits. The gradient is in the same unit.

    Example:
        >>> import numpy as np
        >>> round(float(CrossEntropy(base=2).value(np.zeros(8), np.int64(3))), 12)
        3.0
    """

    base: float | None = None

    def __post_init__(self) -> None:
        if self.base is not None and not (isinstance(self.base, (int, float)) and self.base > 1):
            raise DeclarationError(
                f"CrossEntropy(base=…): expected a number above 1, or None for nats; got {self.base!r}.\n"
                "Use base=2 for bits."
            )

    @property
    def unit(self) -> str:
        """What a loss is measured in."""
        if self.base is None or self.base == math.e:
            return "nats"
        return {2.0: "bits", 10.0: "hartleys"}.get(self.base, f"symbols to the base {self.base:g}")

    @property
    def _unit(self) -> float:
        return 1.0 if self.base is None else 1.0 / math.log(self.base)

    def target(self, prediction: Any) -> Any:
        """An integer: the number of the symbol."""
        if np.ndim(prediction) != 1:
            raise ShapeError(
                f"CrossEntropy: expected Y to return one score per symbol, an array of shape (symbols,);\n"
                f"got shape {np.shape(prediction)}. Flatten it, or use another loss."
            )
        return np.int64(0)

    def value(self, prediction: Any, y: Any) -> Any:
        """log Σ exp(ŷ) − ŷ[y], computed without overflow."""
        shifted = prediction - np.max(prediction)
        return (np.log(np.sum(np.exp(shifted))) - np.take(shifted, y)) * self._unit

    def gradient(self, prediction: Any, y: Any) -> Any:
        """softmax(ŷ) − onehot(y)."""
        scores = np.exp(prediction - np.max(prediction))
        onehot = np.where(np.arange(prediction.shape[0]) == y, 1.0, 0.0)
        difference = scores / np.sum(scores) - onehot
        return difference if self.base is None else difference * self._unit

    def fisher(self, prediction: Any) -> Any:
        """diag(p) − p pᵀ in nats, times the unit."""
        scores = np.exp(prediction - np.max(prediction))
        p = scores / np.sum(scores)
        return (np.diag(p) - np.outer(p, p)) * self._unit

    def fisher_root(self, prediction: Any) -> Any:
        """L with LᵀL = `fisher`: rows √p_k (e_k − p). Without differences of nearly equal numbers where p is near 1."""
        scores = np.exp(prediction - np.max(prediction))
        p = scores / np.sum(scores)
        return (np.eye(p.shape[0], dtype=p.dtype) - p) * np.expand_dims(np.sqrt(p * self._unit), 1)


@dataclass(frozen=True)
class Custom:
    """A user's function ℓ(ŷ, y) of prediction and target; its gradient is derived.

    Args:
        function: plain NumPy, returns a scalar.
        example: an example target; by default targets look like predictions.
    """

    function: Callable[[Any, Any], Any]
    example: Any = None

    def __repr__(self) -> str:
        return f"Custom({getattr(self.function, '__qualname__', type(self.function).__name__)})"

    def target(self, prediction: Any) -> Any:
        """The example given, or zeros like the prediction."""
        if self.example is None:
            return np.zeros(np.shape(prediction), prediction.dtype)
        return self.example

    def value(self, prediction: Any, y: Any) -> Any:
        """The user's function."""
        return self.function(prediction, y)

    def gradient(self, prediction: Any, y: Any) -> Any:
        """None: derived from `value`."""
        return None

    def fisher(self, prediction: Any) -> Any:
        """None: unknown."""
        return None


def as_loss(loss: Any, y: Any = None) -> Loss:
    """A loss from a loss, a function of (ŷ, y), or None (squared error).

    Raises:
        DeclarationError: it is none of these.
    """
    if loss is None:
        return SquaredError()
    if hasattr(loss, "value") and hasattr(loss, "gradient") and not isinstance(loss, type):
        return loss
    if callable(loss) and not isinstance(loss, type):
        return Custom(loss, y)
    raise DeclarationError(
        f"loss: expected a loss or a function of (prediction, target), got {loss!r}.\n"
        "Use fg.losses.SquaredError(), fg.losses.CrossEntropy(), or a function that returns a scalar."
    )


def _positive(what: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not (0 < value < math.inf):
        raise DeclarationError(f"{what}: expected a positive number, got {value!r}.")
