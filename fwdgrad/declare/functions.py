"""The functions and operators that an expression may use, each with what NumPy computes for it.

Arguments of an elementwise function are numbers, or arrays of one shape: NumPy would also combine a column with a row,
which in an equation is a slip.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

__all__ = ["COMPUTE", "CONDITIONS", "CONSTANTS", "ELSEWHERE", "FUNCTIONS", "LARGEST", "OPERATORS", "Function"]

LARGEST = 100_000
"""No array in an equation has more entries."""

CONSTANTS = {"pi": np.pi}
"""Names that need no declaration; a declaration goes before them."""

CONDITIONS = frozenset(("<", "<=", ">", ">=", "==", "!=", "and", "or", "not"))
"""What is true or false: the first argument of `where`, and nothing else."""


@dataclass(frozen=True)
class Function:
    """A function by what it computes.

    Attributes:
        compute: plain NumPy.
        least, most: how many arguments it takes; no limit if `most` is None.
        counts: the argument, by place, that is a whole number of entries and has to be written as a number.
    """

    compute: Callable[..., Any]
    least: int = 1
    most: int | None = 1
    counts: int | None = None

    @property
    def takes(self) -> str:
        """How many arguments, in words."""
        if self.least == self.most:
            return f"{self.least} argument{'s' * (self.least != 1)}"
        return f"{self.least} or more arguments" if self.most is None else f"{self.least} to {self.most} arguments"


def _elementwise(compute: Callable[..., Any], least: int = 1, most: int | None = 1) -> Function:
    @functools.wraps(compute)
    def checked(*arguments: Any) -> Any:
        shapes = {np.shape(argument) for argument in arguments} - {()}
        if len(shapes) > 1:
            listed = " and ".join(str(np.shape(argument)) for argument in arguments)
            raise ValueError(f"values of the shapes {listed} do not go together entry by entry")
        return compute(*arguments)

    return Function(checked, least, most)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(exponent, float) and exponent.is_integer():
        exponent = int(exponent)
    return base**exponent


def _bounded(size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"an array of {size:,} entries is too large; the most is {LARGEST:,}")


def _product(a: Any, b: Any) -> Any:
    if max(np.ndim(a), np.ndim(b)) > 2:
        raise ValueError("products are those of vectors and matrices")
    _bounded(math.prod(np.shape(a)[:-1]) * math.prod(np.shape(b)[1:]))
    return operator.matmul(a, b)


def _joined(*parts: Any) -> Any:
    _bounded(sum(int(np.size(part)) for part in parts))
    # a number that is written takes the precision of what it is joined to
    dtype = np.result_type(*(part.dtype for part in parts if hasattr(part, "dtype")), np.float32)
    made = [np.full(1, part, dtype) if isinstance(part, float) else part for part in parts]
    return np.concatenate([np.reshape(part, (1,)) if np.shape(part) == () else part for part in made])


def _listed(*entries: Any) -> Any:
    _bounded(sum(int(np.size(entry)) for entry in entries))
    return np.stack(entries)


def _repeated(value: Any, count: float) -> Any:
    _single("repeat", value)
    return np.broadcast_to(value, (int(count),))


def _spaced(start: Any, stop: Any, count: float) -> Any:
    _single("linspace", start, stop)
    return np.linspace(start, stop, int(count))


def _mean(values: Any) -> Any:
    if not np.size(values):
        raise ValueError("there is no mean of nothing")
    return np.mean(values)


def _single(name: str, *values: Any) -> None:
    if any(np.shape(value) != () for value in values):
        raise ValueError(f"{name} takes single numbers, not arrays")


def _left(values: Any, edge: Any = None) -> Any:
    return _joined(values[0] if edge is None else edge, values[:-1])


def _right(values: Any, edge: Any = None) -> Any:
    return _joined(values[1:], values[-1] if edge is None else edge)


def _extreme(compute: Any) -> Function:
    return _elementwise(lambda *values: functools.reduce(compute, values), 2, None)


def _sigmoid(x: Any) -> Any:
    return scipy.special.expit(x)


_ONE = {
    "abs": np.abs,
    "arccos": np.arccos,
    "arccosh": np.arccosh,
    "arcsin": np.arcsin,
    "arcsinh": np.arcsinh,
    "arctan": np.arctan,
    "arctanh": np.arctanh,
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "digamma": scipy.special.psi,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "exp": np.exp,
    "expm1": np.expm1,
    "floor": np.floor,
    "gamma": scipy.special.gamma,
    "i0": scipy.special.i0,
    "i1": scipy.special.i1,
    "j0": scipy.special.j0,
    "j1": scipy.special.j1,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "loggamma": scipy.special.gammaln,
    "sigmoid": _sigmoid,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "softplus": lambda x: np.logaddexp(0.0, x),
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}

OPERATORS = {
    "+": _elementwise(operator.add, 2, 2),
    "-": _elementwise(operator.sub, 2, 2),
    "*": _elementwise(operator.mul, 2, 2),
    "/": _elementwise(operator.truediv, 2, 2),
    "%": _elementwise(np.remainder, 2, 2),
    "**": _elementwise(_power, 2, 2),
    "@": Function(_product, 2, 2),
    "negative": Function(operator.neg),
    "<": _elementwise(np.less, 2, 2),
    "<=": _elementwise(np.less_equal, 2, 2),
    ">": _elementwise(np.greater, 2, 2),
    ">=": _elementwise(np.greater_equal, 2, 2),
    "==": _elementwise(np.equal, 2, 2),
    "!=": _elementwise(np.not_equal, 2, 2),
    "and": _elementwise(np.logical_and, 2, 2),
    "or": _elementwise(np.logical_or, 2, 2),
    "not": Function(np.logical_not),
    "list": Function(_listed, 1, None),
}

"""What is written with symbols rather than called by name; `list` is [a, b, …]."""

ELSEWHERE = {
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "fabs": "abs",
    "ln": "log",
    "sgn": "sign",
}
"""What functions are called in other languages."""

FUNCTIONS: dict[str, Function] = {
    **OPERATORS,
    **{name: Function(compute) for name, compute in _ONE.items()},
    "arctan2": _elementwise(np.arctan2, 2, 2),
    "besseli": _elementwise(scipy.special.iv, 2, 2),
    "besselj": _elementwise(scipy.special.jv, 2, 2),
    "clip": _elementwise(lambda x, low, high: np.minimum(np.maximum(x, low), high), 3, 3),
    "heaviside": _elementwise(lambda x, middle=0.5: np.heaviside(x, middle), 1, 2),
    "hypot": _elementwise(np.hypot, 2, 2),
    "max": _extreme(np.maximum),
    "min": _extreme(np.minimum),
    "where": _elementwise(np.where, 3, 3),
    # arrays
    "cumsum": Function(np.cumsum),
    "diff": Function(np.diff),
    "dot": Function(_product, 2, 2),
    "join": Function(_joined, 1, None),
    "left": Function(_left, 1, 2),
    "linspace": Function(_spaced, 3, 3, counts=2),
    "mean": Function(_mean),
    "repeat": Function(_repeated, 2, 2, counts=1),
    "reverse": Function(lambda values: values[::-1]),
    "right": Function(_right, 1, 2),
    "roll": Function(lambda values, shift: np.roll(values, int(shift)), 2, 2, counts=1),
    "sum": Function(np.sum),
    "transpose": Function(np.transpose),
}
"""Every function and operator."""

COMPUTE: dict[str, Callable[..., Any]] = {name: function.compute for name, function in FUNCTIONS.items()}
"""What NumPy computes for each of them."""
