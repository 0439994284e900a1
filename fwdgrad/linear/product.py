"""The derivative of a step in a matrix that enters through a product, through the traced program."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.program import Linearized, map_rows
from fwdgrad.program import operations as ops
from fwdgrad.structure import MOST, Product, ResultPattern

__all__ = ["TracedProduct"]


class TracedProduct:
    """B = D ⊗ a for a matrix Ŵ that F uses in z = Ŵ a only: a, and products with D = ∂h'/∂z.

    Args:
        linearized: F at a point.
        use: the product.
        result: where D can be non-zero.
    """

    def __init__(self, linearized: Linearized, use: Product, result: ResultPattern) -> None:
        self._linearized, self._use, self._result = linearized, use, result
        self._dtype = linearized.value[0].dtype
        self.axis = use.axis

    @property
    def factor(self) -> Any:
        """a, shape (r,)."""
        value, size = self._linearized.at(self._use.factor), self._result.shape[self.axis]
        if self._use.selects:
            return np.where(np.arange(size) == value, 1.0, 0.0).astype(self._dtype)
        return np.reshape(value, (size,)).astype(self._dtype)

    def vjp(self, cotangent: Any) -> Any:
        """c·D, shape (m,)."""
        (gradient,) = self._linearized.vjp([cotangent], [self._use.result])
        return np.reshape(gradient, (self._result.shape[1 - self.axis],))

    def jacobian(self) -> Any:
        """D, shape (n, m): its rows by colours if they take few, else one by one."""
        pattern, colours = self._result.pattern, self._result.colours
        n, count = pattern.shape[0], int(colours.max(initial=-1)) + 1
        if count > MOST:
            (rows,) = map_rows(lambda row: [self.vjp(row)], np.eye(n, dtype=self._dtype))
            return rows
        row, column = pattern.nonzero()
        order = np.argsort(colours[row], kind="stable")
        row, column = row[order], column[order]
        mine = [column[colours[row] == c] for c in range(count)]
        seen = [self.vjp((colours == c).astype(self._dtype))[mine[c]] for c in range(count)]
        index = (("operand",), ("operand",))
        return ops.scatter_add(np.concatenate(seen), row, column, index=index, shape=pattern.shape)
