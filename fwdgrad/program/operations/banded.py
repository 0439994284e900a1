"""Linear equations with a band matrix: n of them, each with the unknowns near it, cost O(n) and not O(n³).

A band is an array (n, 2l + u + 1) with the column j of a matrix A in row j: band[j, l + u + i − j] = A_ij. That is
LAPACK's storage. The first l numbers of each row are 0, no part of A: there elimination with row exchanges fills in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.linalg.lapack

from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.operations.base import Flat, Operand, Operation
from fwdgrad.program.operations.indexing import scatter_add
from fwdgrad.program.operations.shapes import reshape
from fwdgrad.program.trail import Trail, dense

__all__ = ["band_factors", "band_solve", "factorised", "solved_by_bands"]

_GBTRF = {"f": scipy.linalg.lapack.sgbtrf, "d": scipy.linalg.lapack.dgbtrf}
_GBTRS = {"f": scipy.linalg.lapack.sgbtrs, "d": scipy.linalg.lapack.dgbtrs}


def factorised(band: Any, lower: int, upper: int) -> np.ndarray:
    """Triangular factors of a band matrix, by elimination with row exchanges (LAPACK gbtrf): O(n l (l + u)).

    Args:
        band: shape (n, 2l + u + 1).
        lower: l, diagonals below the main one.
        upper: u, diagonals above it.

    Returns:
        The factors in place of the band, and by how many rows each pivot was moved, in one vector.

    Raises:
        LinAlgError: the matrix has no inverse.
    """
    factors, pivots, info = _GBTRF[band.dtype.char](band.T, lower, upper)
    if info > 0:
        raise np.linalg.LinAlgError("Singular matrix")
    return np.concatenate([factors.T.ravel(), (pivots - np.arange(len(pivots))).astype(band.dtype)])


def solved_by_bands(factors: Any, right: Any, lower: int, upper: int, transposed: bool) -> np.ndarray:
    """A⁻¹ b, or A⁻ᵀ b, from what `factorised` returned: O(n (2l + u))."""
    (n,) = right.shape
    table = factors[:-n].reshape(n, 2 * lower + upper + 1)
    pivots = (factors[-n:].astype(np.int32) + np.arange(n, dtype=np.int32)).astype(np.int32)
    return _GBTRS[right.dtype.char](table.T, lower, upper, right, pivots, trans=int(transposed))[0]


class BandFactors(Flat):
    """Factors of a band matrix, which `band_solve` is handed beside it; they have no derivative of their own."""

    def evaluate(self, band: Any, lower: int, upper: int) -> Any:
        return factorised(np.asarray(band), lower, upper)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        n = _rows(inputs[0], params)
        return (Abstract((n * (inputs[0].shape[1] + 1),), inputs[0].dtype),)

    def multiply_adds(self, instruction: Instruction) -> int:
        """For each unknown its row, as often as rows stand below it."""
        n, width = instruction.inputs[0].shape
        lower = instruction.params["lower"]
        return n * (lower + 1) * (width - lower)

    def may_refuse(self, instruction: Instruction) -> bool:
        """A matrix may have no inverse."""
        return True


class BandSolve(Operation):
    """(band, its factors, b) ↦ A⁻¹ b, or A⁻ᵀ b if `transposed`. Its derivative in A is with the band."""

    def evaluate(self, band: Any, factors: Any, right: Any, lower: int, upper: int, transposed: bool) -> Any:
        return solved_by_bands(np.asarray(factors), np.asarray(right), lower, upper, transposed)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        n = _rows(inputs[0], params)
        if inputs[2].shape != (n,) or inputs[1].shape != (n * (inputs[0].shape[1] + 1),):
            raise ValueError(f"a band of {inputs[0].shape} does not fit {inputs[1].shape} and {inputs[2].shape}")
        return (Abstract((n,), np.result_type(*(i.dtype for i in inputs))),)

    def linear_in(self, number: int) -> bool:
        """In the right-hand side."""
        return number == 2

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        """A⁻¹ (db − dA x)."""
        moved, _, right = directions
        if moved is not None:
            row, column, inside = _places(*out.shape, params["lower"], params["upper"])
            into, read = (column, row) if params["transposed"] else (row, column)
            terms = reshape(moved * inside.astype(out.dtype) * out[read], shape=(row.size,))
            part = -scatter_add(terms, into.ravel(), index=(("operand",),), shape=out.shape)
            right = part if right is None else right + part
        return None if right is None else self(values[0], values[1], right, **params)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        if number == 1:
            return None
        adjoint = self(values[0], values[1], g, **{**params, "transposed": not params["transposed"]})
        if number == 2:
            return adjoint
        row, column, inside = _places(*out.shape, params["lower"], params["upper"])
        left, right = (out, adjoint) if params["transposed"] else (adjoint, out)
        return -(left[row] * right[column] * inside.astype(out.dtype))

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Everything from everything."""
        return [dense(trails, instruction.outputs[0].shape)]

    def multiply_adds(self, instruction: Instruction) -> int:
        """One for each number of the factors."""
        return math.prod(instruction.inputs[0].shape)


band_factors = BandFactors("band_factors")
band_solve = BandSolve("band_solve")


def _rows(band: Operand, params: dict[str, Any]) -> int:
    """n, of a band of the width that it has to have."""
    if len(band.shape) != 2 or band.shape[1] != 2 * params["lower"] + params["upper"] + 1 or band.dtype.kind != "f":
        raise ValueError(f"a band with {params['lower']} and {params['upper']} diagonals is not {band.shape}")
    return band.shape[0]


@lru_cache(maxsize=16)
def _places(n: int, lower: int, upper: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The row and column of each number of a band, 0 where it is none of the matrix; and 1 where it is one, else 0."""
    column = np.repeat(np.arange(n)[:, None], 2 * lower + upper + 1, axis=1)
    row = column + np.arange(-lower - upper, lower + 1)
    inside = (row >= 0) & (row < n) & (row >= column - upper)
    return np.where(inside, row, 0), np.where(inside, column, 0), inside.astype(float)
