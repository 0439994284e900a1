"""NumPy calls on tracers, lowered to core operations.

One entry per NumPy function: it takes the function's own arguments and writes the core operations that compute the
same. What has no entry is refused by name. `SUPPORTED` lists every entry for the documentation's table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

from fwdgrad.errors import TracingError, UnsupportedOperationError, did_you_mean
from fwdgrad.program import operations as ops
from fwdgrad.program.tracer import Tracer, as_operand, caller, refuse

__all__ = ["SUPPORTED", "lower_function", "lower_getitem", "lower_ufunc"]

SUPPORTED: dict[Any, Callable[..., Any]] = {}
"""NumPy function or ufunc → its lowering."""

_ABSENT: Any = object()


def lower_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """``ufunc(*inputs)`` or ``ufunc.reduce(x)`` with a tracer among the inputs."""
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    name = ufunc.__name__
    if method == "reduce":
        reductions = {"add": np.sum, "multiply": np.prod, "maximum": np.max, "minimum": np.min}
        if name in reductions and set(kwargs) <= {"axis", "keepdims"}:
            return lower_function(reductions[name], inputs, {"axis": 0, **kwargs})
        return _unsupported(f"np.{name}.reduce")
    if method == "outer" and not kwargs:
        a, b = (as_operand(i) for i in inputs)
        return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)
    if method != "__call__":
        return _unsupported(f"np.{name}.{method}")
    if "dtype" in kwargs:
        return lower_ufunc(ufunc, method, [as_operand(i) for i in inputs], {}).astype(kwargs["dtype"])
    if kwargs:
        refuse(
            f"np.{name} is called with {', '.join(kwargs)}=",
            "Call it without; write x = np.add(x, y) for np.add(x, y, out=x), np.where for where=.",
        )
    if ufunc not in SUPPORTED:
        return _unsupported(f"np.{name}" if hasattr(np, name) else f"scipy.special.{name}")
    return SUPPORTED[ufunc](*(as_operand(i) for i in inputs))


def lower_function(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A NumPy function with a tracer among its arguments."""
    if function not in SUPPORTED:
        module = (getattr(function, "__module__", None) or "numpy").replace("numpy", "np")
        return _unsupported(f"{module}.{function.__name__}")
    try:
        return SUPPORTED[function](*args, **kwargs)
    except TypeError as error:
        if "argument" in str(error) and not isinstance(error, TracingError):
            refuse(
                f"np.{function.__name__}({', '.join([*('…' for _ in args), *(f'{k}=' for k in kwargs)])}) is called "
                f"in a form that is not supported: {error}",
                "The documentation's table of operations shows the supported forms.",
            )
        raise


def _unsupported(name: str) -> Any:
    known = sorted({f.__name__ for f in SUPPORTED})
    raise UnsupportedOperationError(
        f"{name} is not among the operations fwdgrad can trace, at {caller() or 'an unknown line'}.\n"
        f"{did_you_mean(name.rsplit('.', 1)[-1], known) if name.rsplit('.', 1)[-1] not in known else ''}"
        " The documentation's table of operations lists all of them.\n"
        "Write it with those, or run with engine='eager'.".strip()
    )


def _lowers(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(lowering: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            SUPPORTED[function] = lowering
        return lowering

    return register


# ---------------------------------------------------------------- ufuncs

for _name, _operation in ops.POINTWISE.items():
    if _name not in ("where", "astype", "square", "cbrt"):
        _module = scipy.special if _operation.source.startswith("special") else np
        SUPPORTED[getattr(_module, _name)] = _operation
SUPPORTED[scipy.special.digamma] = ops.POINTWISE["psi"]
_P = ops.POINTWISE


@_lowers(np.square)
def _square(x: Any) -> Any:
    return x * x


@_lowers(np.cbrt)
def _cbrt(x: Any) -> Any:
    return _P["cbrt"](x)


@_lowers(np.positive, np.conjugate, np.real, np.copy)
def _identity(x: Any, **kwargs: Any) -> Any:
    """The arrays of a program are real."""
    if kwargs:
        raise TypeError("no keyword argument is supported")
    return as_operand(x)


@_lowers(np.nan_to_num)
def _nan_to_num(x: Any, copy: bool = True, nan: float = 0.0) -> Any:
    big = float(np.finfo(x.dtype).max)
    x = np.where(np.isnan(x), nan, x)
    return np.minimum(np.maximum(x, -big), big)


@_lowers(np.fabs)
def _fabs(x: Any) -> Any:
    return np.absolute(x)


@_lowers(np.imag)
def _imag(x: Any) -> Any:
    return np.zeros(np.shape(x), x.dtype)


@_lowers(np.degrees, np.rad2deg)
def _degrees(x: Any) -> Any:
    return x * (180.0 / np.pi)


@_lowers(np.radians, np.deg2rad)
def _radians(x: Any) -> Any:
    return x * (np.pi / 180.0)


@_lowers(np.float_power)
def _float_power(x: Any, y: Any) -> Any:
    return np.power(x, y)


@_lowers(np.heaviside)
def _heaviside(x: Any, half: Any) -> Any:
    return np.where(x > 0, 1.0, np.where(x == 0, half, 0.0))


@_lowers(np.copysign)
def _copysign(x: Any, y: Any) -> Any:
    return np.where(np.signbit(y), -np.absolute(x), np.absolute(x))


@_lowers(np.matmul)
def _matmul(a: Any, b: Any) -> Any:
    return ops.matmul(as_operand(a), as_operand(b))


@_lowers(np.vecdot)
def _vecdot(a: Any, b: Any) -> Any:
    return np.sum(a * b, axis=-1)


# ---------------------------------------------------------------- questions about an array: answered, not recorded


@_lowers(np.shape)
def _shape(a: Any) -> tuple[int, ...]:
    return as_operand(a).shape


@_lowers(np.ndim)
def _ndim(a: Any) -> int:
    return as_operand(a).ndim


@_lowers(np.size)
def _size(a: Any, axis: int | None = None) -> int:
    shape = as_operand(a).shape
    return int(np.prod(shape, dtype=int)) if axis is None else shape[axis]


@_lowers(np.result_type)
def _result_type(*values: Any) -> np.dtype:
    return np.result_type(*(v.dtype if isinstance(v, Tracer) else v for v in values))


@_lowers(np.iscomplexobj)
def _iscomplexobj(x: Any) -> bool:
    return bool(np.issubdtype(x.dtype, np.complexfloating))


@_lowers(np.isrealobj)
def _isrealobj(x: Any) -> bool:
    return not _iscomplexobj(x)


def _like(fill: float) -> Callable[..., Any]:
    def lowering(a: Any, dtype: Any = None, *, shape: Any = None) -> Any:
        return np.full(a.shape if shape is None else shape, fill, dtype or a.dtype)

    return lowering


SUPPORTED[np.zeros_like] = _like(0)
SUPPORTED[np.ones_like] = _like(1)
SUPPORTED[np.empty_like] = _like(0)


@_lowers(np.full_like)
def _full_like(a: Any, fill_value: Any, dtype: Any = None) -> Any:
    return np.broadcast_to(fill_value, a.shape).astype(dtype or a.dtype)


# ---------------------------------------------------------------- choosing


@_lowers(np.where)
def _where(condition: Any, x: Any = _ABSENT, y: Any = _ABSENT) -> Any:
    if x is _ABSENT or y is _ABSENT:
        refuse(
            "np.where(condition) alone gives an array whose size depends on values",
            "Use np.where(condition, a, b) with both alternatives.",
        )
    condition = as_operand(condition)
    if getattr(condition, "dtype", np.dtype(bool)) != bool:
        condition = condition != 0
    return _P["where"](condition, as_operand(x), as_operand(y))


@_lowers(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


@_lowers(np.select)
def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result


# ---------------------------------------------------------------- reductions


def _axes(ndim: int, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(sorted(_axis(ndim, a) for a in axes))


def _axis(ndim: int, axis: int) -> int:
    if not -ndim <= axis < ndim:
        raise TracingError(f"axis {axis} is out of range for an array of {ndim} dimensions, at {caller()}.")
    return int(axis) % ndim


def _keep(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if k in axes else s for k, s in enumerate(shape))


def _reduction(operation: ops.Reduce) -> Callable[..., Any]:
    def lowering(a: Any, axis: Any = None, keepdims: Any = False, dtype: Any = None) -> Any:
        a = as_operand(a)
        axes = _axes(a.ndim, axis)
        if operation.name in ("any", "all") and a.dtype != bool:
            a = a != 0
        if dtype is not None:
            a = a.astype(dtype)
        result = operation(a, axes=axes)
        return np.reshape(result, _keep(a.shape, axes)) if keepdims and keepdims is not np._NoValue else result

    return lowering


SUPPORTED[np.sum] = _reduction(ops.reduce_sum)
SUPPORTED[np.max] = SUPPORTED[np.amax] = _reduction(ops.reduce_max)
SUPPORTED[np.min] = SUPPORTED[np.amin] = _reduction(ops.reduce_min)
SUPPORTED[np.any] = _reduction(ops.reduce_any)
SUPPORTED[np.all] = _reduction(ops.reduce_all)


@_lowers(np.mean)
def _mean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    a = as_operand(a)
    count = int(np.prod([a.shape[k] for k in _axes(a.ndim, axis)], dtype=int))
    return np.sum(a, axis=axis, keepdims=keepdims) / count


@_lowers(np.var)
def _var(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    a = as_operand(a)
    count = int(np.prod([a.shape[k] for k in _axes(a.ndim, axis)], dtype=int))
    centred = a - np.mean(a, axis=axis, keepdims=True)
    return np.sum(centred * centred, axis=axis, keepdims=keepdims) / (count - ddof)


@_lowers(np.std)
def _std(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return np.sqrt(np.var(a, axis=axis, ddof=ddof, keepdims=keepdims))


@_lowers(np.prod)
def _prod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """By halves, so that the derivative is right when factors are zero."""
    a = as_operand(a)
    axes = _axes(a.ndim, axis)
    kept = _keep(a.shape, axes)
    rest = tuple(k for k in range(a.ndim) if k not in axes)
    x = np.reshape(np.transpose(a, axes + rest), (-1, *(a.shape[k] for k in rest)))
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        product = x[:half] * x[half : 2 * half]
        x = product if x.shape[0] % 2 == 0 else np.concatenate([product, x[2 * half :]])
    result = x[0] if x.shape[0] else np.ones(x.shape[1:], x.dtype)
    return np.reshape(result, kept) if keepdims else result


@_lowers(np.cumsum)
def _cumsum(a: Any, axis: int | None = None) -> Any:
    if axis is None:
        return ops.cumsum(np.ravel(a), axis=0)
    return ops.cumsum(a, axis=_axis(a.ndim, axis))


@_lowers(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord is None or (ord == 2 and (axis is not None or x.ndim == 1)) or ord == "fro":
        return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    vector = isinstance(axis, int) or (axis is None and x.ndim == 1)
    if vector and ord == 1:
        return np.sum(np.absolute(x), axis=axis, keepdims=keepdims)
    if vector and ord == np.inf:
        return np.max(np.absolute(x), axis=axis, keepdims=keepdims)
    return _unsupported(f"np.linalg.norm(ord={ord!r})")


# ---------------------------------------------------------------- products


@_lowers(np.dot)
def _dot(a: Any, b: Any) -> Any:
    a, b = as_operand(a), as_operand(b)
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    if np.ndim(b) <= 2:
        return ops.matmul(a, b)
    return np.tensordot(a, b, axes=([np.ndim(a) - 1], [np.ndim(b) - 2]))


@_lowers(np.inner)
def _inner(a: Any, b: Any) -> Any:
    a, b = as_operand(a), as_operand(b)
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    return np.tensordot(a, b, axes=([np.ndim(a) - 1], [np.ndim(b) - 1]))


@_lowers(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    return ops.matmul(np.ravel(a), np.ravel(b))


@_lowers(np.outer)
def _outer(a: Any, b: Any) -> Any:
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


@_lowers(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = as_operand(a), as_operand(b)
    na, nb = np.ndim(a), np.ndim(b)
    if isinstance(axes, (int, np.integer)):
        left, right = list(range(na - int(axes), na)), list(range(int(axes)))
    else:
        left, right = (list(x) if isinstance(x, (list, tuple)) else [x] for x in axes)
        left, right = [_axis(na, k) for k in left], [_axis(nb, k) for k in right]
    free_a = [k for k in range(na) if k not in left]
    free_b = [k for k in range(nb) if k not in right]
    shape_a, shape_b = np.shape(a), np.shape(b)
    contracted = int(np.prod([shape_a[k] for k in left], dtype=int))
    rows = np.reshape(np.transpose(a, free_a + left), (-1, contracted))
    columns = np.reshape(np.transpose(b, right + free_b), (contracted, -1))
    return np.reshape(ops.matmul(rows, columns), tuple(shape_a[k] for k in free_a) + tuple(shape_b[k] for k in free_b))


@_lowers(np.kron)
def _kron(a: Any, b: Any) -> Any:
    a, b = as_operand(a), as_operand(b)
    ndim = max(np.ndim(a), np.ndim(b))
    sa = (1,) * (ndim - np.ndim(a)) + np.shape(a)
    sb = (1,) * (ndim - np.ndim(b)) + np.shape(b)
    left = np.reshape(a, tuple(s for k in range(ndim) for s in (sa[k], 1)))
    right = np.reshape(b, tuple(s for k in range(ndim) for s in (1, sb[k])))
    return np.reshape(left * right, tuple(x * y for x, y in zip(sa, sb, strict=True)))


@_lowers(np.cross)
def _cross(a: Any, b: Any) -> Any:
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        return _unsupported("np.cross of vectors that are not of length 3")
    rolled = [1, 2, 0]
    a, b = as_operand(a), as_operand(b)
    return (a * b[..., rolled] - a[..., rolled] * b)[..., rolled]


@_lowers(np.einsum)
def _einsum(*operands: Any, optimize: Any = None) -> Any:
    if not isinstance(operands[0], str):
        refuse("np.einsum is called with lists of axes", "Write the subscripts as a string, such as 'ij,j->i'.")
    subscripts, *arrays = operands
    arrays = [as_operand(a) for a in arrays]
    inputs, output = _explicit(subscripts, [np.ndim(a) for a in arrays])
    for k, letters in enumerate(inputs):  # a letter twice in one operand takes a diagonal
        for letter in dict.fromkeys(letters):
            while inputs[k].count(letter) > 1:
                first = inputs[k].index(letter)
                second = inputs[k].index(letter, first + 1)
                arrays[k] = np.diagonal(arrays[k], axis1=first, axis2=second)
                rest = "".join(c for j, c in enumerate(inputs[k]) if j not in (first, second))
                inputs[k] = rest + letter
    for k, letters in enumerate(inputs):  # a letter nobody else has is summed here
        others = output + "".join(inputs[:k] + inputs[k + 1 :])
        lonely = tuple(j for j, c in enumerate(letters) if c not in others)
        if lonely:
            arrays[k] = np.sum(arrays[k], axis=lonely)
            inputs[k] = "".join(c for c in letters if c in others)
    if len(arrays) == 1:
        return np.transpose(arrays[0], [inputs[0].index(c) for c in output])
    return ops.einsum(*arrays, subscripts=",".join(inputs) + "->" + output)


def _explicit(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """Input and output letters, ellipses written out, of an einsum string."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, output = subscripts.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise TracingError(f"np.einsum({subscripts!r}) names {len(inputs)} operands, got {len(ndims)}, at {caller()}.")
    unused = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in subscripts]
    width = max([n - len(i.replace("...", "")) for i, n in zip(inputs, ndims, strict=True) if "..." in i] or [0])
    spread = "".join(unused[:width])
    inputs = [
        i.replace("...", spread[width - (n - len(i.replace("...", ""))) :] if "..." in i else "")
        for i, n in zip(inputs, ndims, strict=True)
    ]
    if not arrow:
        letters = "".join(inputs)
        output = ("..." if "..." in left else "") + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1 and c not in spread)
        )
    return inputs, output.replace("...", spread)


# ---------------------------------------------------------------- shapes


@_lowers(np.reshape)
def _reshape(a: Any, shape: Any = None, order: str = "C", *, newshape: Any = None) -> Any:
    if order not in ("C", None):
        refuse(f"np.reshape is called with order={order!r}", "Only C order is supported; transpose before reshaping.")
    a = as_operand(a)
    shape = newshape if shape is None else shape
    shape = tuple(int(s) for s in shape) if isinstance(shape, (tuple, list, np.ndarray)) else (int(shape),)
    if -1 in shape:
        known = int(np.prod([s for s in shape if s != -1], dtype=int))
        size = int(np.prod(np.shape(a), dtype=int))
        shape = tuple((size // known if known else 0) if s == -1 else s for s in shape)
    if int(np.prod(shape, dtype=int)) != int(np.prod(np.shape(a), dtype=int)):
        raise TracingError(f"Cannot reshape an array of shape {np.shape(a)} into {shape}, at {caller()}.")
    return ops.reshape(a, shape=shape)


@_lowers(np.ravel)
def _ravel(a: Any, order: str = "C") -> Any:
    return np.reshape(as_operand(a), (-1,), order=order)


@_lowers(np.expand_dims)
def _expand_dims(a: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = np.ndim(a) + len(axes)
    places = {_axis(ndim, k) for k in axes}
    rest = iter(np.shape(a))
    return np.reshape(a, tuple(1 if k in places else next(rest) for k in range(ndim)))


@_lowers(np.squeeze)
def _squeeze(a: Any, axis: Any = None) -> Any:
    shape = np.shape(a)
    drop = {k for k, s in enumerate(shape) if s == 1} if axis is None else set(_axes(len(shape), axis))
    return np.reshape(a, tuple(s for k, s in enumerate(shape) if k not in drop))


def _atleast(ndim: int) -> Callable[..., Any]:
    def lowering(*arrays: Any) -> Any:
        made = []
        for a in arrays:
            a = as_operand(a)
            if np.ndim(a) == 0:
                a = np.reshape(a, (1,) * ndim)
            elif np.ndim(a) == 1 and ndim > 1:
                a = np.reshape(a, (1, -1, 1)[:ndim] if ndim == 3 else (1, -1))
            elif np.ndim(a) == 2 and ndim == 3:
                a = np.reshape(a, (*a.shape, 1))
            made.append(a)
        return made[0] if len(made) == 1 else tuple(made)

    return lowering


SUPPORTED[np.atleast_1d], SUPPORTED[np.atleast_2d], SUPPORTED[np.atleast_3d] = _atleast(1), _atleast(2), _atleast(3)


@_lowers(np.transpose, np.permute_dims)
def _transpose(a: Any, axes: Any = None) -> Any:
    a = as_operand(a)
    ndim = np.ndim(a)
    order = tuple(reversed(range(ndim))) if axes is None else tuple(_axis(ndim, k) for k in axes)
    if sorted(order) != list(range(ndim)):
        raise TracingError(f"np.transpose: axes {axes} do not match an array of {ndim} dimensions, at {caller()}.")
    return ops.transpose(a, axes=order)


@_lowers(np.swapaxes)
def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(np.ndim(a)))
    i, j = _axis(len(order), axis1), _axis(len(order), axis2)
    order[i], order[j] = order[j], order[i]
    return np.transpose(a, order)


@_lowers(np.moveaxis)
def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    ndim = np.ndim(a)
    start = [_axis(ndim, k) for k in (source if isinstance(source, (tuple, list)) else (source,))]
    end = [_axis(ndim, k) for k in (destination if isinstance(destination, (tuple, list)) else (destination,))]
    order = [k for k in range(ndim) if k not in start]
    for place, k in sorted(zip(end, start, strict=True)):
        order.insert(place, k)
    return np.transpose(a, order)


@_lowers(np.rollaxis)
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    ndim = np.ndim(a)
    axis = _axis(ndim, axis)
    start = start + ndim if start < 0 else start
    return np.moveaxis(a, axis, start - 1 if axis < start else start)


@_lowers(np.broadcast_to)
def _broadcast_to(array: Any, shape: Any) -> Any:
    array = as_operand(array)
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (int(shape),)
    if np.broadcast_shapes(np.shape(array), shape) != shape:
        raise TracingError(f"Cannot broadcast an array of shape {np.shape(array)} to {shape}, at {caller()}.")
    return ops.broadcast_to(array, shape=shape)


# ---------------------------------------------------------------- joining and repeating


@_lowers(np.concatenate)
def _concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Any:
    parts = [as_operand(a) for a in arrays]
    if axis is None:
        parts, axis = [np.ravel(p) for p in parts], 0
    parts = [p if np.ndim(p) else _zero_d() for p in parts]
    common = dtype or np.result_type(*parts)
    parts = [p if p.dtype == common else ops.astype(p, dtype=np.dtype(common)) for p in parts]
    axis = _axis(np.ndim(parts[0]), axis)
    return ops.concatenate(*parts, axis=axis)


def _zero_d() -> Any:
    refuse("np.concatenate joins numbers without an axis", "Use np.array([...]) or np.stack for scalars, or x[None].")


@_lowers(np.stack)
def _stack(arrays: Any, axis: int = 0) -> Any:
    parts = [as_operand(a) for a in arrays]
    return np.concatenate([np.expand_dims(p, axis) for p in parts], _axis(np.ndim(parts[0]) + 1, axis))


@_lowers(np.hstack)
def _hstack(tup: Any) -> Any:
    parts = [np.atleast_1d(as_operand(a)) for a in tup]
    return np.concatenate(parts, 0 if np.ndim(parts[0]) == 1 else 1)


@_lowers(np.vstack)
def _vstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_2d(as_operand(a)) for a in tup], 0)


@_lowers(np.dstack)
def _dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(as_operand(a)) for a in tup], 2)


@_lowers(np.column_stack)
def _column_stack(tup: Any) -> Any:
    parts = [as_operand(a) for a in tup]
    return np.concatenate([p if np.ndim(p) == 2 else np.reshape(p, (-1, 1)) for p in parts], 1)


@_lowers(np.append)
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        return np.concatenate([np.ravel(as_operand(arr)), np.ravel(as_operand(values))])
    return np.concatenate([arr, values], axis)


@_lowers(np.block)
def _block(arrays: Any) -> Any:
    def depth(x: Any) -> int:
        return 1 + depth(x[0]) if isinstance(x, list) else 0

    def join(x: Any, level: int, ndim: int) -> Any:
        if not isinstance(x, list):
            a = as_operand(x)
            return np.reshape(a, (1,) * (ndim - np.ndim(a)) + np.shape(a))
        return np.concatenate([join(y, level - 1, ndim) for y in x], axis=-level)

    def largest(x: Any) -> int:
        return max(largest(y) for y in x) if isinstance(x, list) else np.ndim(x)

    return join(arrays, depth(arrays), max(depth(arrays), largest(arrays)))


def _split_at(ary: Any, sections: Any, axis: int) -> list[Any]:
    axis = _axis(np.ndim(ary), axis)
    size = np.shape(ary)[axis]
    if isinstance(sections, (int, np.integer)):
        small, extra = divmod(size, int(sections))
        cuts = list(np.cumsum([small + 1] * extra + [small] * (int(sections) - extra)))[:-1]
    else:
        cuts = list(sections)
    edges = [0, *(int(c) for c in cuts), size]
    before = (slice(None),) * axis
    return [ary[(*before, slice(a, b))] for a, b in zip(edges[:-1], edges[1:], strict=True)]


@_lowers(np.array_split)
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    return _split_at(ary, indices_or_sections, axis)


@_lowers(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if isinstance(indices_or_sections, int) and np.shape(ary)[axis] % indices_or_sections:
        raise TracingError(
            f"np.split cannot divide {np.shape(ary)[axis]} into {indices_or_sections} equal parts, at {caller()}."
        )
    return _split_at(ary, indices_or_sections, axis)


@_lowers(np.hsplit)
def _hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split_at(ary, indices_or_sections, 0 if np.ndim(ary) == 1 else 1)


@_lowers(np.vsplit)
def _vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split_at(ary, indices_or_sections, 0)


@_lowers(np.tile)
def _tile(A: Any, reps: Any) -> Any:
    A = as_operand(A)
    reps = tuple(reps) if isinstance(reps, (tuple, list)) else (int(reps),)
    ndim = max(np.ndim(A), len(reps))
    shape = (1,) * (ndim - np.ndim(A)) + np.shape(A)
    reps = (1,) * (ndim - len(reps)) + reps
    spread = np.reshape(A, tuple(s for k in range(ndim) for s in (1, shape[k])))
    spread = np.broadcast_to(spread, tuple(s for k in range(ndim) for s in (reps[k], shape[k])))
    return np.reshape(spread, tuple(r * s for r, s in zip(reps, shape, strict=True)))


@_lowers(np.repeat)
def _repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    a = as_operand(a)
    if axis is None:
        a, axis = np.ravel(a), 0
    return np.take(a, np.repeat(np.arange(np.shape(a)[axis]), repeats), axis=axis)


@_lowers(np.flip)
def _flip(m: Any, axis: Any = None) -> Any:
    axes = _axes(np.ndim(m), axis)
    return m[tuple(slice(None, None, -1) if k in axes else slice(None) for k in range(np.ndim(m)))]


@_lowers(np.flipud)
def _flipud(m: Any) -> Any:
    return np.flip(m, 0)


@_lowers(np.fliplr)
def _fliplr(m: Any) -> Any:
    return np.flip(m, 1)


@_lowers(np.rot90)
def _rot90(m: Any, k: int = 1) -> Any:
    for _ in range(k % 4):
        m = np.flip(np.swapaxes(m, 0, 1), 0)
    return m


@_lowers(np.roll)
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return np.reshape(np.roll(np.ravel(a), shift, 0), np.shape(a))
    shifts = shift if isinstance(shift, (tuple, list)) else (shift,)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    for s, k in zip(shifts * (len(axes) // len(shifts)), axes, strict=True):
        k = _axis(np.ndim(a), k)
        size = np.shape(a)[k]
        cut = -int(s) % size if size else 0
        if cut:
            before = (slice(None),) * k
            a = np.concatenate([a[(*before, slice(cut, None))], a[(*before, slice(None, cut))]], k)
    return a


@_lowers(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Any:
    array = as_operand(array)
    widths = np.broadcast_to(np.asarray(pad_width, dtype=int), (np.ndim(array), 2))
    if mode != "constant":  # every other mode repeats entries: NumPy says which
        for k, (before, after) in enumerate(widths):
            where = np.pad(np.arange(np.shape(array)[k]), (before, after), mode=mode)  # type: ignore[call-overload]
            array = np.take(array, where, axis=k)
        return array
    if np.ndim(constant_values):
        raise TypeError("constant_values must be one number")
    for k, (before, after) in enumerate(widths):
        shape = list(np.shape(array))
        parts = [array]
        for place, width in ((0, before), (2, after)):
            if width:
                shape[k] = int(width)
                parts.insert(place, np.full(shape, constant_values, array.dtype))
        array = np.concatenate(parts, k) if len(parts) > 1 else array
    return array


# ---------------------------------------------------------------- indexing


def lower_getitem(x: Any, index: Any) -> Any:
    """``x[index]`` with integers, slices, None, Ellipsis and integer arrays (traced or not)."""
    entries = list(index) if isinstance(index, tuple) else [index]
    entries = [np.asarray(e) if isinstance(e, list) else e for e in entries]
    flat: list[Any] = []
    for e in entries:  # a constant mask is the list of places where it is true
        if isinstance(e, np.ndarray) and e.dtype == bool:
            flat.extend(np.nonzero(e))
        else:
            flat.append(e)
    ndim = len(x.shape)
    taken = sum(e is not None and e is not Ellipsis for e in flat)
    if taken > ndim:
        raise TracingError(f"Too many indices for an array of shape {x.shape}, at {caller()}.")
    if not any(e is Ellipsis for e in flat):
        flat.append(Ellipsis)
    at = next(k for k, e in enumerate(flat) if e is Ellipsis)
    flat[at : at + 1] = [slice(None)] * (ndim - taken)

    plan: list[tuple[Any, ...]] = []
    operands: list[Any] = []
    axis = 0
    for e in flat:
        if e is None:
            plan.append(("new",))
            continue
        size = x.shape[axis]
        if isinstance(e, slice):
            parts = tuple(None if p is None else int(p) for p in (e.start, e.stop, e.step))
            plan.append(("slice", *((None, None, None) if parts in ((0, size, 1), (0, None, None)) else parts)))
        elif isinstance(e, (int, np.integer)):
            if not -size <= e < size:
                raise TracingError(
                    f"Index {int(e)} is out of range for axis {axis} of an array of shape {x.shape}, at {caller()}."
                )
            plan.append(("int", int(e) % size))
        else:
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
            plan.append(("operand",))
            operands.append(e)
        axis += 1
    return ops.getitem(x, *operands, index=tuple(plan))


@_lowers(np.take)
def _take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    a = a if isinstance(a, Tracer) else np.asarray(a)
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = _axis(np.ndim(a), axis)
    indices = as_operand(indices)
    if mode != "raise":
        indices = np.clip(indices, 0, a.shape[axis] - 1) if mode == "clip" else indices % a.shape[axis]
    return lower_getitem(a, (*(slice(None),) * axis, indices if np.ndim(indices) else indices))


@_lowers(np.take_along_axis)
def _take_along_axis(arr: Any, indices: Any, axis: int = -1) -> Any:
    axis = _axis(np.ndim(arr), axis)
    shape = np.shape(indices)
    grid: list[Any] = [np.arange(s).reshape((1,) * k + (s,) + (1,) * (len(shape) - k - 1)) for k, s in enumerate(shape)]
    grid[axis] = indices
    return lower_getitem(arr, tuple(grid))


@_lowers(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    if np.ndim(v) == 2:
        return np.diagonal(v, k)
    size = np.shape(v)[0]
    places = np.arange(size)
    rows, columns = places + max(-k, 0), places + max(k, 0)
    n = size + abs(k)
    return ops.scatter_add(v, rows, columns, index=(("operand",), ("operand",)), shape=(n, n))


@_lowers(np.diagonal)
def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    i, j = _axis(np.ndim(a), axis1), _axis(np.ndim(a), axis2)
    rest = [k for k in range(np.ndim(a)) if k not in (i, j)]
    a = np.transpose(a, [*rest, i, j])
    rows, columns = np.shape(a)[-2:]
    size = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    places = np.arange(size)
    return a[..., places + max(-offset, 0), places + max(offset, 0)]


@_lowers(np.trace)
def _trace(a: Any, offset: int = 0) -> Any:
    return np.sum(np.diagonal(a, offset), axis=-1)


@_lowers(np.triu)
def _triu(m: Any, k: int = 0) -> Any:
    return np.where(np.triu(np.ones(np.shape(m)[-2:], bool), k), m, 0)


@_lowers(np.tril)
def _tril(m: Any, k: int = 0) -> Any:
    return np.where(np.tril(np.ones(np.shape(m)[-2:], bool), k), m, 0)


@_lowers(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    axis = _axis(np.ndim(a), axis)
    before = (slice(None),) * axis
    for _ in range(n):
        a = a[(*before, slice(1, None))] - a[(*before, slice(None, -1))]
    return a


@_lowers(np.gradient)
def _gradient(f: Any, *varargs: Any, axis: Any = None) -> Any:
    axes = _axes(np.ndim(f), axis)
    spacings = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    if len(spacings) != len(axes) or any(np.ndim(s) for s in spacings):
        raise TypeError("one spacing per axis, a single number, is supported as argument")
    made = []
    for k, step in zip(axes, spacings, strict=True):
        before = (slice(None),) * k

        def at(start: int | None, stop: int | None, before: Any = before) -> Any:
            return f[(*before, slice(start, stop))]

        first = (at(1, 2) - at(None, 1)) / step
        last = (at(-1, None) - at(-2, -1)) / step
        middle = (at(2, None) - at(None, -2)) / (2.0 * step)
        made.append(np.concatenate([first, middle, last], k))
    return made[0] if len(made) == 1 else tuple(made)


@_lowers(np.interp)
def _interp(x: Any, xp: Any, fp: Any) -> Any:
    xp, fp = as_operand(xp), as_operand(fp)
    k = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, np.shape(xp)[0] - 2)
    x0, f0 = np.take(xp, k), np.take(fp, k)
    weight = (x - x0) / (np.take(xp, k + 1) - x0)
    return f0 + np.clip(weight, 0.0, 1.0) * (np.take(fp, k + 1) - f0)


@_lowers(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = as_operand(a), as_operand(v)
    n, m = np.shape(a)[0], np.shape(v)[0]
    if m > n:
        a, v, n, m = v, a, m, n
    padded = np.concatenate([np.zeros(m - 1), a, np.zeros(m - 1)])
    full = np.arange(n + m - 1)
    cut = {"full": (0, n + m - 1), "same": ((m - 1) // 2, (m - 1) // 2 + n), "valid": (m - 1, n)}[mode]
    windows = full[cut[0] : cut[1], None] + np.arange(m)
    return padded[windows] @ np.flip(v)


@_lowers(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    y = p[0] * (x * 0 + 1)
    for k in range(1, len(p)):
        y = y * x + p[k]
    return y


# ---------------------------------------------------------------- order


@_lowers(np.argsort)
def _argsort(a: Any, axis: int = -1, kind: Any = None, order: Any = None) -> Any:
    if _axis(np.ndim(a), axis) != np.ndim(a) - 1:
        return np.swapaxes(ops.argsort(np.swapaxes(a, axis, -1)), axis, -1)
    return ops.argsort(a)


@_lowers(np.sort)
def _sort(a: Any, axis: int = -1, kind: Any = None) -> Any:
    return np.take_along_axis(a, np.argsort(a, axis), axis)


def _arg(operation: Any) -> Callable[..., Any]:
    def lowering(a: Any, axis: int | None = None) -> Any:
        return operation(np.ravel(a)) if axis is None else operation(np.moveaxis(a, axis, -1))

    return lowering


SUPPORTED[np.argmax], SUPPORTED[np.argmin] = _arg(ops.argmax), _arg(ops.argmin)


@_lowers(np.searchsorted)
def _searchsorted(a: Any, v: Any, side: str = "left") -> Any:
    if side != "right":
        return np.shape(a)[0] - ops.searchsorted(-np.flip(as_operand(a)), -as_operand(v))
    return ops.searchsorted(as_operand(a), as_operand(v))


@_lowers(np.round, np.around)
def _round(a: Any, decimals: int = 0) -> Any:
    return np.rint(a) if decimals == 0 else np.rint(a * 10.0**decimals) / 10.0**decimals


# ---------------------------------------------------------------- linear algebra


@_lowers(np.linalg.inv)
def _inv(a: Any) -> Any:
    return ops.inv(a)


@_lowers(np.linalg.det)
def _det(a: Any) -> Any:
    return ops.det(a)


@_lowers(np.linalg.solve)
def _solve(a: Any, b: Any) -> Any:
    return ops.solve(as_operand(a), as_operand(b))


@_lowers(np.linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> Any:
    if n < 0:
        a, n = ops.inv(a), -n
    result: Any = np.eye(np.shape(a)[-1])
    while n:
        if n % 2:
            result = result @ a
        a, n = a @ a, n // 2
    return result
