"""Triangular factors of positive definite matrices, and solving with them.

An upper triangular R with no negative number on its diagonal stands for RᵀR. Adding to RᵀR and solving with it need no
entry of RᵀR itself, so nothing is lost when numbers of very different size are added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg.lapack

from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.operations.base import Operand, Operation, shape_of, swapped
from fwdgrad.program.operations.products import matmul
from fwdgrad.program.trail import Trail, dense

__all__ = ["add_rows", "cholesky_update", "solve_triangle", "solve_triangular"]

_BLOCK = 8
_TPQRT = {"f": scipy.linalg.lapack.stpqrt, "d": scipy.linalg.lapack.dtpqrt}
_TRTRS = {"f": scipy.linalg.lapack.strtrs, "d": scipy.linalg.lapack.dtrtrs}


def add_rows(r: Any, rows: Any) -> Any:
    """The factor of RᵀR + BᵀB, by orthogonal transformations of R and B (LAPACK tpqrt): O(m n²).

    Args:
        r: R, shape (n, n), zeros below the diagonal; or a stack (…, n, n).
        rows: B, shape (m, n), or a stack of as many.
    """
    return _each(_add_rows, np.asarray(r), np.asarray(rows))


def _add_rows(r: np.ndarray, rows: np.ndarray) -> np.ndarray:
    made = _TPQRT[r.dtype.char](0, min(len(r), _BLOCK), r, rows)[0] if r.size and rows.size else r
    return np.multiply(made, np.where(np.diagonal(made) < 0, -1, 1).astype(r.dtype)[:, None], order="C")


def solve_triangle(r: Any, b: Any, transposed: bool) -> Any:
    """R⁻¹ b, or R⁻ᵀ b: O(n²) for each column of b.

    Args:
        r: R, shape (n, n), zeros below the diagonal; or a stack (…, n, n).
        b: shape (n, k), or a stack of as many.
        transposed: whether to solve with Rᵀ.
    """
    return _each(lambda one, right: _solve(one, right, transposed), np.asarray(r), np.asarray(b))


def _solve(r: np.ndarray, b: np.ndarray, transposed: bool) -> np.ndarray:
    if not b.size:
        return b.copy()
    # the transpose is in Fortran's order, so that nothing is copied
    x, info = _TRTRS[r.dtype.char](r.T, b, lower=1, trans=0 if transposed else 1)
    return np.ascontiguousarray(x) if info == 0 else np.full_like(b, np.nan)


def _each(function: Callable[..., Any], one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Over the stack, if there is one."""
    dtype = np.result_type(one, other)
    one, other = one.astype(dtype, copy=False), other.astype(dtype, copy=False)
    if one.ndim == 2:
        return function(one, other)
    flat = [function(a, b) for a, b in zip(_stack(one), _stack(other), strict=True)]
    last = one.shape[-2:] if function is _add_rows else other.shape[-2:]
    return np.array(flat, dtype).reshape(*one.shape[:-2], *last)


def _stack(x: np.ndarray) -> np.ndarray:
    return x.reshape(int(np.prod(x.shape[:-2], dtype=int)), *x.shape[-2:])


class Factors(Operation):
    """What both operations share: R and something of as many columns, or rows, in a stack as long."""

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        r, other = (i.shape for i in inputs)
        axis = -1 if self.name == "cholesky_update" else -2
        if len(r) < 2 or r[-1] != r[-2] or len(other) != len(r) or other[axis] != r[-1] or other[:-2] != r[:-2]:
            raise ValueError(f"shapes {r} and {other} do not fit")
        return (Abstract(r if axis == -1 else other, np.result_type(*(i.dtype for i in inputs))),)

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Everything from everything."""
        return [dense(trails, instruction.outputs[0].shape)]

    def multiply_adds(self, instruction: Instruction) -> int:
        """One for each number of the second operand and each row of R."""
        return math.prod(instruction.inputs[1].shape) * instruction.inputs[0].shape[-1]


class CholeskyUpdate(Factors):
    """(R, B) ↦ the upper triangular factor of RᵀR + BᵀB; see `add_rows`."""

    def evaluate(self, r: Any, rows: Any) -> Any:
        return add_rows(r, rows)

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        """SᵀS = RᵀR + BᵀB, so S⁻ᵀ(dRᵀR + RᵀdR + …)S⁻¹ = (dS S⁻¹)ᵀ + dS S⁻¹, of which dS S⁻¹ is the upper triangle."""
        total = None
        for number, (value, direction) in enumerate(zip(values, directions, strict=True)):
            if direction is not None:
                one, other = (value, direction) if number else (_upper(value), _upper(direction))
                part = matmul(swapped(one), other)
                total = part if total is None else total + part
        return matmul(_upper(_between(out, total + swapped(total), transposed=True), 0.5), out)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        half = _upper(matmul(g, swapped(out)), 0.5)
        middle = _between(out, half + swapped(half), transposed=False)
        if number == 1:
            return matmul(values[1], middle)
        return _upper(matmul(_upper(values[0]), middle))


class SolveTriangular(Factors):
    """(R, b) ↦ R⁻¹ b, or R⁻ᵀ b if `transposed`; see `solve_triangle`."""

    def evaluate(self, r: Any, b: Any, transposed: bool) -> Any:
        return solve_triangle(r, b, transposed)

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        r = values[0]
        dr, db = directions
        moved = None if dr is None else -matmul(swapped(_upper(dr)) if params["transposed"] else _upper(dr), out)
        right = moved if db is None else db if moved is None else db + moved
        return solve_triangular(r, right, **params)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        adjoint = solve_triangular(values[0], g, transposed=not params["transposed"])
        if number == 1:
            return adjoint
        outer = matmul(out, swapped(adjoint)) if params["transposed"] else matmul(adjoint, swapped(out))
        return -_upper(outer)


cholesky_update = CholeskyUpdate("cholesky_update")
solve_triangular = SolveTriangular("solve_triangular")


def _upper(x: Any, diagonal: float = 1.0) -> Any:
    """The part on and above the diagonal, the diagonal times a number."""
    n = shape_of(x)[-1]
    return x * (np.triu(np.ones((n, n)), 1) + diagonal * np.eye(n)).astype(x.dtype)


def _between(r: Any, x: Any, transposed: bool) -> Any:
    """R⁻¹ X R⁻ᵀ, or R⁻ᵀ X R⁻¹ if transposed, for a symmetric result."""
    half = solve_triangular(r, x, transposed=transposed)
    return solve_triangular(r, swapped(half), transposed=transposed)
