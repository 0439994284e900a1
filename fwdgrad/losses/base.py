"""What a loss is, and what its numbers have to be."""

from __future__ import annotations

import math
from typing import Any, Protocol

from fwdgrad.errors import DeclarationError

__all__ = ["Loss", "positive"]


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


def positive(what: str, value: Any) -> None:
    """Refuse what is no positive number.

    Raises:
        DeclarationError: it is not.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not (0 < value < math.inf):
        raise DeclarationError(f"{what}: expected a positive number, got {value!r}.")
