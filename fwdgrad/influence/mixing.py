"""The least noisy random reduction of a sum of q = r + 1 products Σ_j l_j ⊗ r_j to r of them.

Benzing, Gauy, Mujika, Martinsson & Steger 2019, "Optimal Kronecker-Sum Approximation of Real Time Recurrent Learning",
Appendix A. With L = Q R_L, R = P R_R (columns l_j, r_j) and the singular value decomposition R_L R_Rᵀ = U diag(σ) Vᵀ,
the sum is Σ_i σ_i (Q U_i) ⊗ (P V_i), a sum over orthonormal vectors. The large components are kept as they are: the
first k, where (r − k) σ_(k+1) > Σ_(i>k) σ_i holds for the last time. The others, of sum s, are merged into r − k: with

    z_i = √(1 − σ_i (r − k)/s),    Z orthonormal columns, orthogonal to z,    X = √(s/(r − k)) diag(ε) Z

E X Xᵀ = diag(σ) over signs ε, and no other X of r − k columns has a smaller variance. So

    l' = Q U X,      r' = R R_Lᵀ U diag(1/σ) X        Σ_j l'_j ⊗ r'_j has mean Σ_j l_j ⊗ r_j

for any orthogonal U and any σ > 0: what rounding does to U and σ costs variance, and makes no bias. All of it is plain
NumPy that can be traced. A factor may be an array, or a dict of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program import operations as ops

__all__ = ["combined", "mixture"]


def mixture(left: Sequence[Any], right: Sequence[Any], signs: Any) -> tuple[list[Any], Any]:
    """The left factors l', and the coefficients of the right ones: r'_j = Σ_i r_i N_ij, an array (q, r).

    Args:
        left: q factors, of one shape.
        right: as many. They are larger, so only their products with each other are formed here.
        signs: ε, shape (q,).
    """
    basis, triangle = _triangle(left)
    values, axes = _components(triangle, _triangle(right)[1])
    X = _mixing(values, signs)
    inverse = np.where(values > 0, 1.0 / np.where(values > 0, values, 1.0), 0.0).astype(X.dtype)
    turned = np.dot(axes, X)
    scaled = np.dot(np.transpose(triangle), np.dot(axes, np.reshape(inverse, (-1, 1)) * X))
    return [combined(basis, turned[:, j]) for j in range(len(left) - 1)], scaled


def combined(vectors: Sequence[Any], weights: Any) -> Any:
    """Σ_i weights_i vectors_i."""
    if isinstance(vectors[0], dict):
        return {k: combined([v[k] for v in vectors], weights) for k in vectors[0]}
    total = weights[0] * vectors[0]
    for i, v in enumerate(vectors[1:], 1):
        total = total + weights[i] * v
    return total


def _triangle(vectors: Sequence[Any]) -> tuple[list[Any], Any]:
    """Gram–Schmidt: an orthonormal basis, and the triangle T with vectors_j = Σ_i basis_i T_ij.

    What is nothing but rounding beside the vector that it was left of is zero in the basis.
    """
    basis: list[Any] = []
    columns, count = [], len(vectors)
    for v in vectors:
        whole, weights, rest = _dot(v, v), [], v
        for b in basis:
            weights.append(_dot(b, rest))
            rest = _less(rest, weights[-1], b)
        square = _dot(rest, rest)
        unit = np.finfo(whole.dtype).eps
        live = square > (8 * unit) ** 2 * whole
        norm = np.sqrt(np.where(live, square, 1.0))
        inverse = np.where(live, 1.0 / norm, 0.0).astype(whole.dtype)
        basis.append(_times(inverse, rest))
        zeros = [np.zeros((), whole.dtype)] * (count - len(basis))
        columns.append(np.stack([*weights, np.where(live, norm, 0.0).astype(whole.dtype), *zeros]))
    return basis, np.stack(columns, axis=1)


def _components(left: Any, right: Any) -> tuple[Any, Any]:
    """σ and U; what is rounding beside the largest is 0."""
    system = ops.singular(np.dot(left, np.transpose(right)))
    values = system[0]
    unit = 16 * values.shape[0] * np.finfo(values.dtype).eps
    return np.where(values > unit * values[0], values, 0.0), system[1:]


def _mixing(values: Any, signs: Any) -> Any:
    """X, shape (q, r): E X Xᵀ = diag(σ)."""
    q = values.shape[0]
    rank, dtype = q - 1, values.dtype
    tails = np.dot(np.triu(np.ones((q, q), dtype)), values)
    kept = np.arange(rank, -1, -1).astype(dtype) * values > tails
    room = rank - np.sum(np.where(kept, 1.0, 0.0))  # at least 1: of the last two, one is never kept
    rest = np.sum(np.where(kept, 0.0, values))
    last = np.arange(q) == rank
    share = values * (room / np.where(rest > 0, rest, 1.0))
    tail = np.sqrt(np.maximum(np.where(kept, 0.0, 1.0 - share), 0.0))
    z = np.where(rest > 0, tail, np.where(last, 1.0, 0.0))
    # the reflection that takes the last unit vector to −z: its other columns are orthogonal to z, and to what is kept
    y = z + np.where(last, 1.0, 0.0)
    reflected = np.eye(q) - np.reshape(y, (-1, 1)) * (y / y[rank])
    scale = np.sqrt(np.where(kept, values, rest / room)) * signs
    return (np.reshape(scale, (-1, 1)) * reflected[:, :rank]).astype(dtype)


def _dot(x: Any, y: Any) -> Any:
    if isinstance(x, dict):
        parts = [np.vdot(x[k], y[k]) for k in x]
        return sum(parts[1:], parts[0])
    return np.vdot(x, y)


def _less(x: Any, weight: Any, y: Any) -> Any:
    return {k: x[k] - weight * y[k] for k in x} if isinstance(x, dict) else x - weight * y


def _times(weight: Any, x: Any) -> Any:
    return {k: weight * v for k, v in x.items()} if isinstance(x, dict) else weight * x
