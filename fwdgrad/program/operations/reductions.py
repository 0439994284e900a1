"""Operations along axes: sums, extreme values, running sums, order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.operations.base import Flat, Linear, Operand, Operation, is_floating, sample_dtype, shape_of
from fwdgrad.program.operations.shapes import reshape
from fwdgrad.program.trail import EXPANSION, Trail, numbers, summed

__all__ = [
    "Reduce",
    "argmax",
    "argmin",
    "argsort",
    "cumsum",
    "reduce_all",
    "reduce_any",
    "reduce_max",
    "reduce_min",
    "reduce_sum",
    "searchsorted",
]


class Reduce(Operation):
    """Sum, largest or smallest value, any or all, over the axes in `axes` (a tuple of non-negative integers)."""

    def evaluate(self, x: Any, *, axes: tuple[int, ...]) -> Any:
        return getattr(np, self.name)(x, axis=axes)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        (x,), axes = inputs, params["axes"]
        shape = tuple(s for k, s in enumerate(x.shape) if k not in axes)
        return (Abstract(shape, sample_dtype(getattr(np, self.name), (x.dtype,))),)


class Sum(Reduce, Linear):
    """The sum over axes."""

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        return laid_back(g, shape_of(values[0]), params["axes"])

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """All that are summed."""
        return [summed(trails[0], instruction.params["axes"])]

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        return operands[0] if not params["axes"] and is_floating(operands[0]) else None


class Extreme(Reduce):
    """The largest or smallest value over axes; the derivative is shared by equal ones."""

    additive = True
    kink = True

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        if any(inputs[0].shape[k] == 0 for k in params["axes"]):
            raise ValueError("there is no largest or smallest value along an axis of size 0")
        return super().infer(inputs, params)

    def _share(self, values: list[Any], out: Any, params: dict[str, Any]) -> Any:
        """How it depends on its operand: 1 at the place of the extreme value, shared if several."""
        shape = shape_of(values[0])
        hit = (values[0] == laid_back(out, shape, params["axes"])).astype(out.dtype)
        return hit / laid_back(reduce_sum(hit, axes=params["axes"]), shape, params["axes"])

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        return reduce_sum(directions[0] * self._share(values, out, params), axes=params["axes"])

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        return laid_back(g, shape_of(values[0]), params["axes"]) * self._share(values, out, params)

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """All that are compared."""
        x, axes = trails[0], instruction.params["axes"]
        kept = tuple(1 if k in axes else s for k, s in enumerate(x.shape))
        groups = np.broadcast_to(numbers(kept), x.shape).ravel()
        shape = tuple(s for k, s in enumerate(x.shape) if k not in axes)
        depends = x.depends.merged(groups, math.prod(shape))
        return [Trail(shape, depends, depends)]


class Question(Flat, Reduce):
    """Whether any, or all, are true."""


reduce_sum, reduce_max, reduce_min = Sum("sum"), Extreme("max"), Extreme("min")
reduce_any, reduce_all = Question("any"), Question("all")


def laid_back(g: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """A reduction's result laid back over the axes that were reduced, without copying it along them."""
    return reshape(g, shape=tuple(1 if k in axes else s for k, s in enumerate(shape)))


class ArgSort(Flat):
    """Indices that sort along the last axis (stable)."""

    def evaluate(self, x: Any) -> Any:
        return np.argsort(x, axis=-1, kind="stable")

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, np.dtype(np.intp)),)


argsort = ArgSort("argsort")


class ArgExtreme(Flat):
    """Index of the largest or smallest value along the last axis."""

    def evaluate(self, x: Any) -> Any:
        return getattr(np, self.name)(x, axis=-1)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        if inputs[0].shape[-1] == 0:
            raise ValueError("there is no largest or smallest value along an axis of size 0")
        return (Abstract(inputs[0].shape[:-1], np.dtype(np.intp)),)


argmax, argmin = ArgExtreme("argmax"), ArgExtreme("argmin")


class SearchSorted(Flat):
    """Number of entries of the sorted table that are ≤ x (side='right')."""

    def evaluate(self, table: Any, x: Any) -> Any:
        return np.searchsorted(table, x, side="right")

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        if len(inputs[0].shape) != 1:
            raise ValueError(f"the sorted table has to have one axis, not shape {inputs[0].shape}")
        return (Abstract(inputs[1].shape, np.dtype(np.intp)),)


searchsorted = SearchSorted("searchsorted")


class CumSum(Linear):
    """Running sums along `axis`."""

    def evaluate(self, x: Any, *, axis: int) -> Any:
        return np.cumsum(x, axis=axis)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, sample_dtype(np.cumsum, (inputs[0].dtype,))),)

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        return _flip(self(_flip(g, params["axis"]), **params), params["axis"])

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """All up to the entry."""
        x, axis = trails[0], instruction.params["axis"]
        length = x.shape[axis]
        if x.size * length > EXPANSION:  # too many pairs: each entry of a line from the whole line
            kept = tuple(1 if k == axis else s for k, s in enumerate(x.shape))
            lines = np.broadcast_to(numbers(kept), x.shape).ravel()
            return [x.mapped(x.shape, lambda d: d.merged(lines, int(lines.max(initial=-1)) + 1).take(lines), None)]
        later, earlier = np.nonzero(np.tri(length, dtype=bool))
        grid = np.moveaxis(numbers(x.shape), axis, 0)
        groups, entries = grid[later].ravel(), grid[earlier].ravel()
        return [x.mapped(x.shape, lambda d: d.selected(groups, entries, x.size), None)]


cumsum = CumSum("cumsum")


def _flip(g: Any, axis: int) -> Any:
    return g[(*(slice(None),) * axis, slice(None, None, -1))]
