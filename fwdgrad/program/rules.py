"""Derivative rules of the core operations.

A pointwise operation has one rule, since its Jacobian is diagonal. It is autograd's backward rule, except for the few
in `PARTIALS`: those are cheaper than autograd's, keep the dtype, or take another convention where the derivative does
not exist. Linear operations (sums, products, indexing, reshaping) are their own forward rule, and have their transpose
as backward rule.

Rules are written in NumPy calls and core operations, so they work on arrays, and on tracers, where they write the
derivative into the program being traced.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import primitive_vjps

from fwdgrad.program import operations as ops

__all__ = ["BACKWARD", "FORWARD", "PARTIALS", "autograd_rule", "unbroadcast"]


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if hasattr(x, "shape") else ()  # a Python number


def _ndim(x: Any) -> int:
    return len(_shape(x))


def unbroadcast(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the axes along which an operand of `shape` was repeated."""
    have = _shape(gradient)
    if have == shape:
        return gradient
    extra = len(have) - len(shape)
    axes = (*range(extra), *(k + extra for k, s in enumerate(shape) if s == 1 and have[k + extra] != 1))
    return ops.reshape(ops.reduce_sum(gradient, axes=axes), shape=shape)


# ---------------------------------------------------------------- pointwise operations


def autograd_rule(op: ops.Pointwise) -> Any:
    """autograd's backward rule for a pointwise operation; NotImplementedError if it has none.

    Its rules for scipy.special are loaded when they are first needed: they bring all of SciPy with them.
    """
    special = op.source.startswith("special")
    namespace = importlib.import_module("autograd.scipy.special") if special else anp
    rule = primitive_vjps.get(getattr(namespace, op.name, None))
    if rule is None:
        raise NotImplementedError(op.name)
    return rule


_WHERE = ops.POINTWISE["where"]


def _chosen(g: Any, out: Any, number: int, x: Any, y: Any) -> Any:
    """Maximum and minimum: g goes to the operand that was taken, half to each if they are equal."""
    return _WHERE(x == y, g * 0.5, _WHERE((y if number else x) == out, g, 0.0))


def _power(g: Any, out: Any, number: int, x: Any, y: Any) -> Any:
    if number == 0:
        if isinstance(y, (int, float)):
            return g * (y * x ** (y - 1)) if y != 0 else None
        return g * y * x ** _WHERE(y != 0, y - 1, 1.0)
    if isinstance(x, (int, float)):
        return g * (out * (math.log(x) if x > 0 else 0.0 if x == 0 else math.nan))
    return g * (np.log(_WHERE(x == 0, 1.0, x)) * out)


def _where(g: Any, out: Any, number: int, condition: Any, x: Any, y: Any) -> Any:
    if number == 1:
        return _WHERE(condition, g, 0.0)
    return _WHERE(condition, 0.0, g) if number == 2 else None


def _arctan2(g: Any, out: Any, number: int, y: Any, x: Any) -> Any:
    """x/r² and −y/r²; 0 at the origin, where every direction has another limit."""
    r = np.hypot(x, y)
    r = _WHERE(r == 0, 1.0, r)
    return g * (-(y / r) / r) if number else g * ((x / r) / r)


def _hypot(g: Any, out: Any, number: int, x: Any, y: Any) -> Any:
    return g * ((y if number else x) / _WHERE(out == 0, 1.0, out))


def _order(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function f(n, x) of integer order n, which has no derivative with respect to n."""

    def partial(g: Any, out: Any, number: int, n: Any, x: Any) -> Any:
        if number == 0:
            raise NotImplementedError
        return g * rule(n, x)

    return partial


_P = ops.POINTWISE

PARTIALS: dict[str, Callable[..., Any]] = {
    "add": lambda g, out, k, x, y: g,
    "subtract": lambda g, out, k, x, y: -g if k else g,
    "multiply": lambda g, out, k, x, y: g * (x if k else y),
    "divide": lambda g, out, k, x, y: -g * (out / y) if k else g / y,
    "negative": lambda g, out, k, x: -g,
    "power": _power,
    "sqrt": lambda g, out, k, x: g * (0.5 / out),
    "cbrt": lambda g, out, k, x: g / (3.0 * out * out),
    "tanh": lambda g, out, k, x: g * (1.0 - out * out),
    "expit": lambda g, out, k, x: g * (out * (1.0 - out)),
    "tan": lambda g, out, k, x: g * (1.0 + out * out),
    "exp2": lambda g, out, k, x: g * (out * float(np.log(2.0))),
    "log2": lambda g, out, k, x: g / (x * float(np.log(2.0))),
    "log10": lambda g, out, k, x: g / (x * float(np.log(10.0))),
    "absolute": lambda g, out, k, x: g * np.sign(x),
    "reciprocal": lambda g, out, k, x: -g * out * out,
    "hypot": _hypot,
    "arctan2": _arctan2,
    "mod": lambda g, out, k, x, y: -g * np.floor(x / y) if k else g,
    "maximum": _chosen,
    "minimum": _chosen,
    "fmax": _chosen,
    "fmin": _chosen,
    "where": _where,
    "astype": lambda g, out, k, x: g if np.issubdtype(out.dtype, np.floating) else None,
    "logaddexp2": lambda g, out, k, x, y: g * np.exp2((y if k else x) - out),
    "log1p": lambda g, out, k, x: g / (1.0 + x),
    # autograd's rule calls SciPy's polygamma, which is no ufunc and cannot see tracers
    "psi": lambda g, out, k, x: g * _P["polygamma"](1, x),
    "polygamma": _order(lambda n, x: _P["polygamma"](n + 1, x)),
    "jn": _order(lambda n, x: 0.5 * (_P["jn"](n - 1, x) - _P["jn"](n + 1, x))),
    "iv": _order(lambda n, x: 0.5 * (_P["iv"](n - 1, x) + _P["iv"](n + 1, x))),
}
"""Operation → rule(g, result, number of the operand, *operands): g times ∂result/∂operand, or None for zero."""


# ---------------------------------------------------------------- linear and other operations

FORWARD: dict[str, Callable[..., Any]] = {}
"""Operation → rule(operands, result, directions, params): the result's tangent, or None for zero."""

BACKWARD: dict[str, Callable[..., Any]] = {}
"""Operation → rule(operands, result, gradient, number of the operand, params): the operand's gradient, or None."""


def _linear(operation: ops.Operation, transpose: Callable[..., Any]) -> None:
    """An operation linear in its first operand (the others are indices), with its transpose."""

    def forward_rule(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        return None if directions[0] is None else operation(directions[0], *values[1:], **params)

    def backward_rule(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        return transpose(values, g, params) if number == 0 else None

    FORWARD[operation.name] = forward_rule
    BACKWARD[operation.name] = backward_rule


def _spread(g: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """A reduction's result laid back over the axes that were reduced, without copying it along them."""
    return ops.reshape(g, shape=tuple(1 if k in axes else s for k, s in enumerate(shape)))


def _flip(g: Any, axis: int) -> Any:
    return g[(*(slice(None),) * axis, slice(None, None, -1))]


_linear(ops.reduce_sum, lambda values, g, p: _spread(g, _shape(values[0]), p["axes"]))
_linear(ops.cumsum, lambda values, g, p: _flip(ops.cumsum(_flip(g, p["axis"]), **p), p["axis"]))
_linear(ops.reshape, lambda values, g, p: ops.reshape(g, shape=_shape(values[0])))
_linear(ops.transpose, lambda values, g, p: ops.transpose(g, axes=tuple(int(k) for k in np.argsort(p["axes"]))))
_linear(ops.broadcast_to, lambda values, g, p: unbroadcast(g, _shape(values[0])))
_linear(
    ops.getitem,
    lambda values, g, p: ops.scatter_add(g, *values[1:], index=p["index"], shape=_shape(values[0])),
)
_linear(ops.scatter_add, lambda values, g, p: ops.getitem(g, *values[1:], index=p["index"]))


def _concatenate_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    return ops.concatenate(
        *(np.zeros(_shape(v), out.dtype) if d is None else d for v, d in zip(values, directions, strict=True)),
        **params,
    )


def _concatenate_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    axis = params["axis"]
    start = sum(_shape(v)[axis] for v in values[:number])
    return g[(*(slice(None),) * axis, slice(start, start + _shape(values[number])[axis]))]


FORWARD["concatenate"], BACKWARD["concatenate"] = _concatenate_forward, _concatenate_backward


def _multilinear(operation: ops.Operation, transpose: Callable[..., Any]) -> None:
    """An operation linear in each operand."""

    def forward_rule(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        total = None
        for k, direction in enumerate(directions):
            if direction is not None:
                part = operation(*values[:k], direction, *values[k + 1 :], **params)
                total = part if total is None else total + part
        return total

    FORWARD[operation.name] = forward_rule
    BACKWARD[operation.name] = lambda values, out, g, number, params: transpose(values, g, number, params)


def _matmul_transpose(values: list[Any], g: Any, number: int, params: dict[str, Any]) -> Any:
    a, b = values
    na, nb = _ndim(a), _ndim(b)
    if na == 1 and nb == 1:
        return g * (a if number else b)
    if na == 2 and nb == 1:
        return ops.matmul(g, a) if number else ops.reshape(g, shape=(*_shape(g), 1)) * b
    if na == 1 and nb == 2:
        return ops.reshape(a, shape=(*_shape(a), 1)) * g if number else ops.matmul(b, g)
    # stacks of matrices: vectors become matrices of one row or column, then the sum over the repeated stacks
    if na == 1:
        a, g = ops.reshape(a, shape=(1, *_shape(a))), np.expand_dims(g, -2)
    if nb == 1:
        b, g = ops.reshape(b, shape=(*_shape(b), 1)), np.expand_dims(g, -1)
    part = ops.matmul(_swap(a), g) if number else ops.matmul(g, _swap(b))
    part = unbroadcast(part, _shape(b if number else a))
    return ops.reshape(part, shape=_shape(values[number]))


def _einsum_transpose(values: list[Any], g: Any, number: int, params: dict[str, Any]) -> Any:
    left, output = params["subscripts"].split("->")
    letters = left.split(",")
    others = [v for k, v in enumerate(values) if k != number]
    other_letters = [i for k, i in enumerate(letters) if k != number]
    subscripts = f"{','.join([output, *other_letters])}->{letters[number]}"
    return np.einsum(subscripts, g, *others, optimize=len(others) > 1)


def _swap(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


_multilinear(ops.matmul, _matmul_transpose)
_multilinear(ops.einsum, _einsum_transpose)


def _share(values: list[Any], out: Any, params: dict[str, Any]) -> Any:
    """How a maximum or minimum depends on its operand: 1 at the place of the extreme value, shared if several."""
    shape = _shape(values[0])
    hit = (values[0] == _spread(out, shape, params["axes"])).astype(out.dtype)
    return hit / _spread(ops.reduce_sum(hit, axes=params["axes"]), shape, params["axes"])


def _extreme_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    return ops.reduce_sum(directions[0] * _share(values, out, params), axes=params["axes"])


def _extreme_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    return _spread(g, _shape(values[0]), params["axes"]) * _share(values, out, params)


for _name in ("max", "min"):
    FORWARD[_name], BACKWARD[_name] = _extreme_forward, _extreme_backward


def _column(x: Any, like: Any) -> Any:
    """Vectors as matrices of one column, when `like` is a vector."""
    return np.expand_dims(x, -1) if _ndim(like) == 1 else x


def _uncolumn(x: Any, like: Any) -> Any:
    return ops.reshape(x, shape=_shape(x)[:-1]) if _ndim(like) == 1 else x


def _solve_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    a, b = values
    da, db = directions
    moved = None if da is None else -ops.matmul(da, _column(out, b))
    right = moved if db is None else _column(db, b) if moved is None else _column(db, b) + moved
    return _uncolumn(ops.solve(a, right), b)


def _solve_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    a, b = values
    adjoint = ops.solve(_swap(a), _column(g, b))
    if number == 1:
        return unbroadcast(_uncolumn(adjoint, b), _shape(b))
    return unbroadcast(-ops.matmul(adjoint, _swap(_column(out, b))), _shape(a))


FORWARD["solve"], BACKWARD["solve"] = _solve_forward, _solve_backward
FORWARD["inv"] = lambda values, out, d, params: -ops.matmul(ops.matmul(out, d[0]), out)
BACKWARD["inv"] = lambda values, out, g, number, params: -ops.matmul(ops.matmul(_swap(out), g), _swap(out))
MINORS = 8
"""Determinants of matrices of up to so many rows are differentiated without an inverse."""


def _cofactors(a: Any, out: Any) -> Any:
    """∂det/∂a: signed minors, which singular matrices have too; of large matrices det · a⁻ᵀ, which they have not."""
    n = _shape(a)[-1]
    if n > MINORS:
        return ops.reshape(out, shape=(*_shape(out), 1, 1)) * _swap(ops.inv(a))
    if n < 2:
        return np.ones(_shape(a), out.dtype)
    rest = np.array([[k for k in range(n) if k != i] for i in range(n)])
    minors = ops.det(a[..., rest[:, None, :, None], rest[None, :, None, :]])
    return minors * ((-1.0) ** np.add.outer(np.arange(n), np.arange(n))).astype(out.dtype)


FORWARD["det"] = lambda values, out, d, params: np.sum(_cofactors(values[0], out) * d[0], axis=(-1, -2))
BACKWARD["det"] = lambda values, out, g, number, params: (
    ops.reshape(g, shape=(*_shape(out), 1, 1)) * _cofactors(values[0], out)
)


def _upper(x: Any, diagonal: float = 1.0) -> Any:
    """The part on and above the diagonal, the diagonal times a number."""
    n = _shape(x)[-1]
    return x * (np.triu(np.ones((n, n)), 1) + diagonal * np.eye(n)).astype(x.dtype)


def _between(r: Any, x: Any, transposed: bool) -> Any:
    """R⁻¹ X R⁻ᵀ, or R⁻ᵀ X R⁻¹ if transposed, for a symmetric result."""
    half = ops.solve_triangular(r, x, transposed=transposed)
    return ops.solve_triangular(r, _swap(half), transposed=transposed)


def _update_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    """SᵀS = RᵀR + BᵀB, so S⁻ᵀ(dRᵀR + RᵀdR + …)S⁻¹ = (dS S⁻¹)ᵀ + dS S⁻¹, of which dS S⁻¹ is the upper triangle."""
    total = None
    for number, (value, direction) in enumerate(zip(values, directions, strict=True)):
        if direction is not None:
            one, other = (value, direction) if number else (_upper(value), _upper(direction))
            part = ops.matmul(_swap(one), other)
            total = part if total is None else total + part
    return ops.matmul(_upper(_between(out, total + _swap(total), transposed=True), 0.5), out)


def _update_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    half = _upper(ops.matmul(g, _swap(out)), 0.5)
    middle = _between(out, half + _swap(half), transposed=False)
    if number == 1:
        return ops.matmul(values[1], middle)
    return _upper(ops.matmul(_upper(values[0]), middle))


def _triangular_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    r = values[0]
    dr, db = directions
    moved = None if dr is None else -ops.matmul(_swap(_upper(dr)) if params["transposed"] else _upper(dr), out)
    right = moved if db is None else db if moved is None else db + moved
    return ops.solve_triangular(r, right, **params)


def _triangular_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    adjoint = ops.solve_triangular(values[0], g, transposed=not params["transposed"])
    if number == 1:
        return adjoint
    outer = ops.matmul(out, _swap(adjoint)) if params["transposed"] else ops.matmul(adjoint, _swap(out))
    return -_upper(outer)


FORWARD["cholesky_update"], BACKWARD["cholesky_update"] = _update_forward, _update_backward
FORWARD["solve_triangular"], BACKWARD["solve_triangular"] = _triangular_forward, _triangular_backward


def _none(*_: Any) -> None:
    return None


for _name in ("stop_gradient", "any", "all", "argsort", "argmax", "argmin", "searchsorted"):
    FORWARD[_name] = BACKWARD[_name] = _none
