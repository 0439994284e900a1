"""Questions about an array, answered while tracing and not recorded, and arrays made like another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.array import Tracer
from fwdgrad.program.lowering.registry import SUPPORTED, Lowering, as_array, lowers, static


@lowers(np.shape, derivative="none")
def _shape(a: Any) -> tuple[int, ...]:
    return as_array(a).shape


@lowers(np.ndim, derivative="none")
def _ndim(a: Any) -> int:
    return as_array(a).ndim


@lowers(np.size, derivative="none")
def _size(a: Any, axis: Any = None) -> int:
    shape = as_array(a).shape
    return int(np.prod(shape if axis is None else [shape[k] for k in np.atleast_1d(axis)], dtype=int))


@lowers(np.result_type, derivative="none")
def _result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return np.result_type(*(v.dtype if isinstance(v, Tracer) else v for v in arrays_and_dtypes))


@lowers(np.iscomplexobj, derivative="none", note="arrays are real: False")
def _iscomplexobj(x: Any) -> bool:
    return False


@lowers(np.isrealobj, derivative="none", note="arrays are real: True")
def _isrealobj(x: Any) -> bool:
    return True


def _filled(fill: int) -> Callable[..., Any]:
    def lowering(a: Any, dtype: Any = None, *, shape: Any = None) -> Any:
        return np.full(a.shape if shape is None else shape, fill, dtype or a.dtype)

    return lowering


SUPPORTED[np.zeros_like] = Lowering(_filled(0), "none")
SUPPORTED[np.ones_like] = Lowering(_filled(1), "none")


@lowers(np.empty_like, derivative="none", note="zeros, so that what is not filled in is at least defined")
def _empty_like(prototype: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    return np.zeros(prototype.shape if shape is None else shape, dtype or prototype.dtype)


@lowers(np.full_like)
def _full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    a, fill_value = as_array(a), as_array(fill_value)
    shape = a.shape if shape is None else static(shape, "a shape")
    return ops.astype(np.broadcast_to(fill_value, shape), dtype=np.dtype(dtype or a.dtype))


@lowers(np.copy)
def _copy(a: Any) -> Any:
    return as_array(a)


if hasattr(np, "astype"):

    @lowers(np.astype, note="conversions to integers and booleans have derivative 0")
    def _astype(x: Any, dtype: Any) -> Any:
        return x.astype(dtype)
