"""Reading entries: indices, diagonals, triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.array import Tracer
from fwdgrad.program.lowering.registry import as_array, axis_of, lowers
from fwdgrad.program.sources import refuse
from fwdgrad.program.tracer import as_operand


def lower_getitem(x: Any, index: Any) -> Any:
    """``x[index]`` with integers, slices, None, Ellipsis, constant masks and integer arrays (traced or not)."""
    entries = _spelled_out(x.shape, list(index) if isinstance(index, tuple) else [index])
    plan: list[tuple[Any, ...]] = []
    operands: list[Any] = []
    axis = 0
    for e in entries:
        if e is None:
            plan.append(("new",))
            continue
        size = x.shape[axis]
        if isinstance(e, slice):
            plan.append(("slice", *_slice(e, size)))
        elif isinstance(e, (int, np.integer)):
            if not -size <= e < size:
                refuse(f"Index {int(e)} is out of range for axis {axis} of an array of shape {x.shape}", _COUNTING)
            plan.append(("int", int(e) % size))
        else:
            plan.append(("operand",))
            operands.append(_integers(e))
        axis += 1
    return ops.getitem(x, *operands, index=tuple(plan))


_COUNTING = "Indices count from 0; negative ones count from the end."


def _spelled_out(shape: tuple[int, ...], entries: list[Any]) -> list[Any]:
    """One entry per axis: the ellipsis replaced by full slices, masks by the places where they are true."""
    for k, e in enumerate(entries):
        if isinstance(e, (list, tuple)):
            entries[k] = as_operand(e) if len(e) else np.zeros(0, np.intp)
        elif isinstance(e, (bool, np.bool_)):
            refuse("An array is indexed with a single True or False", "Use np.where, or x[None].")
    taken = [e.ndim if _is_mask(e) else int(e is not None and e is not Ellipsis) for e in entries]
    if sum(taken) > len(shape):
        refuse(f"An array of shape {shape} is indexed with {sum(taken)} indices", "Give at most one index per axis.")
    dots = [k for k, e in enumerate(entries) if e is Ellipsis]
    if len(dots) > 1:
        refuse("An index holds more than one ellipsis", "Write the axes out.")
    at = dots[0] if dots else len(entries)
    missing = len(shape) - sum(taken)
    entries[at : at + 1] = [slice(None)] * missing
    taken[at : at + 1] = [1] * missing
    flat: list[Any] = []
    axis = 0
    for e, axes in zip(entries, taken, strict=True):
        if _is_mask(e) and e.shape != shape[axis : axis + axes]:
            refuse(f"A mask of shape {e.shape} is used on an array of shape {shape}", "Give them the same shape.")
        flat.extend(np.nonzero(e) if _is_mask(e) else [e])
        axis += axes
    return flat


def _is_mask(e: Any) -> bool:
    return isinstance(e, np.ndarray) and e.dtype == bool


def _slice(s: slice, size: int) -> tuple[int | None, int | None, int | None]:
    if any(isinstance(p, Tracer) for p in (s.start, s.stop, s.step)):
        refuse(
            "A slice begins or ends at a place that is not known while tracing",
            "Take a fixed number of entries instead: np.take(x, start + np.arange(length)).",
        )
    if s.indices(size) == (0, size, 1):
        return (None, None, None)
    start, stop, step = (None if p is None else int(p) for p in (s.start, s.stop, s.step))
    return (start, stop, step)


def _integers(e: Any) -> Any:
    e = as_operand(e)
    if e.dtype == bool:
        refuse(
            "An array is indexed with a condition that is not known while tracing",
            "Use np.where(condition, a, b), which keeps the shape.",
        )
    if not np.issubdtype(e.dtype, np.integer):
        refuse(
            f"An array is indexed with numbers of type {e.dtype}",
            "Declare the input as an integer (x=0), or convert with .astype(int).",
        )
    return e


_OUTSIDE = "an index out of range refuses the step"


@lowers(np.take, note=f"the array is traced: NumPy does not pass on a traced index into a constant array; {_OUTSIDE}")
def _take(a: Any, indices: Any, axis: Any = None, mode: str = "raise") -> Any:
    a, indices = as_array(a), as_array(indices)
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = axis_of(a.ndim, axis)
    if mode != "raise":
        indices = np.clip(indices, 0, a.shape[axis] - 1) if mode == "clip" else indices % a.shape[axis]
    return lower_getitem(a, (*(slice(None),) * axis, indices))


@lowers(np.take_along_axis, note=_OUTSIDE)
def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    arr, indices = as_array(arr), as_array(indices)
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = axis_of(arr.ndim, axis)
    if indices.ndim != arr.ndim:
        refuse(
            f"np.take_along_axis of shape {arr.shape} at indices of shape {indices.shape}", "Give both as many axes."
        )
    ndim = arr.ndim
    grid: list[Any] = [np.arange(s).reshape((1,) * k + (s,) + (1,) * (ndim - k - 1)) for k, s in enumerate(arr.shape)]
    grid[axis] = indices
    return lower_getitem(arr, tuple(grid))


@lowers(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    v = as_array(v)
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        refuse(f"np.diag of an array of shape {v.shape}", "Give a vector or a matrix; see np.diagonal.")
    n = v.shape[0] + abs(k)
    places = np.arange(v.shape[0])
    return ops.scatter_add(v, places + max(-k, 0), places + max(k, 0), index=(("operand",), ("operand",)), shape=(n, n))


@lowers(np.diagflat)
def _diagflat(v: Any, k: int = 0) -> Any:
    return _diag(np.ravel(as_array(v)), k)


@lowers(np.diagonal)
def _diagonal(a: Any, offset: int = 0, axis1: Any = 0, axis2: Any = 1) -> Any:
    a = as_array(a)
    i, j = axis_of(a.ndim, axis1), axis_of(a.ndim, axis2)
    if i == j:
        refuse(f"np.diagonal of axes {axis1} and {axis2}", "Name two different axes.")
    rest = [k for k in range(a.ndim) if k not in (i, j)]
    a = np.transpose(a, [*rest, i, j])
    rows, columns = a.shape[-2:]
    size = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    places = np.arange(size)
    return a[..., places + max(-offset, 0), places + max(offset, 0)]


@lowers(np.trace)
def _trace(a: Any, offset: int = 0, axis1: Any = 0, axis2: Any = 1, dtype: Any = None) -> Any:
    return np.sum(_diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@lowers(np.triu)
def _triu(m: Any, k: int = 0) -> Any:
    m = as_array(m)
    return np.where(np.triu(np.ones(m.shape[-2:], bool), k), m, np.zeros((), m.dtype))


@lowers(np.tril)
def _tril(m: Any, k: int = 0) -> Any:
    m = as_array(m)
    return np.where(np.tril(np.ones(m.shape[-2:], bool), k), m, np.zeros((), m.dtype))
