"""The same numbers in another shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.lowering.registry import SUPPORTED, Lowering, as_array, axes_of, axis_of, lowers, static
from fwdgrad.program.sources import refuse


@lowers(np.reshape, note="C order")
def _reshape(a: Any, shape: Any, order: Any = "C", *, copy: Any = None) -> Any:
    a = as_array(a)
    _in_c_order("np.reshape", order)
    shape = static(shape, "a shape")
    wanted = tuple(int(s) for s in shape) if isinstance(shape, (tuple, list, np.ndarray)) else (int(shape),)
    size, known = a.size, int(np.prod([s for s in wanted if s != -1], dtype=int))
    full = tuple((size // known if known else 0) if s == -1 else s for s in wanted)
    if wanted.count(-1) > 1 or min(full, default=0) < 0 or int(np.prod(full, dtype=int)) != size:
        refuse(
            f"An array of shape {a.shape} cannot be reshaped to {wanted}", "The number of entries has to be the same."
        )
    return ops.reshape(a, shape=full)


def _in_c_order(name: str, order: Any) -> None:
    if order not in ("C", "K", "A", None):
        refuse(f"{name} is called with order={order!r}", "Only C order is supported: transpose before and after.")


@lowers(np.ravel, note="C order")
def _ravel(a: Any, order: Any = "C") -> Any:
    _in_c_order("np.ravel", order)
    a = as_array(a)
    return ops.reshape(a, shape=(a.size,))


@lowers(np.expand_dims)
def _expand_dims(a: Any, axis: Any) -> Any:
    a = as_array(a)
    ndim = a.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1)
    places = axes_of(ndim, axis)
    rest = iter(a.shape)
    return ops.reshape(a, shape=tuple(1 if k in places else next(rest) for k in range(ndim)))


@lowers(np.squeeze)
def _squeeze(a: Any, axis: Any = None) -> Any:
    a = as_array(a)
    drop = [k for k, s in enumerate(a.shape) if s == 1] if axis is None else axes_of(a.ndim, axis)
    if any(a.shape[k] != 1 for k in drop):
        refuse(f"np.squeeze drops axes {axis} of an array of shape {a.shape}", "Only axes of size 1 can be dropped.")
    return ops.reshape(a, shape=tuple(s for k, s in enumerate(a.shape) if k not in drop))


def _atleast(ndim: int) -> Callable[..., Any]:
    def lowering(*arys: Any) -> Any:
        made = []
        for value in arys:
            a = as_array(value)
            if a.ndim < ndim:
                shape = ((1,) * ndim, (1, *a.shape, 1)[:ndim], (*a.shape, 1))[a.ndim]
                a = ops.reshape(a, shape=shape)
            made.append(a)
        return made[0] if len(made) == 1 else tuple(made)

    return lowering


SUPPORTED[np.atleast_1d], SUPPORTED[np.atleast_2d], SUPPORTED[np.atleast_3d] = (
    Lowering(_atleast(ndim)) for ndim in (1, 2, 3)
)


@lowers(np.transpose)
def _transpose(a: Any, axes: Any = None) -> Any:
    a = as_array(a)
    order = tuple(reversed(range(a.ndim))) if axes is None else axes_of(a.ndim, tuple(axes))
    if len(order) != a.ndim:
        refuse(f"np.transpose: axes {axes} do not fit an array of shape {a.shape}", "Name every axis once.")
    return ops.transpose(a, axes=order)


@lowers(np.matrix_transpose)
def _matrix_transpose(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


@lowers(np.swapaxes)
def _swapaxes(a: Any, axis1: Any, axis2: Any) -> Any:
    a = as_array(a)
    order = list(range(a.ndim))
    i, j = axis_of(a.ndim, axis1), axis_of(a.ndim, axis2)
    order[i], order[j] = order[j], order[i]
    return ops.transpose(a, axes=tuple(order))


@lowers(np.moveaxis)
def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    a = as_array(a)
    start, end = axes_of(a.ndim, source), axes_of(a.ndim, destination)
    if len(start) != len(end):
        refuse(f"np.moveaxis moves axes {source} to {destination}", "Give as many places as axes.")
    order = [k for k in range(a.ndim) if k not in start]
    for place, k in sorted(zip(end, start, strict=True)):
        order.insert(place, k)
    return ops.transpose(a, axes=tuple(order))


@lowers(np.rollaxis)
def _rollaxis(a: Any, axis: Any, start: int = 0) -> Any:
    a = as_array(a)
    axis = axis_of(a.ndim, axis)
    start = start + a.ndim if start < 0 else start
    return _moveaxis(a, axis, start - 1 if axis < start else start)


@lowers(np.broadcast_to)
def _broadcast_to(array: Any, shape: Any) -> Any:
    array = as_array(array)
    shape = tuple(static(shape, "a shape")) if isinstance(shape, (tuple, list)) else (int(shape),)
    return ops.broadcast_to(array, shape=shape)


@lowers(np.broadcast_arrays)
def _broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    arrays = [as_array(a) for a in args]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(ops.broadcast_to(a, shape=shape) for a in arrays)


@lowers(np.meshgrid, note="`sparse` and `copy` are refused")
def _meshgrid(*xi: Any, indexing: str = "xy") -> list[Any]:
    arrays = [np.ravel(as_array(x)) for x in xi]
    ndim = len(arrays)
    places = list(range(ndim))
    if indexing == "xy" and ndim > 1:
        places[:2] = [1, 0]
    columns = [
        np.reshape(x, tuple(x.shape[0] if k == place else 1 for k in range(ndim)))
        for x, place in zip(arrays, places, strict=True)
    ]
    return list(_broadcast_arrays(*columns))
