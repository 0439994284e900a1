"""Singular values and left singular vectors of small square matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.operations.base import Operand, Operation
from fwdgrad.program.trail import Trail, dense

__all__ = ["SWEEPS", "singular", "singular_system"]

SWEEPS = 30
"""Sweeps at most; five or six are enough."""


def singular_system(a: Any) -> Any:
    """Singular values, and below them the left singular vectors as columns: shape (n + 1, n), the largest first.

    By rotations that make the rows orthogonal (one-sided Jacobi, Hestenes 1958), so of a matrix whose rows differ by
    orders of magnitude the small singular values are as accurate as the large ones (Demmel & Veselić 1992). Rows of
    zeros stay apart, and the vectors are orthonormal whatever the rank.

    Args:
        a: shape (n, n), with n of 20 or so at most: O(n³) for each sweep, one number after the other.
    """
    a = np.asarray(a)
    n, rows, axes = len(a), a.astype(float).tolist(), np.eye(len(a)).tolist()
    unit = n * float(np.finfo(a.dtype).eps)
    for _ in range(SWEEPS):
        turned = False
        for p in range(n - 1):
            for q in range(p + 1, n):
                one, other = rows[p], rows[q]
                first, second = _product(one, one), _product(other, other)
                off = _product(one, other)
                if abs(off) <= unit * math.sqrt(first) * math.sqrt(second):
                    continue
                turned = True
                ratio = (second - first) / (2.0 * off)
                t = (-1.0 if ratio < 0 else 1.0) / (abs(ratio) + math.sqrt(1.0 + ratio * ratio))
                c = 1.0 / math.sqrt(1.0 + t * t)
                s = t * c
                for pair in (rows, axes):
                    x, y = pair[p], pair[q]
                    pair[p] = [c * u - s * v for u, v in zip(x, y, strict=True)]
                    pair[q] = [s * u + c * v for u, v in zip(x, y, strict=True)]
        if not turned:
            break
    values = [math.sqrt(_product(row, row)) for row in rows]
    order = sorted(range(n), key=lambda k: -values[k])
    columns = [[values[k], *axes[k]] for k in order]
    return np.array(columns, a.dtype).reshape(n, n + 1).T.copy()


def _product(x: list[float], y: list[float]) -> float:
    total = 0.0
    for u, v in zip(x, y, strict=True):
        total += u * v
    return total


class Singular(Operation):
    """See `singular_system`. It has no derivative: it is for algorithms, and no function of users comes to it."""

    def evaluate(self, a: Any) -> Any:
        return singular_system(a)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        shape = inputs[0].shape
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"expected a square matrix, got shape {shape}")
        return (Abstract((shape[0] + 1, shape[1]), inputs[0].dtype),)

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Everything from everything."""
        return [dense(trails, instruction.outputs[0].shape)]

    def multiply_adds(self, instruction: Instruction) -> int:
        """Five sweeps over all pairs of rows."""
        return 20 * instruction.inputs[0].shape[0] ** 3


singular = Singular("singular")
