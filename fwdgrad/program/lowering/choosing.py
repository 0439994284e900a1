"""Choosing entries: conditions, bounds, order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.lowering.registry import SUPPORTED, Lowering, as_array, axis_of, lowers
from fwdgrad.program.sources import refuse
from fwdgrad.program.tracer import as_operand

_ABSENT: Any = object()


@lowers(np.where, note="the derivative of the alternative that is taken; np.where(condition) alone is refused")
def _where(condition: Any, x: Any = _ABSENT, y: Any = _ABSENT) -> Any:
    if x is _ABSENT or y is _ABSENT:
        refuse(
            "np.where(condition) alone gives an array whose size depends on values",
            "Use np.where(condition, a, b) with both alternatives.",
        )
    condition = as_array(condition)
    if condition.dtype != bool:
        condition = condition != 0
    return ops.POINTWISE["where"](condition, as_operand(x), as_operand(y))


@lowers(np.clip, note="at a bound, half of the derivative goes to the array and half to the bound")
def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    a = as_operand(a)
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


@lowers(np.select, note="the derivative of the alternative that is taken")
def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    choices = [as_operand(c) for c in choicelist]
    result = as_operand(default)
    # the dtype of all the alternatives together, even where two Python numbers meet first
    dtype = np.result_type(*choices, result)
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        result = np.where(condition, choice, result)
    return ops.astype(result, dtype=dtype)


# ---------------------------------------------------------------- order


@lowers(np.argsort, derivative="zero", note="stable, whatever `kind` says; `order` is refused")
def _argsort(a: Any, axis: Any = -1, kind: Any = None, *, stable: Any = None) -> Any:
    a = as_array(a)
    if axis is None or a.ndim == 0:
        return ops.argsort(np.ravel(a))
    axis = axis_of(a.ndim, axis)
    if axis == a.ndim - 1:
        return ops.argsort(a)
    return np.swapaxes(ops.argsort(np.swapaxes(a, axis, -1)), axis, -1)


@lowers(np.sort, note="equal entries keep their order, and each takes its derivative along; `order` is refused")
def _sort(a: Any, axis: Any = -1, kind: Any = None, *, stable: Any = None) -> Any:
    a = as_array(a)
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.take_along_axis(a, np.argsort(a, axis), axis)


def _arg(operation: ops.Operation) -> Callable[..., Any]:
    def lowering(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        a = as_array(a)
        if axis is None:
            place = operation(np.ravel(a))
            return np.reshape(place, (1,) * a.ndim) if keepdims else place
        place = operation(np.moveaxis(a, axis_of(a.ndim, axis), -1))
        return np.expand_dims(place, axis) if keepdims else place

    return lowering


SUPPORTED[np.argmax] = Lowering(_arg(ops.argmax), "zero", "the first of equal ones")
SUPPORTED[np.argmin] = Lowering(_arg(ops.argmin), "zero", "the first of equal ones")


@lowers(np.searchsorted, derivative="zero", note="`sorter` is refused")
def _searchsorted(a: Any, v: Any, side: str = "left") -> Any:
    a, v = as_array(a), as_array(v)
    if side == "right":
        return ops.searchsorted(a, v)
    return a.shape[0] - ops.searchsorted(-np.flip(a), -v)
