"""Functions sampled at points: differences, interpolation, convolution, polynomials."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.program import operations as ops
from fwdgrad.program.lowering.indexing import lower_getitem
from fwdgrad.program.lowering.registry import as_array, axes_of, axis_of, lowers, static
from fwdgrad.program.sources import refuse
from fwdgrad.program.tracer import as_operand

_ABSENT: Any = object()


def _along(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop))


@lowers(np.diff)
def _diff(a: Any, n: int = 1, axis: Any = -1, prepend: Any = _ABSENT, append: Any = _ABSENT) -> Any:
    a = as_array(a)
    axis = axis_of(a.ndim, axis)
    n = int(static(n, "the order of a difference"))
    if n < 0 or (n and a.dtype == bool):
        refuse(f"np.diff of {a.dtype} with n={n}", "The order is not negative; booleans have no differences.")
    parts = [a]
    for place, extra in ((0, prepend), (2, append)):
        if n and extra is not _ABSENT:
            extra = as_array(extra)
            if extra.ndim == 0:
                extra = np.broadcast_to(extra, (*a.shape[:axis], 1, *a.shape[axis + 1 :]))
            parts.insert(place, extra)
    a = np.concatenate(parts, axis) if len(parts) > 1 else a
    for _ in range(n):
        a = a[_along(axis, 1, None)] - a[_along(axis, None, -1)]
    return a


@lowers(np.gradient, note="spacings are single numbers; `edge_order` is 1")
def _gradient(f: Any, *varargs: Any, axis: Any = None) -> Any:
    f = as_array(f)
    f = f if np.issubdtype(f.dtype, np.floating) else f.astype(float)
    axes = axes_of(f.ndim, axis)
    spacings = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    if len(spacings) != len(axes) or any(np.ndim(s) for s in spacings):
        refuse("np.gradient is called with coordinates as spacing", "Give one number, or one number per axis.")
    if any(f.shape[k] < 2 for k in axes):
        refuse(f"np.gradient of an array of shape {f.shape}", "It needs at least two entries along each axis.")
    made = []
    for k, step in zip(axes, spacings, strict=True):
        first = (f[_along(k, 1, 2)] - f[_along(k, None, 1)]) / step
        middle = (f[_along(k, 2, None)] - f[_along(k, None, -2)]) / (2.0 * step)
        last = (f[_along(k, -1, None)] - f[_along(k, -2, -1)]) / step
        made.append(ops.astype(np.concatenate([first, middle, last], k), dtype=f.dtype))
    return made[0] if len(made) == 1 else tuple(made)


@lowers(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: Any = -1) -> Any:
    y = as_array(y)
    axis = axis_of(y.ndim, axis)
    if x is not None:
        x = as_array(x)
        behind = y.ndim - 1 - axis
        dx = np.reshape(np.diff(x), (-1, *(1,) * behind)) if x.ndim == 1 else np.diff(x, axis=axis)
    return np.sum(dx * (y[_along(axis, 1, None)] + y[_along(axis, None, -1)]) / 2.0, axis=axis)


@lowers(np.linspace, note="`num`, `endpoint` and `axis` are constants; `retstep` and `dtype` are refused")
def _linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, *, axis: Any = 0) -> Any:
    num = int(static(num, "a number of points"))
    dtype = np.result_type(as_operand(start), as_operand(stop))
    dtype = dtype if np.issubdtype(dtype, np.floating) else np.dtype(float)
    start, stop = (ops.astype(as_array(v), dtype=dtype) for v in (start, stop))
    step = stop - start
    parts = num - 1 if endpoint else num
    at = (np.arange(num) / max(parts, 1)).astype(dtype).reshape(-1, *(1,) * step.ndim)
    points = start + at * step
    if endpoint and num > 1:  # the last one exactly
        points = np.concatenate([points[:-1], np.expand_dims(np.broadcast_to(stop, step.shape), 0)])
    return np.moveaxis(points, 0, axis)


@lowers(
    np.interp,
    note="`left`, `right` and `period` are refused; derivative 0 outside, at a knot that of the piece on its right, at "
    "the last knot of that on its left",
)
def _interp(x: Any, xp: Any, fp: Any) -> Any:
    x, xp, fp = (ops.astype(as_array(v), dtype=np.dtype(float)) for v in (x, xp, fp))
    if xp.ndim != 1 or xp.shape != fp.shape or xp.shape[0] < 2:
        refuse(f"np.interp between points of shapes {xp.shape} and {fp.shape}", "Give two or more points, as vectors.")
    k = np.clip(ops.searchsorted(xp, x) - 1, 0, xp.shape[0] - 2)
    x0, f0 = lower_getitem(xp, k), lower_getitem(fp, k)
    width = lower_getitem(xp, k + 1) - x0
    jump = width == 0  # two knots at one place, first or last: there is no piece between them
    weight = np.where(jump, np.where(x >= x0, 1.0, 0.0), (x - x0) / np.where(jump, 1.0, width))
    weight = np.where(weight < 0.0, 0.0, np.where(weight > 1.0, 1.0, weight))
    return f0 + weight * (lower_getitem(fp, k + 1) - f0)


@lowers(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = np.atleast_1d(as_array(a)), np.atleast_1d(as_array(v))
    if a.ndim != 1 or v.ndim != 1 or mode not in ("full", "same", "valid"):
        refuse(
            f"np.convolve of shapes {a.shape} and {v.shape} with mode={mode!r}",
            "Give vectors, and full, same or valid.",
        )
    if v.shape[0] > a.shape[0]:
        a, v = v, a
    n, m = a.shape[0], v.shape[0]
    first, last = {"full": (0, n + m - 1), "same": ((m - 1) // 2, (m - 1) // 2 + n), "valid": (m - 1, n)}[mode]
    edge = np.zeros(m - 1, a.dtype)
    padded = np.concatenate([edge, a, edge]) if m > 1 else a
    windows = np.arange(first, last)[:, None] + np.arange(m)
    return ops.matmul(padded[windows], np.flip(v))


@lowers(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    p, x = as_array(p), as_array(x)
    y = x * 0 + p[0]
    for k in range(1, p.shape[0]):
        y = y * x + p[k]
    return y
