"""Joining, splitting, repeating and shifting arrays."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.lowering.registry import as_array, axes_of, axis_of, lowers, static
from fwdgrad.program.sources import refuse


def _along(axis: int, start: int | None, stop: int | None, step: int | None = None) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop, step))


@lowers(np.concatenate)
def _concatenate(arrays: Any, axis: Any = 0, *, dtype: Any = None) -> Any:
    parts = [as_array(a) for a in arrays]
    if axis is None:
        parts, axis = [np.ravel(p) for p in parts], 0
    if any(p.ndim == 0 for p in parts):
        refuse("np.concatenate joins numbers without an axis", "Use np.stack([...]) for numbers, or x[None].")
    if len({p.ndim for p in parts}) != 1:
        refuse(f"np.concatenate joins shapes {[p.shape for p in parts]}", "Give them the same number of axes.")
    common = np.dtype(dtype) if dtype is not None else np.result_type(*(p.dtype for p in parts))
    parts = [p if p.dtype == common else ops.astype(p, dtype=common) for p in parts]
    return ops.concatenate(*parts, axis=axis_of(parts[0].ndim, axis))


@lowers(np.stack)
def _stack(arrays: Any, axis: Any = 0, *, dtype: Any = None) -> Any:
    parts = [as_array(a) for a in arrays]
    if len({p.shape for p in parts}) != 1:
        refuse(f"np.stack joins shapes {[p.shape for p in parts]}", "Give every part the same shape.")
    axis = axis_of(parts[0].ndim + 1, axis)
    return _concatenate([np.expand_dims(p, axis) for p in parts], axis, dtype=dtype)


@lowers(np.hstack)
def _hstack(tup: Any, *, dtype: Any = None) -> Any:
    parts = [np.atleast_1d(as_array(a)) for a in tup]
    return _concatenate(parts, 0 if parts[0].ndim == 1 else 1, dtype=dtype)


@lowers(np.vstack)
def _vstack(tup: Any, *, dtype: Any = None) -> Any:
    return _concatenate([np.atleast_2d(as_array(a)) for a in tup], 0, dtype=dtype)


@lowers(np.dstack)
def _dstack(tup: Any) -> Any:
    return _concatenate([np.atleast_3d(as_array(a)) for a in tup], 2)


@lowers(np.column_stack)
def _column_stack(tup: Any) -> Any:
    parts = [as_array(a) for a in tup]
    return _concatenate([p if p.ndim >= 2 else np.reshape(p, (-1, 1)) for p in parts], 1)


@lowers(np.append)
def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    if axis is None:
        return _concatenate([np.ravel(as_array(arr)), np.ravel(as_array(values))])
    return _concatenate([arr, values], axis)


@lowers(np.block)
def _block(arrays: Any) -> Any:
    def depth(x: Any) -> int:
        return 1 + max(depth(y) for y in x) if isinstance(x, list) else 0

    def largest(x: Any) -> int:
        return max(largest(y) for y in x) if isinstance(x, list) else as_array(x).ndim

    def join(x: Any, level: int) -> Any:
        if isinstance(x, list):
            return _concatenate([join(y, level - 1) for y in x], -level)
        a = as_array(x)
        return np.reshape(a, (1,) * (ndim - a.ndim) + a.shape)

    ndim = max(depth(arrays), largest(arrays))
    return join(arrays, depth(arrays))


# ---------------------------------------------------------------- splitting


@lowers(np.array_split)
def _array_split(ary: Any, indices_or_sections: Any, axis: Any = 0) -> list[Any]:
    ary = as_array(ary)
    axis = axis_of(ary.ndim, axis)
    size = ary.shape[axis]
    sections = static(indices_or_sections, "where an array is split")
    if isinstance(sections, (int, np.integer)):
        small, extra = divmod(size, int(sections))
        cuts = list(np.cumsum([small + 1] * extra + [small] * (int(sections) - extra)))[:-1]
    else:
        cuts = list(sections)
    edges = [0, *(int(c) for c in cuts), size]
    return [ary[_along(axis, a, b)] for a, b in pairwise(edges)]


@lowers(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: Any = 0) -> list[Any]:
    ary = as_array(ary)
    axis = axis_of(ary.ndim, axis)
    sections = indices_or_sections
    if isinstance(sections, (int, np.integer)) and ary.shape[axis] % int(sections):
        refuse(
            f"np.split cannot divide axis {axis} of shape {ary.shape} into {sections} equal parts",
            "Use np.array_split.",
        )
    return _array_split(ary, sections, axis)


@lowers(np.hsplit)
def _hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split(ary, indices_or_sections, 0 if np.ndim(ary) == 1 else 1)


@lowers(np.vsplit)
def _vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split(ary, indices_or_sections, 0)


@lowers(np.dsplit)
def _dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split(ary, indices_or_sections, 2)


# ---------------------------------------------------------------- repeating and shifting


@lowers(np.tile)
def _tile(A: Any, reps: Any) -> Any:
    A = as_array(A)
    reps = static(reps, "a number of repetitions")
    reps = tuple(int(r) for r in reps) if isinstance(reps, (tuple, list, np.ndarray)) else (int(reps),)
    ndim = max(A.ndim, len(reps))
    shape = (1,) * (ndim - A.ndim) + A.shape
    reps = (1,) * (ndim - len(reps)) + reps
    spread = np.reshape(A, tuple(s for k in range(ndim) for s in (1, shape[k])))
    spread = np.broadcast_to(spread, tuple(s for k in range(ndim) for s in (reps[k], shape[k])))
    return np.reshape(spread, tuple(r * s for r, s in zip(reps, shape, strict=True)))


@lowers(np.repeat)
def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    a = as_array(a)
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = axis_of(a.ndim, axis)
    return np.take(a, np.repeat(np.arange(a.shape[axis]), static(repeats, "a number of repetitions")), axis=axis)


@lowers(np.flip)
def _flip(m: Any, axis: Any = None) -> Any:
    m = as_array(m)
    axes = axes_of(m.ndim, axis)
    return m[tuple(slice(None, None, -1) if k in axes else slice(None) for k in range(m.ndim))]


@lowers(np.flipud)
def _flipud(m: Any) -> Any:
    return _flip(m, 0)


@lowers(np.fliplr)
def _fliplr(m: Any) -> Any:
    return _flip(m, 1)


@lowers(np.rot90)
def _rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    m = as_array(m)
    first, second = axes_of(m.ndim, tuple(axes))
    for _ in range(int(static(k, "a number of turns")) % 4):
        m = _flip(np.swapaxes(m, first, second), first)
    return m


@lowers(np.roll)
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    a = as_array(a)
    if axis is None:
        return np.reshape(_roll(np.ravel(a), shift, 0), a.shape)
    for s, k in np.broadcast(static(shift, "a shift"), axis):
        k = axis_of(a.ndim, k)
        size = a.shape[k]
        cut = -int(s) % size if size else 0
        if cut:
            a = ops.concatenate(a[_along(k, cut, None)], a[_along(k, None, cut)], axis=k)
    return a


_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


@lowers(np.pad, note="modes constant (with one value), edge, reflect, symmetric and wrap")
def _pad(array: Any, pad_width: Any, mode: Any = "constant", constant_values: Any = 0) -> Any:
    array = as_array(array)
    if mode not in _MODES:
        refuse(f"np.pad is called with mode={mode!r}", f"Supported modes: {', '.join(_MODES)}.")
    if np.ndim(constant_values):
        refuse("np.pad is called with several constant_values", "Pad with one value at a time.")
    widths = np.broadcast_to(np.asarray(static(pad_width, "a width"), dtype=int), (array.ndim, 2))
    for k, (before, after) in enumerate(widths):
        if mode != "constant":  # entries are repeated: NumPy says which
            where = np.pad(np.arange(array.shape[k]), (before, after), mode=mode)
            array = np.take(array, where, axis=k)
            continue
        parts = [array]
        for place, width in ((0, before), (2, after)):
            if width:
                shape = (*array.shape[:k], int(width), *array.shape[k + 1 :])
                fill = ops.astype(as_array(constant_values), dtype=array.dtype)
                parts.insert(place, ops.broadcast_to(fill, shape=shape))
        array = ops.concatenate(*parts, axis=k)
    return array
