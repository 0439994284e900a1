"""The likelihood of an innovation whose covariance is predicted too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fwdgrad.program import operations as ops

__all__ = ["Innovations"]


@dataclass(frozen=True)
class Innovations:
    """ℓ = ½ log|S| + ½ eᵀ S⁻¹ e + ½ m log 2π, e = y − ŷ: minus the logarithm of the Gaussian density of y, in nats.

    The prediction holds ŷ and the upper triangular U with UᵀU = S, row by row, m + m (m + 1)/2 numbers: what a
    filtered system (`fwdgrad.filtered`) predicts. Components of y that are NaN are left out of e, of S, and of m, so
    that the sum of losses is minus the log-likelihood of all that was observed, the constant included.

    Args:
        shape: that of y.

    Example:
        >>> import numpy as np
        >>> loss = Innovations((1,))
        >>> round(float(loss.value(np.array([1.0, 2.0]), np.array([3.0]))), 4)  # ŷ = 1, deviation 2
        2.1121
    """

    shape: tuple[int, ...]

    componentwise: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"

    def target(self, prediction: Any) -> Any:
        """Zeros of the shape of y."""
        return np.zeros(self.shape, prediction.dtype)

    @property
    def size(self) -> int:
        """m."""
        return math.prod(self.shape)

    def mean(self, predictions: Any) -> Any:
        """ŷ of one prediction, or of several along the first axes."""
        return np.reshape(predictions[..., : self.size], (*np.shape(predictions)[:-1], *self.shape))

    def deviation(self, predictions: Any) -> Any:
        """The roots of the diagonal of S, likewise."""
        columns = np.triu_indices(self.size)[1]
        squares = np.asarray(predictions[..., self.size :], float) ** 2 @ (columns[:, None] == np.arange(self.size))
        return np.reshape(np.sqrt(squares), (*np.shape(predictions)[:-1], *self.shape)).astype(predictions.dtype)

    def root(self, prediction: Any) -> Any:
        """U, shape (m, m)."""
        return unpacked(prediction[self.size :], self.size)

    def value(self, prediction: Any, y: Any) -> Any:
        """ℓ over the observed components."""
        seen, made = self._observed(prediction, y)
        white = self._white(made, seen, prediction, y)
        logs = np.sum(seen * np.log(np.diagonal(made)))
        return logs + 0.5 * np.dot(white, white) + (0.5 * math.log(2.0 * math.pi)) * np.sum(seen)

    def innovations(self, prediction: Any, y: Any) -> tuple[Any, Any]:
        """U⁻ᵀ e, (m,): of variance 1 and not correlated if the model is right; and 1 for what was observed, else 0."""
        seen, made = self._observed(prediction, y)
        return self._white(made, seen, prediction, y), seen

    def gradient(self, prediction: Any, y: Any) -> Any:
        """∂ℓ/∂ŷ = −S⁻¹ e, ∂ℓ/∂U = U (S⁻¹ − S⁻¹ e eᵀ S⁻¹), S⁻¹ that of the observed components."""
        T, error = self._whitening(prediction, y)
        alpha = np.dot(T, np.dot(error, T))
        slope = np.dot(self.root(prediction), np.dot(T, np.transpose(T)) - np.expand_dims(alpha, 1) * alpha)
        return np.concatenate([-alpha, packed(slope, self.size)])

    def fisher(self, prediction: Any) -> Any:
        """Of ŷ and U, all components observed."""
        rows = self.information(prediction, np.zeros(self.shape, prediction.dtype))
        return np.dot(np.transpose(rows), rows)

    def information(self, prediction: Any, y: Any) -> Any:
        """L with LᵀL the Fisher matrix of (ŷ, U), for the components of y that are observed.

        Rows U⁻ᵀ for ŷ; for U, ½ tr(S⁻¹ dS S⁻¹ dS) = Σ_i V_ii²/2 + Σ_{i<j} V_ij² with V = U⁻ᵀ (dUᵀ U + Uᵀ dU) U⁻¹.
        """
        m = self.size
        T, _ = self._whitening(prediction, y)
        Z = np.dot(self.root(prediction), T)
        i, j = np.triu_indices(m)
        weight = np.where(i == j, math.sqrt(0.5), 1.0).astype(prediction.dtype)
        k, l, i, j = i[None, :], j[None, :], i[:, None], j[:, None]  # noqa: E741
        below = (T[l, i] * Z[k, j] + T[l, j] * Z[k, i]) * weight[:, None]
        above = np.concatenate([np.transpose(T), np.zeros((m, below.shape[1]), prediction.dtype)], axis=1)
        return np.concatenate([above, np.concatenate([np.zeros((below.shape[0], m), below.dtype), below], axis=1)])

    def _observed(self, prediction: Any, y: Any) -> tuple[Any, Any]:
        """1.0 for what was observed, (m,), and the factor of S there, with Id elsewhere."""
        seen = np.reshape(np.where(np.isnan(y), 0.0, 1.0), (-1,)).astype(prediction.dtype)
        return seen, ops.cholesky_update(np.diag(1.0 - seen), self.root(prediction) * seen)

    def _error(self, seen: Any, prediction: Any, y: Any) -> Any:
        return seen * np.reshape(np.where(np.isnan(y), 0.0, y) - self.mean(prediction), (-1,))

    def _white(self, made: Any, seen: Any, prediction: Any, y: Any) -> Any:
        error = np.expand_dims(self._error(seen, prediction, y), 1)
        return np.reshape(ops.solve_triangular(made, error, transposed=True), (-1,))

    def _whitening(self, prediction: Any, y: Any) -> tuple[Any, Any]:
        """T with T Tᵀ = S⁻¹ of the observed components, zero elsewhere; and e."""
        seen, made = self._observed(prediction, y)
        unit = np.eye(self.size, dtype=prediction.dtype)
        T = np.expand_dims(seen, 1) * ops.solve_triangular(made, unit, transposed=False)
        return T * seen, self._error(seen, prediction, y)


def packed(upper: Any, size: int) -> Any:
    """The entries on and above the diagonal, row by row, of (n, n)."""
    rows, columns = np.triu_indices(size)
    return upper[rows, columns]


def unpacked(entries: Any, size: int) -> Any:
    """The inverse of `packed`: (n, n) with zeros below the diagonal."""
    places = np.full((size, size), len(entries) if isinstance(entries, np.ndarray) else entries.shape[0])
    places[np.triu_indices(size)] = np.arange(size * (size + 1) // 2)
    return np.concatenate([entries, np.zeros(1, entries.dtype)])[places]
