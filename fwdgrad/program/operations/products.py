"""Products of matrices and tensors, and linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract
from fwdgrad.program.operations.base import Operand, Operation, sample_dtype

__all__ = ["det", "einsum", "inv", "matmul", "solve"]


class MatMul(Operation):
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

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        small = all(len(i.shape) <= 2 for i in inputs)
        return f"{'np.dot' if small else 'np.matmul'}({', '.join(arguments)})"


matmul = MatMul("matmul")


class Einsum(Operation):
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

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        optimize = ", optimize=True" if len(arguments) > 2 else ""
        return f"np.einsum({params['subscripts']!r}, {', '.join(arguments)}{optimize})"


einsum = Einsum("einsum")


class LinearAlgebra(Operation):
    """inv(a), det(a) or solve(a, b) of one or a stack of square matrices."""

    def evaluate(self, *operands: Any) -> Any:
        return getattr(np.linalg, self.name)(*operands)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        a = inputs[0].shape
        if len(a) < 2 or a[-1] != a[-2]:
            raise ValueError(f"expected a square matrix, got shape {a}")
        shape = a if self.name == "inv" else a[:-2]
        if self.name == "solve":
            b = inputs[1].shape
            rows = b[-1:] if len(b) == 1 else b[-2:-1]
            if rows != a[-1:]:
                raise ValueError(f"shapes {a} and {b} do not fit: the right-hand side needs {a[-1]} rows")
            shape = a[:-1] if len(b) == 1 else (*np.broadcast_shapes(a[:-2], b[:-2]), *b[-2:])
        return (Abstract(shape, sample_dtype(self._of_1x1, tuple(i.dtype for i in inputs))),)

    def _of_1x1(self, *numbers: Any) -> Any:
        return self.evaluate(*(np.reshape(n, (1, 1)) for n in numbers))

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.linalg.{self.name}({', '.join(arguments)})"


inv, det, solve = LinearAlgebra("inv"), LinearAlgebra("det"), LinearAlgebra("solve")
