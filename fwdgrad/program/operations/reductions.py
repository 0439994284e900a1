"""Operations along axes: sums, extreme values, running sums, order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract
from fwdgrad.program.operations.base import Operand, Operation, sample_dtype

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
        if self.name in ("max", "min") and any(x.shape[k] == 0 for k in axes):
            raise ValueError("there is no largest or smallest value along an axis of size 0")
        shape = tuple(s for k, s in enumerate(x.shape) if k not in axes)
        return (Abstract(shape, sample_dtype(getattr(np, self.name), (x.dtype,))),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        every = len(params["axes"]) == len(inputs[0].shape)
        method = {"sum": "np.add.reduce", "max": "np.maximum.reduce", "min": "np.minimum.reduce"}.get(
            self.name, f"np.{self.name}"
        )
        axes = params["axes"]
        if every and len(axes) > 1:
            return f"{method}({arguments[0]}, axis=None)"
        return f"{method}({arguments[0]}, axis={axes[0] if len(axes) == 1 else axes})"


reduce_sum, reduce_max, reduce_min = Reduce("sum"), Reduce("max"), Reduce("min")
reduce_any, reduce_all = Reduce("any"), Reduce("all")


class ArgSort(Operation):
    """Indices that sort along the last axis (stable)."""

    def evaluate(self, x: Any) -> Any:
        return np.argsort(x, axis=-1, kind="stable")

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, np.dtype(np.intp)),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.argsort({arguments[0]}, axis=-1, kind='stable')"


argsort = ArgSort("argsort")


class ArgExtreme(Operation):
    """Index of the largest or smallest value along the last axis."""

    def evaluate(self, x: Any) -> Any:
        return getattr(np, self.name)(x, axis=-1)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        if inputs[0].shape[-1] == 0:
            raise ValueError("there is no largest or smallest value along an axis of size 0")
        return (Abstract(inputs[0].shape[:-1], np.dtype(np.intp)),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.{self.name}({arguments[0]}, axis=-1)"


argmax, argmin = ArgExtreme("argmax"), ArgExtreme("argmin")


class SearchSorted(Operation):
    """Number of entries of the sorted table that are ≤ x (side='right')."""

    def evaluate(self, table: Any, x: Any) -> Any:
        return np.searchsorted(table, x, side="right")

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        if len(inputs[0].shape) != 1:
            raise ValueError(f"the sorted table has to have one axis, not shape {inputs[0].shape}")
        return (Abstract(inputs[1].shape, np.dtype(np.intp)),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.searchsorted({arguments[0]}, {arguments[1]}, side='right')"


searchsorted = SearchSorted("searchsorted")


class CumSum(Operation):
    """Running sums along `axis`."""

    def evaluate(self, x: Any, *, axis: int) -> Any:
        return np.cumsum(x, axis=axis)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, sample_dtype(np.cumsum, (inputs[0].dtype,))),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.cumsum({arguments[0]}, axis={params['axis']})"


cumsum = CumSum("cumsum")
