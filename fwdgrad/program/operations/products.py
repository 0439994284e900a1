"""Products of matrices and tensors, and linear algebra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.operations.base import Operand, Operation, ndim_of, sample_dtype, shape_of, swapped
from fwdgrad.program.operations.broadcasting import unbroadcast
from fwdgrad.program.operations.shapes import reshape
from fwdgrad.program.trail import Trail, broadcast, dense
from fwdgrad.program.trail_products import contracted

__all__ = ["det", "einsum", "inv", "matmul", "solve"]

MINORS = 8
"""Determinants of matrices of up to so many rows are differentiated without an inverse."""


class Multilinear(Operation):
    """Linear in each operand."""

    def linear_in(self, number: int) -> bool:
        """In each."""
        return True

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        """The sum over the operands that move."""
        total = None
        for k, direction in enumerate(directions):
            if direction is not None:
                part = self(*values[:k], direction, *values[k + 1 :], **params)
                total = part if total is None else total + part
        return total


class MatMul(Multilinear):
    """Matrix product, with NumPy's rules for vectors and stacks of matrices."""

    def evaluate(self, a: Any, b: Any) -> Any:
        return np.matmul(a, b)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        a, b = inputs
        if not a.shape or not b.shape or a.shape[-1] != b.shape[max(-2, -len(b.shape))]:
            raise ValueError(f"shapes {a.shape} and {b.shape} do not fit in a matrix product")
        left = a.shape[-2:-1] if len(a.shape) > 1 else ()
        right = b.shape[-1:] if len(b.shape) > 1 else ()
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return (Abstract(batch + left + right, np.result_type(a.dtype, b.dtype)),)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        a, b = values
        na, nb = ndim_of(a), ndim_of(b)
        if na == 1 and nb == 1:
            return g * (a if number else b)
        if na == 2 and nb == 1:
            return self(g, a) if number else reshape(g, shape=(*shape_of(g), 1)) * b
        if na == 1 and nb == 2:
            return reshape(a, shape=(*shape_of(a), 1)) * g if number else self(b, g)
        # stacks of matrices: vectors become matrices of one row or column, then the sum over the repeated stacks
        if na == 1:
            a, g = reshape(a, shape=(1, *shape_of(a))), np.expand_dims(g, -2)
        if nb == 1:
            b, g = reshape(b, shape=(*shape_of(b), 1)), np.expand_dims(g, -1)
        part = self(swapped(a), g) if number else self(g, swapped(b))
        part = unbroadcast(part, shape_of(b if number else a))
        return reshape(part, shape=shape_of(values[number]))

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Entry (i, k) from a_ij and b_jk for all j where neither is known to be zero."""
        a, b = trails
        ranks = len(a.shape), len(b.shape)
        if ranks == (2, 1):
            return [contracted(trails, "ij,j->i")]
        if ranks == (1, 2):
            return [contracted(trails, "j,jk->k")]
        if ranks == (1, 1):
            return [contracted(trails, "j,j->")]
        batch = "pqrst"[: max(ranks) - 2]
        left = batch[max(ranks) - ranks[0] :] + ("ij" if ranks[0] > 1 else "j")
        right = batch[max(ranks) - ranks[1] :] + ("jk" if ranks[1] > 1 else "j")
        if ranks[0] > 2 or ranks[1] > 2:  # stacks of matrices broadcast
            stack = instruction.outputs[0].shape[: max(ranks) - 2]
            a = broadcast(a, stack + a.shape[-2:]) if ranks[0] > 1 else a
            b = broadcast(b, stack + b.shape[-2:]) if ranks[1] > 1 else b
            left = batch + "ij" if ranks[0] > 1 else "j"
            right = batch + "jk" if ranks[1] > 1 else "j"
        out = batch + ("i" if ranks[0] > 1 else "") + ("k" if ranks[1] > 1 else "")
        return [contracted([a, b], f"{left},{right}->{out}")]

    def multiply_adds(self, instruction: Instruction) -> int:
        """One for each entry of the result and each number that is summed."""
        return math.prod(instruction.outputs[0].shape) * instruction.inputs[0].shape[-1]


matmul = MatMul("matmul")


class Einsum(Multilinear):
    """Einstein summation over two or more operands.

    `subscripts` are in explicit form and have no ellipsis; no letter stands twice in one operand, every letter of an
    operand stands in the output or in another operand, and equal letters stand for axes of equal size.
    """

    def evaluate(self, *operands: Any, subscripts: str) -> Any:
        return np.einsum(subscripts, *operands, optimize=len(operands) > 2)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        left, output = params["subscripts"].split("->")
        sizes: dict[str, int] = {}
        for letters, operand in zip(left.split(","), inputs, strict=True):
            for letter, size in zip(letters, operand.shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise ValueError(f"axis {letter!r} of {params['subscripts']!r} is {sizes[letter]} and {size} long")
        return (Abstract(tuple(sizes[c] for c in output), np.result_type(*(i.dtype for i in inputs))),)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        left, output = params["subscripts"].split("->")
        letters = left.split(",")
        others = [v for k, v in enumerate(values) if k != number]
        other_letters = [i for k, i in enumerate(letters) if k != number]
        subscripts = f"{','.join([output, *other_letters])}->{letters[number]}"
        return np.einsum(subscripts, g, *others, optimize=len(others) > 1)

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Every factor of every term of the sum that is not known to be zero."""
        return [contracted(trails, instruction.params["subscripts"])]

    def multiply_adds(self, instruction: Instruction) -> int:
        """One for each term of the sum."""
        letters = instruction.params["subscripts"].split("->")[0].split(",")
        pairs = zip(letters, instruction.inputs, strict=True)
        return math.prod({c: s for word, v in pairs for c, s in zip(word, v.shape, strict=True)}.values())


einsum = Einsum("einsum")


class LinearAlgebra(Operation):
    """A function of one or a stack of square matrices. Everything depends on everything: inverses are dense."""

    def evaluate(self, *operands: Any) -> Any:
        return getattr(np.linalg, self.name)(*operands)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        a = inputs[0].shape
        if len(a) < 2 or a[-1] != a[-2]:
            raise ValueError(f"expected a square matrix, got shape {a}")
        kinds = tuple(i.dtype for i in inputs)
        return (Abstract(self._shape(a, inputs), sample_dtype(self._of_1x1, kinds)),)

    def _shape(self, a: tuple[int, ...], inputs: Sequence[Operand]) -> tuple[int, ...]:
        """The shape of the result."""
        return a

    def _of_1x1(self, *numbers: Any) -> Any:
        return self.evaluate(*(np.reshape(n, (1, 1)) for n in numbers))

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Everything from everything."""
        return [dense(trails, instruction.outputs[0].shape)]

    def multiply_adds(self, instruction: Instruction) -> int:
        """As many as elimination takes."""
        return instruction.inputs[0].shape[-1] ** 3


class Inv(LinearAlgebra):
    """The inverse."""

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        return -matmul(matmul(out, directions[0]), out)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        return -matmul(matmul(swapped(out), g), swapped(out))

    def may_refuse(self, instruction: Instruction) -> bool:
        """A matrix may have no inverse."""
        return True


class Det(LinearAlgebra):
    """The determinant."""

    def _shape(self, a: tuple[int, ...], inputs: Sequence[Operand]) -> tuple[int, ...]:
        return a[:-2]

    def _cofactors(self, a: Any, out: Any) -> Any:
        """∂det/∂a: signed minors, which singular matrices have too; of large ones det · a⁻ᵀ, which they have not."""
        n = shape_of(a)[-1]
        if n > MINORS:
            return reshape(out, shape=(*shape_of(out), 1, 1)) * swapped(inv(a))
        if n < 2:
            return np.ones(shape_of(a), out.dtype)
        rest = np.array([[k for k in range(n) if k != i] for i in range(n)])
        minors = self(a[..., rest[:, None, :, None], rest[None, :, None, :]])
        return minors * ((-1.0) ** np.add.outer(np.arange(n), np.arange(n))).astype(out.dtype)

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        return np.sum(self._cofactors(values[0], out) * directions[0], axis=(-1, -2))

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        return reshape(g, shape=(*shape_of(out), 1, 1)) * self._cofactors(values[0], out)


class Solve(LinearAlgebra):
    """a⁻¹ b, for vectors b or matrices of several columns."""

    def linear_in(self, number: int) -> bool:
        """In the right-hand side."""
        return number == 1

    def _shape(self, a: tuple[int, ...], inputs: Sequence[Operand]) -> tuple[int, ...]:
        b = inputs[1].shape
        rows = b[-1:] if len(b) == 1 else b[-2:-1]
        if rows != a[-1:]:
            raise ValueError(f"shapes {a} and {b} do not fit: the right-hand side needs {a[-1]} rows")
        return a[:-1] if len(b) == 1 else (*np.broadcast_shapes(a[:-2], b[:-2]), *b[-2:])

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        a, b = values
        da, db = directions
        moved = None if da is None else -matmul(da, _column(out, b))
        right = moved if db is None else _column(db, b) if moved is None else _column(db, b) + moved
        return _uncolumn(self(a, right), b)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        a, b = values
        adjoint = self(swapped(a), _column(g, b))
        if number == 1:
            return unbroadcast(_uncolumn(adjoint, b), shape_of(b))
        return unbroadcast(-matmul(adjoint, swapped(_column(out, b))), shape_of(a))

    def may_refuse(self, instruction: Instruction) -> bool:
        """A matrix may have no inverse."""
        return True


inv, det, solve = Inv("inv"), Det("det"), Solve("solve")


def _column(x: Any, like: Any) -> Any:
    """Vectors as matrices of one column, when `like` is a vector."""
    return np.expand_dims(x, -1) if ndim_of(like) == 1 else x


def _uncolumn(x: Any, like: Any) -> Any:
    return reshape(x, shape=shape_of(x)[:-1]) if ndim_of(like) == 1 else x
