"""Sums, products, extreme values and moments along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.lowering.registry import (
    SUPPORTED,
    Lowering,
    as_array,
    axes_of,
    axis_of,
    kept_shape,
    lowers,
    unsupported,
)


def _reduce(operation: ops.Operation, a: Any, axis: Any, keepdims: bool) -> Any:
    axes = tuple(sorted(axes_of(a.ndim, axis)))
    result = operation(a, axes=axes)
    return ops.reshape(result, shape=kept_shape(a.shape, axes)) if keepdims else result


def _count(shape: tuple[int, ...], axis: Any) -> int:
    return int(np.prod([shape[k] for k in axes_of(len(shape), axis)], dtype=int))


@lowers(np.sum)
def _sum(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    a = as_array(a)
    return _reduce(ops.reduce_sum, a if dtype is None else a.astype(dtype), axis, keepdims)


def _extreme(operation: ops.Operation) -> Callable[..., Any]:
    def lowering(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return _reduce(operation, as_array(a), axis, keepdims)

    return lowering


_SHARED = "equal extreme values share the derivative"
SUPPORTED[np.max] = SUPPORTED[np.amax] = Lowering(_extreme(ops.reduce_max), note=_SHARED)
SUPPORTED[np.min] = SUPPORTED[np.amin] = Lowering(_extreme(ops.reduce_min), note=_SHARED)


def _truth(operation: ops.Operation) -> Callable[..., Any]:
    def lowering(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        a = as_array(a)
        return _reduce(operation, a if a.dtype == bool else a != 0, axis, keepdims)

    return lowering


SUPPORTED[np.any] = Lowering(_truth(ops.reduce_any), "zero")
SUPPORTED[np.all] = Lowering(_truth(ops.reduce_all), "zero")


@lowers(np.ptp, note=_SHARED)
def _ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@lowers(np.mean)
def _mean(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    a = as_array(a)
    return np.sum(a, axis=axis, dtype=dtype, keepdims=keepdims) / _count(a.shape, axis)


@lowers(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None, *, keepdims: bool = False) -> Any:
    a = as_array(a)
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    weights = as_array(weights)
    if weights.shape != a.shape:
        axes = axes_of(a.ndim, axis)
        if axis is None or weights.shape != tuple(a.shape[k] for k in axes):
            return unsupported(f"np.average of shape {a.shape} with weights of shape {weights.shape}")
        order = np.argsort(axes)
        shape = tuple(a.shape[k] if k in axes else 1 for k in range(a.ndim))
        weights = np.broadcast_to(np.reshape(np.transpose(weights, order), shape), a.shape)
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    return np.sum(a * weights, axis=axis, keepdims=keepdims) / total


@lowers(np.var, note="derivative 0 where all entries are equal")
def _var(a: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    a = as_array(a)
    a = a if dtype is None else a.astype(dtype)
    centred = a - np.mean(a, axis=axis, keepdims=True)
    squares = np.sum(centred * centred, axis=axis, keepdims=keepdims)
    return squares / max(_count(a.shape, axis) - ddof, 0)


@lowers(np.std, note="derivative 0 where the deviation is 0")
def _std(a: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return _root(np.var(a, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims))


def _root(x: Any) -> Any:
    """√x for x that is a sum of squares: at 0 the derivative of the root of the sum is taken to be 0."""
    zero = x == 0
    where = ops.POINTWISE["where"]
    return where(zero, 0.0, np.sqrt(where(zero, 1.0, x)))


@lowers(np.prod, note="right with zeros among the factors")
def _prod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """By halves, so that no factor is ever divided out again."""
    a = as_array(a)
    # NumPy widens small integers
    a = a.astype(dtype or np.prod(np.ones(1, a.dtype)).dtype)
    axes = axes_of(a.ndim, axis)
    rest = tuple(k for k in range(a.ndim) if k not in axes)
    shape = tuple(a.shape[k] for k in rest)
    x = np.reshape(np.transpose(a, axes + rest), (_count(a.shape, axis), *shape))
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        product = x[:half] * x[half : 2 * half]
        x = product if x.shape[0] % 2 == 0 else np.concatenate([product, x[2 * half :]])
    result = x[0] if x.shape[0] else np.ones(shape, x.dtype)
    return np.reshape(result, kept_shape(a.shape, axes)) if keepdims else result


@lowers(np.cumsum)
def _cumsum(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    a = as_array(a)
    a = a if dtype is None else a.astype(dtype)
    if axis is None:
        return ops.cumsum(np.ravel(a), axis=0)
    return ops.cumsum(a, axis=axis_of(a.ndim, axis))


@lowers(np.linalg.norm, note="of vectors with ord 1, 2 or ∞, of anything with ord None or 'fro'; derivative 0 at 0")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = as_array(x)
    x = x if np.issubdtype(x.dtype, np.floating) else x.astype(float)
    vector = (x.ndim == 1 and axis is None) or isinstance(axis, (int, np.integer))
    if (ord is None and (axis is None or len(axes_of(x.ndim, axis)) <= 2)) or (vector and ord == 2):
        return _root(np.sum(x * x, axis=axis, keepdims=keepdims))
    if ord == "fro" and len(axes_of(x.ndim, axis)) == 2:
        return _root(np.sum(x * x, axis=axis, keepdims=keepdims))
    if vector and ord == 1:
        return np.sum(np.absolute(x), axis=axis, keepdims=keepdims)
    if vector and ord == np.inf:
        return np.max(np.absolute(x), axis=axis, keepdims=keepdims)
    return unsupported(f"np.linalg.norm(ord={ord!r}, axis={axis!r}) of an array of shape {x.shape}")
