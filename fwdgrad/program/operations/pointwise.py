"""Pointwise operations: out[i] = f(x[i], y[i], …), operands broadcast together.

They are declared at the end, by name, in one table for each kind of knowledge: what computes them, where their
derivatives are infinite, which of their values may be, and what of them keeps a zero.

A pointwise operation has one derivative rule, since its Jacobian is diagonal. It is autograd's backward rule, except
for the few in `PARTIALS`: those are cheaper than autograd's, keep the dtype, or take another convention where the
derivative does not exist.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
import scipy.special
from autograd.core import primitive_vjps

from fwdgrad.program.instructions import Abstract, Constant, Instruction
from fwdgrad.program.operations.base import Operand, Operation, is_floating, sample_dtype
from fwdgrad.program.operations.broadcasting import broadcast_to
from fwdgrad.program.trail import Trail, broadcast, some, union_all, united

__all__ = ["PARTIALS", "POINTWISE", "Pointwise", "astype"]


@dataclass(frozen=True, eq=False, repr=False)
class Pointwise(Operation):
    """out[i] = f(x[i], y[i], …), operands broadcast together.

    Attributes:
        function: what computes it.
        source: its name in NumPy (``np``) or SciPy (``special``).
        differentiable: whether it has a derivative other than zero.
        steep: where the derivative in the first operand is infinite at a finite value, in words.
        loose: whether its value may be infinite or NaN where the operands are finite. Where it is, so are the
            derivatives, and those of all that is computed from it.
        additive: whether it is linear in its operands, or chooses between them.
        tame: whether its partial derivatives are finite whatever the values are.
        kink: whether it multiplies what comes by a partial derivative of 0 where it cuts a path.
    """

    function: Callable[..., Any]
    source: str
    differentiable: bool = True
    steep: str = ""
    loose: bool = False
    additive: bool = False
    tame: bool = False
    kink: bool = False

    def evaluate(self, *operands: Any, **params: Any) -> Any:
        return self.function(*operands, **params)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        shapes = {i.shape for i in inputs if i.shape}
        shape = np.broadcast_shapes(*shapes) if len(shapes) > 1 else next(iter(shapes), ())
        kinds = tuple(type(i.value) if isinstance(i, Constant) and i.weak else i.dtype for i in inputs)
        return (Abstract(shape, sample_dtype(self.function, kinds, tuple(sorted(params.items())))),)

    def partial(self, values: list[Any], out: Any, g: Any, number: int) -> Any:
        """g times the partial derivative in operand `number`, or None for zero; broadcast, not summed.

        Raises:
            NotImplementedError: there is no such derivative.
        """
        if self.name in PARTIALS:
            return PARTIALS[self.name](g, out, number, *values)
        shape = out.shape
        wide = [broadcast_to(v, shape=shape) if np.shape(v) != shape else v for v in values]
        g = broadcast_to(g, shape=shape) if g.shape != shape else g
        (part,) = _autograd_rule(self)((number,), out, tuple(wide), {})(g)
        return part

    def linear_in(self, number: int) -> bool:
        """Whether the result is linear in an operand, the others held."""
        return self.additive or self.name == "multiply" or (self.name == "divide" and number == 0)

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Each entry from the entries it is computed from."""
        (out,) = instruction.outputs
        floating = np.issubdtype(out.dtype, np.floating)
        wide = [broadcast(t, out.shape) for t in trails]
        if self.name in _TRAILS and floating:
            return [_TRAILS[self.name](wide, trails, out.shape)]
        depends = union_all([t.depends for t in wide])
        if not self.differentiable or not floating:
            depends = depends.columns(steady)
            return [Trail(out.shape, depends, depends)]
        return [Trail(out.shape, depends, depends, some(wide[0].zero) if self.name in _ZERO_TO_ZERO else None)]

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        """x + 0, x · 1 and the like, and powers that are cheaper as products."""
        x = operands[0]
        match self.name:
            case "add":
                return _neutral(operands, 0.0, commutes=True)
            case "subtract":
                return _neutral(operands, 0.0, commutes=False)
            case "multiply":
                return _neutral(operands, 1.0, commutes=True)
            case "divide":
                return _neutral(operands, 1.0, commutes=False)
            case "power":
                return _power_as_product(x, operands[1])
            case "square":
                return x * x if x.dtype.kind != "b" else None
            case "astype":
                return x if params["dtype"] == x.dtype else None
        return None

    def may_refuse(self, instruction: Instruction) -> bool:
        """NumPy refuses negative powers of integers."""
        return self.name == "power" and instruction.outputs[0].dtype.kind in "iu"


def _astype(x: Any, dtype: Any) -> Any:
    """x converted to `dtype`."""
    return np.asarray(x).astype(dtype)


def _neutral(operands: Sequence[Any], value: float, commutes: bool) -> Any:
    """The other operand when one is a Python number equal to the neutral element."""
    a, b = operands
    if type(b) in (int, float) and b == value and is_floating(a):
        return a
    if commutes and type(a) in (int, float) and a == value and is_floating(b):
        return b
    return None


def _power_as_product(x: Any, exponent: Any) -> Any:
    if type(exponent) in (int, float) and is_floating(x):
        if exponent == 1:
            return x
        if exponent == 2:
            return x * x
        if exponent == -1:
            return 1 / x
    return None


def _autograd_rule(operation: Pointwise) -> Any:
    """autograd's backward rule; NotImplementedError if it has none.

    Its rules for scipy.special are loaded when they are first needed: they bring all of SciPy with them.
    """
    special = operation.source.startswith("special")
    namespace = importlib.import_module("autograd.scipy.special") if special else anp
    rule = primitive_vjps.get(getattr(namespace, operation.name, None))
    if rule is None:
        raise NotImplementedError(operation.name)
    return rule


# ---------------------------------------------------------------- what is known of each, by name

POINTWISE: dict[str, Pointwise] = {}
"""Every pointwise operation, by name."""

STEEP = {
    "sqrt": "infinite at 0",
    "cbrt": "infinite at 0",
    "power": "infinite at 0 for exponents below 1",
    "arcsin": "infinite at −1 and 1",
    "arccos": "infinite at −1 and 1",
    "arccosh": "infinite at 1",
}

_LOOSE = """
sqrt power arcsin arccos arccosh divide reciprocal log log2 log10 log1p arctanh logit mod exp exp2 expm1 sinh cosh
square gamma gammaln psi polygamma i0 i1 iv
"""
_TAME = "add subtract negative where astype maximum minimum fmax fmin"
_ADDITIVE = f"{_TAME} absolute"
_KINKS = "absolute hypot"


def _pointwise(names: str, module: Any = np, prefix: str = "np", differentiable: bool = True) -> None:
    for name in names.split():
        _declare(name, getattr(module, name), f"{prefix}.{name}", differentiable)


def _declare(name: str, function: Callable[..., Any], source: str, differentiable: bool = True) -> Pointwise:
    said = {key: name in text.split() for key, text in _KINDS.items()}
    POINTWISE[name] = Pointwise(name, function, source, differentiable, STEEP.get(name, ""), **said)
    return POINTWISE[name]


_KINDS = {"loose": _LOOSE, "additive": _ADDITIVE, "tame": _TAME, "kink": _KINKS}

_pointwise(
    "add subtract multiply divide power maximum minimum fmax fmin arctan2 hypot logaddexp logaddexp2 mod "
    "negative absolute exp exp2 expm1 log log2 log10 log1p sqrt cbrt square reciprocal sin cos tan arcsin arccos "
    "arctan sinh cosh tanh arcsinh arccosh arctanh where"
)
_pointwise(
    "sign floor ceil rint trunc floor_divide isfinite isnan isinf signbit equal not_equal less less_equal greater "
    "greater_equal logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_xor invert "
    "left_shift right_shift",
    differentiable=False,
)
_pointwise("expit logit erf erfc gamma gammaln psi polygamma j0 j1 jn i0 i1 iv", scipy.special, "special")
astype = _declare("astype", _astype, "astype")

_WHERE = POINTWISE["where"]


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
    "psi": lambda g, out, k, x: g * POINTWISE["polygamma"](1, x),
    "polygamma": _order(lambda n, x: POINTWISE["polygamma"](n + 1, x)),
    "jn": _order(lambda n, x: 0.5 * (POINTWISE["jn"](n - 1, x) - POINTWISE["jn"](n + 1, x))),
    "iv": _order(lambda n, x: 0.5 * (POINTWISE["iv"](n - 1, x) + POINTWISE["iv"](n + 1, x))),
}
"""Operation → rule(g, result, number of the operand, *operands): g times ∂result/∂operand, or None for zero."""


# ---------------------------------------------------------------- patterns

_ZERO_TO_ZERO = {"tanh", "sin", "arcsin", "arctan", "sinh", "arcsinh", "arctanh", "sqrt", "cbrt", "absolute", "expm1"}
_ZERO_TO_ZERO |= {"log1p", "erf", "tan"}


def _follow_add(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    zero = None if wide[0].zero is None or wide[1].zero is None else wide[0].zero & wide[1].zero
    return Trail(shape, *united(wide), some(zero))


def _follow_multiply(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    x, y = wide
    live = x.nonzero & y.nonzero
    depends = x.depends.union(y.depends).where(live)
    # one factor is a constant; a factor without derivatives, such as sign(h), is not constant
    affine = narrow[0].value is not None or narrow[1].value is not None
    varies = united(wide)[1].where(live) if affine else depends
    return Trail(shape, depends, varies, some(~live))


def _follow_divide(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    x, y = wide
    depends = x.depends.union(y.depends).where(x.nonzero)
    varies = x.varies.where(x.nonzero) if narrow[1].value is not None else depends
    return Trail(shape, depends, varies, x.zero)


def _follow_same(wide: list[Trail], _: list[Trail], shape: tuple[int, ...]) -> Trail:
    return wide[0]


def _follow_power(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    depends = wide[0].depends.union(wide[1].depends)
    if narrow[1].value is not None:  # x⁰ is constant, and 0 to a positive power is 0
        power = np.broadcast_to(np.asarray(narrow[1].value), shape).ravel()
        depends = depends.where((power != 0) & (wide[0].nonzero | (power <= 0)))
        return Trail(shape, depends, depends, some(~wide[0].nonzero & (power > 0)))
    return Trail(shape, depends, depends)


def _follow_where(wide: list[Trail], narrow: list[Trail], shape: tuple[int, ...]) -> Trail:
    condition, x, y = wide
    if narrow[0].value is not None:  # a constant condition chooses once and for all
        chosen = np.broadcast_to(np.asarray(narrow[0].value), shape).ravel().astype(bool)
        nonzero = np.where(chosen, x.nonzero, y.nonzero)
        return Trail(
            shape,
            x.depends.where(chosen).union(y.depends.where(~chosen)),
            x.varies.where(chosen).union(y.varies.where(~chosen)),
            some(~nonzero),
        )
    depends = x.depends.union(y.depends).union(condition.depends)
    zero = None if x.zero is None or y.zero is None else x.zero & y.zero
    return Trail(shape, depends, depends, some(zero))


_TRAILS: dict[str, Callable[[list[Trail], list[Trail], tuple[int, ...]], Trail]] = {
    "add": _follow_add,
    "subtract": _follow_add,
    "multiply": _follow_multiply,
    "divide": _follow_divide,
    "negative": _follow_same,
    "astype": _follow_same,
    "power": _follow_power,
    "where": _follow_where,
}
