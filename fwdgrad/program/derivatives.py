"""Derivatives of programs: Jacobian-vector and vector-Jacobian products.

`Linearized` evaluates a program at a point, keeps the intermediate values, and multiplies the Jacobian there by
vectors, from the right (`jvp`, forward) or from the left (`vjp`, backward). It replays rules operation by operation
with NumPy calls, so it works on arrays, and on tracers, where it writes the derivative into the program being traced;
forward and backward products then share the values and partial derivatives they have in common.

Rules: a pointwise operation has one rule, its backward one, since its Jacobian is diagonal. It is autograd's, except
for the few in `PARTIALS`, which are cheaper than autograd's or keep the dtype. Linear operations (sums, products,
indexing, reshaping) are their own forward rule, and have their transpose as backward rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import autograd.numpy as anp
import autograd.scipy.special as aspecial
import numpy as np
from autograd.core import primitive_vjps

from fwdgrad.errors import UnsupportedOperationError
from fwdgrad.program import operations as ops
from fwdgrad.program.operations import Pointwise
from fwdgrad.program.program import Instruction, Program, Variable, read, recording_for

__all__ = ["Linearized"]


class Linearized:
    """A program evaluated at a point, with its Jacobian there as two products.

    Args:
        program: any program of real arrays.
        arguments: one array, or tracer, per input.

    Cost: `jvp` and `vjp` each cost a small multiple of the program itself, and `vjp` keeps every intermediate value.
    """

    def __init__(self, program: Program, arguments: Sequence[Any]) -> None:
        self.program = program
        self._values = program.evaluate(arguments)

    @property
    def value(self) -> tuple[Any, ...]:
        """The program's outputs."""
        return tuple(read(self._values, o) for o in self.program.outputs)

    def jvp(self, tangents: dict[int, Any]) -> tuple[Any, ...]:
        """Directional derivatives of the outputs: Σ_k ∂out/∂input_k · tangents[k].

        Args:
            tangents: input number → direction, of the input's shape. Inputs left out are held fixed.

        Returns:
            One array per output; zeros where an output does not depend on the inputs in `tangents`.
        """
        moving: dict[Variable, Any] = {self.program.inputs[k]: t for k, t in tangents.items()}
        for instruction in self.program.instructions:
            if not any(isinstance(i, Variable) and i in moving for i in instruction.inputs):
                continue
            directions = [moving.get(i) if isinstance(i, Variable) else None for i in instruction.inputs]
            values = [read(self._values, i) for i in instruction.inputs]
            out = instruction.outputs[0]
            with recording_for(instruction.source):
                tangent = forward(instruction, values, self._values[out], directions)
            if tangent is not None:
                moving[out] = fit(tangent, out)
        return tuple(
            moving[o] if isinstance(o, Variable) and o in moving else np.zeros(o.shape, o.dtype)
            for o in self.program.outputs
        )

    def vjp(self, cotangents: Sequence[Any], wrt: Sequence[int]) -> tuple[Any, ...]:
        """Gradients Σ_o cotangents[o] · ∂out_o/∂input_k for the inputs k in `wrt`.

        Args:
            cotangents: one array of the output's shape per output; None counts as zero.
            wrt: numbers of the inputs.

        Returns:
            One array of the input's shape per entry of `wrt`.
        """
        targets = {self.program.inputs[k] for k in wrt}
        active = set(targets)
        for instruction in self.program.instructions:
            if any(isinstance(i, Variable) and i in active for i in instruction.inputs):
                active.update(o for o in instruction.outputs if np.issubdtype(o.dtype, np.floating))
        gradients: dict[Variable, Any] = {}

        def accumulate(variable: Variable, gradient: Any) -> None:
            gradient = fit(gradient, variable)
            gradients[variable] = gradients[variable] + gradient if variable in gradients else gradient

        for output, cotangent in zip(self.program.outputs, cotangents, strict=True):
            if cotangent is not None and isinstance(output, Variable) and output in active:
                accumulate(output, cotangent)
        for instruction in reversed(self.program.instructions):
            out = instruction.outputs[0]
            if out not in gradients:
                continue
            gradient = gradients.pop(out)
            values = [read(self._values, i) for i in instruction.inputs]
            for number, operand in enumerate(instruction.inputs):
                if isinstance(operand, Variable) and operand in active:
                    with recording_for(instruction.source):
                        part = backward(instruction, values, self._values[out], gradient, number)
                    if part is not None:
                        accumulate(operand, part)
        return tuple(gradients.get(v, np.zeros(v.shape, v.dtype)) for v in (self.program.inputs[k] for k in wrt))


def fit(value: Any, variable: Variable) -> Any:
    """`value` with the shape and dtype of `variable` (a rule may leave out a broadcast, or widen the dtype)."""
    if np.shape(value) != variable.shape:
        value = ops.broadcast_to(value, shape=variable.shape)
    if value.dtype != variable.dtype:
        value = ops.astype(value, dtype=variable.dtype)
    return value


def unbroadcast(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the axes along which an operand of `shape` was repeated."""
    have = np.shape(gradient)
    if have == shape:
        return gradient
    extra = len(have) - len(shape)
    axes = (*range(extra), *(k + extra for k, s in enumerate(shape) if s == 1 and have[k + extra] != 1))
    return ops.reshape(ops.reduce_sum(gradient, axes=axes), shape=shape)


def forward(instruction: Instruction, values: list[Any], out: Any, directions: list[Any]) -> Any:
    """The tangent of an instruction's result, or None where it is zero."""
    operation, params = instruction.operation, instruction.params
    if operation.name in FORWARD:
        return FORWARD[operation.name](values, out, directions, params)
    if isinstance(operation, Pointwise):
        if not operation.differentiable:
            return None
        total = None
        for number, direction in enumerate(directions):
            if direction is None:
                continue
            part = _pointwise(operation, values, out, direction, number, instruction)
            if part is not None:
                total = part if total is None else total + part
        return total
    raise UnsupportedOperationError(f"{operation.name} has no forward derivative, at {instruction.source}.")


def backward(instruction: Instruction, values: list[Any], out: Any, gradient: Any, number: int) -> Any:
    """The gradient with respect to operand `number`, or None where it is zero."""
    operation, params = instruction.operation, instruction.params
    if operation.name in BACKWARD:
        return BACKWARD[operation.name](values, out, gradient, number, params)
    if isinstance(operation, Pointwise):
        if not operation.differentiable:
            return None
        part = _pointwise(operation, values, out, gradient, number, instruction)
        return None if part is None else unbroadcast(part, np.shape(values[number]))
    raise UnsupportedOperationError(f"{operation.name} has no backward derivative, at {instruction.source}.")


# ---------------------------------------------------------------- pointwise operations


def _pointwise(op: Pointwise, values: list[Any], out: Any, g: Any, number: int, instruction: Instruction) -> Any:
    """g times the partial derivative with respect to operand `number`; broadcast, not summed."""
    rule = PARTIALS.get(op.name)
    if rule is not None:
        return rule(g, out, number, *values)
    original = _AUTOGRAD.get(op.name)
    if original is None or original not in primitive_vjps:
        raise UnsupportedOperationError(
            f"{op.name} has no derivative, at {instruction.source}.\n"
            "Write the function with operations that have one; the documentation's table of operations lists them."
        )
    shape = np.shape(out)
    wide = [ops.broadcast_to(v, shape=shape) if np.shape(v) != shape else v for v in values]
    g = ops.broadcast_to(g, shape=shape) if np.shape(g) != shape else g
    try:
        (part,) = primitive_vjps[original]((number,), out, tuple(wide), {})(g)
    except NotImplementedError:
        raise UnsupportedOperationError(
            f"{op.name} has no derivative with respect to argument {number + 1}, at {instruction.source}.\n"
            "Keep that argument constant, or write the function with other operations."
        ) from None
    return part


_AUTOGRAD = {
    name: getattr(aspecial if op.source.startswith("special") else anp, name, None)
    for name, op in ops.POINTWISE.items()
}


def _equal_share(x: Any, other: Any, better: Any) -> Any:
    """1 where x is taken, ½ where both are equal, 0 elsewhere."""
    return ops.POINTWISE["where"](x == other, 0.5, ops.POINTWISE["where"](better, 1.0, 0.0))


def _power(g: Any, out: Any, number: int, x: Any, y: Any) -> Any:
    if number == 0:
        if isinstance(y, (int, float)):
            return g * (y * x ** (y - 1)) if y != 0 else None
        return g * y * x ** np.where(y != 0, y - 1, 1.0)
    return g * (np.log(np.where(x > 0, x, 1.0)) * out)


def _where(g: Any, out: Any, number: int, condition: Any, x: Any, y: Any) -> Any:
    zero = np.zeros((), out.dtype)
    if number == 1:
        return np.where(condition, g, zero)
    return np.where(condition, zero, g) if number == 2 else None


# operation → rule(g, result, number of the operand, *operands): g times ∂result/∂operand
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
    "hypot": lambda g, out, k, x, y: g * ((y if k else x) / out),
    "mod": lambda g, out, k, x, y: -g * np.floor(x / y) if k else g,
    "maximum": lambda g, out, k, x, y: g * (_equal_share(y, x, y > x) if k else _equal_share(x, y, x > y)),
    "minimum": lambda g, out, k, x, y: g * (_equal_share(y, x, y < x) if k else _equal_share(x, y, x < y)),
    "where": _where,
    "astype": lambda g, out, k, x: g if np.issubdtype(out.dtype, np.floating) else None,
    "logaddexp2": lambda g, out, k, x, y: g * np.exp2((y if k else x) - out),
    "log1p": lambda g, out, k, x: g / (1.0 + x),
}


# ---------------------------------------------------------------- linear and other operations

FORWARD: dict[str, Callable[..., Any]] = {}
BACKWARD: dict[str, Callable[..., Any]] = {}


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


_linear(ops.reduce_sum, lambda values, g, p: _spread(g, np.shape(values[0]), p["axes"]))
_linear(ops.cumsum, lambda values, g, p: _flip(ops.cumsum(_flip(g, p["axis"]), **p), p["axis"]))
_linear(ops.reshape, lambda values, g, p: ops.reshape(g, shape=np.shape(values[0])))
_linear(ops.transpose, lambda values, g, p: ops.transpose(g, axes=tuple(int(k) for k in np.argsort(p["axes"]))))
_linear(ops.broadcast_to, lambda values, g, p: unbroadcast(g, np.shape(values[0])))
_linear(
    ops.getitem,
    lambda values, g, p: ops.scatter_add(g, *values[1:], index=p["index"], shape=np.shape(values[0])),
)
_linear(ops.scatter_add, lambda values, g, p: ops.getitem(g, *values[1:], index=p["index"]))


def _concatenate_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    return ops.concatenate(
        *(np.zeros(np.shape(v), out.dtype) if d is None else d for v, d in zip(values, directions, strict=True)),
        **params,
    )


def _concatenate_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    axis = params["axis"]
    start = sum(np.shape(v)[axis] for v in values[:number])
    return g[(*(slice(None),) * axis, slice(start, start + np.shape(values[number])[axis]))]


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
    na, nb = np.ndim(a), np.ndim(b)
    if na == 1 and nb == 1:
        return g * (a if number else b)
    if na == 2 and nb == 1:
        return ops.matmul(g, a) if number else ops.reshape(g, shape=(*np.shape(g), 1)) * b
    if na == 1 and nb == 2:
        return ops.reshape(a, shape=(*np.shape(a), 1)) * g if number else ops.matmul(b, g)
    # stacks of matrices: vectors become matrices of one row or column, then the sum over the repeated stacks
    if na == 1:
        a, g = ops.reshape(a, shape=(1, *np.shape(a))), np.expand_dims(g, -2)
    if nb == 1:
        b, g = ops.reshape(b, shape=(*np.shape(b), 1)), np.expand_dims(g, -1)
    part = ops.matmul(np.swapaxes(a, -1, -2), g) if number else ops.matmul(g, np.swapaxes(b, -1, -2))
    part = unbroadcast(part, np.shape(b if number else a))
    return ops.reshape(part, shape=np.shape(values[number]))


def _einsum_transpose(values: list[Any], g: Any, number: int, params: dict[str, Any]) -> Any:
    left, output = params["subscripts"].split("->")
    letters = left.split(",")
    others = [v for k, v in enumerate(values) if k != number]
    other_letters = [i for k, i in enumerate(letters) if k != number]
    return np.einsum(f"{','.join([output, *other_letters])}->{letters[number]}", g, *others)


_multilinear(ops.matmul, _matmul_transpose)
_multilinear(ops.einsum, _einsum_transpose)


def _share(values: list[Any], out: Any, params: dict[str, Any]) -> Any:
    """How a maximum or minimum depends on its operand: 1 at the place of the extreme value, shared if several."""
    shape = np.shape(values[0])
    hit = (values[0] == _spread(out, shape, params["axes"])).astype(out.dtype)
    return hit / _spread(ops.reduce_sum(hit, axes=params["axes"]), shape, params["axes"])


def _extreme_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    return ops.reduce_sum(directions[0] * _share(values, out, params), axes=params["axes"])


def _extreme_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    return _spread(g, np.shape(values[0]), params["axes"]) * _share(values, out, params)


for _name in ("max", "min"):
    FORWARD[_name], BACKWARD[_name] = _extreme_forward, _extreme_backward


def _swap(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _column(x: Any, like: Any) -> Any:
    """A vector as a matrix of one column, when `like` is a vector."""
    return np.expand_dims(x, -1) if np.ndim(like) == 1 else x


def _solve_forward(values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
    a, b = values
    da, db = directions
    right = db if da is None else -ops.matmul(da, out) if db is None else db - ops.matmul(da, out)
    return ops.solve(a, right)


def _solve_backward(values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
    a, b = values
    adjoint = ops.solve(_swap(a), g)
    if number == 1:
        return adjoint
    return -ops.matmul(_column(adjoint, b), _swap(_column(out, b)))


FORWARD["solve"], BACKWARD["solve"] = _solve_forward, _solve_backward
FORWARD["inv"] = lambda values, out, d, params: -ops.matmul(ops.matmul(out, d[0]), out)
BACKWARD["inv"] = lambda values, out, g, number, params: -ops.matmul(ops.matmul(_swap(out), g), _swap(out))
FORWARD["det"] = lambda values, out, d, params: out * np.sum(_swap(ops.inv(values[0])) * d[0], axis=(-1, -2))
BACKWARD["det"] = lambda values, out, g, number, params: (
    np.reshape(g * out, (*np.shape(out), 1, 1)) * _swap(ops.inv(values[0]))
)


def _none(*_: Any) -> None:
    return None


for _name in ("stop_gradient", "any", "all", "argsort", "argmax", "argmin", "searchsorted"):
    FORWARD[_name] = BACKWARD[_name] = _none
