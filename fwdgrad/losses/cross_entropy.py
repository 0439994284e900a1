"""Symbols, by the logarithms of their odds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, ShapeError
from fwdgrad.support.arguments import suggests

__all__ = ["CrossEntropy"]


@suggests
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
