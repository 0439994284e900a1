"""Cholesky's method for matrices that may be singular, as a function that can be traced."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fwdgrad.program.loops import scan

__all__ = ["root"]


def root(matrix: Any) -> Any:
    """L, shape (m, m), with LᵀL = I: Cholesky's method, with zero rows where I is singular, NaN where indefinite.

    Singular is what is 0 to rounding, relative to the trace.
    """
    size = matrix.shape[0]
    if isinstance(matrix, np.ndarray) and np.array_equal(matrix, np.diag(np.diagonal(matrix))):
        return np.sqrt(matrix)
    if size == 1:
        return np.sqrt(matrix)
    small = 512 * float(np.finfo(matrix.dtype).eps)
    trace = np.trace(matrix)

    def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
        (left,), (unit,) = carry, row
        line = np.dot(unit, left)
        pivot = np.dot(line, unit)
        live = pivot > small * trace
        # |I_ij|² ≤ I_ii I_jj: beside a pivot of nothing there is nothing, or the matrix is indefinite
        lost = (pivot < -small * trace) | (np.max(np.abs(line)) > math.sqrt(small) * trace)
        rest = np.where(lost, np.nan, 0.0).astype(line.dtype)
        line = np.where(live, line / np.sqrt(np.where(live, pivot, 1.0)), rest)
        return (left - np.expand_dims(line, 1) * line,), (line,)

    return scan(turn, (matrix,), (np.eye(size, dtype=matrix.dtype),))[1][0]
