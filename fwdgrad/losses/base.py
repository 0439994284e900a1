"""What a loss is, and what its numbers have to be."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from fwdgrad.errors import DeclarationError

__all__ = ["Loss", "evened", "positive"]


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


def evened(square: Any, excess: Any) -> Any:
    """Squares of normalised residuals with variance 2, as those of normal ones, and the same mean of 1.

    Those of rare events scatter far more, so that a few of them say nothing of the noise.

    Args:
        square: squares of residuals of variance 1.
        excess: the excess kurtosis of these.
    """
    return 1.0 + (square - 1.0) / np.sqrt(1.0 + 0.5 * np.maximum(excess, 0.0))


def positive(what: str, value: Any) -> None:
    """Refuse what is no positive number.

    Raises:
        DeclarationError: it is not.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not (0 < value < math.inf):
        raise DeclarationError(f"{what}: expected a positive number, got {value!r}.")
