"""Losses of the user's own, and what may be given as a loss."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.losses.base import Loss
from fwdgrad.losses.squared_error import SquaredError
from fwdgrad.support.arguments import suggests

__all__ = ["Custom", "as_loss"]


@suggests
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


NAMES = ("SquaredError", "StudentT", "Poisson", "NegativeBinomial", "Bernoulli", "Innovations", "CrossEntropy")
"""The losses that there are."""


@suggests
def as_loss(loss: Any, y: Any = None) -> Loss:
    """A loss from a loss, a function of (ŷ, y), or None (squared error).

    Raises:
        DeclarationError: it is something else.
    """
    if loss is None:
        return SquaredError()
    if hasattr(loss, "value") and hasattr(loss, "gradient") and not isinstance(loss, type):
        return loss
    if callable(loss) and not isinstance(loss, type):
        return Custom(loss, y)
    name = loss.__name__ if isinstance(loss, type) else loss if isinstance(loss, str) else ""
    near = difflib.get_close_matches(name.replace("_", "").lower(), [k.lower() for k in NAMES], 1)
    meant = next((f" Did you mean fg.losses.{k}()?" for k in NAMES if near == [k.lower()]), "")
    raise DeclarationError(
        f"loss: expected a loss or a function of (prediction, target), got {loss!r}.{meant}\n"
        "Use fg.losses.SquaredError(), fg.losses.CrossEntropy(), or a function that returns a scalar."
    )
