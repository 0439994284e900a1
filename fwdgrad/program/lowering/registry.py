"""The table of supported NumPy functions, and how calls on tracers find their entry in it."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import scipy.special

from fwdgrad.program.array import Tracer
from fwdgrad.program.sources import refuse, refuse_operation, scipy_call
from fwdgrad.program.tracer import as_operand

__all__ = [
    "SUPPORTED",
    "Lowering",
    "as_array",
    "axes_of",
    "axis_of",
    "display_name",
    "kept_shape",
    "lower_function",
    "lower_ufunc",
    "lowers",
    "static",
    "unsupported",
]

Derivative = Literal["yes", "zero", "none"]


@dataclass(frozen=True)
class Lowering:
    """How one NumPy function is written in core operations.

    Attributes:
        write: takes the function's arguments by NumPy's names, those that are supported.
        derivative: "yes"; "zero" if the result is a constant almost everywhere; "none" if the function answers a
            question about shapes or dtypes, or its result does not depend on values.
        note: limits and conventions, for the documentation.
    """

    write: Callable[..., Any]
    derivative: Derivative = "yes"
    note: str = ""


SUPPORTED: dict[Any, Lowering] = {}
"""NumPy function or ufunc → its lowering."""


def lowers(
    *functions: Any, derivative: Derivative = "yes", note: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the lowering of `functions`."""

    def register(write: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            SUPPORTED[function] = Lowering(write, derivative, note)
        return write

    return register


def lower_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """``ufunc(*inputs)``, or ``ufunc.reduce(x)`` and the like, with a tracer among the inputs."""
    if kwargs.get("out") is not None:
        refuse(
            f"An array is changed in place (+= and the like, or np.{ufunc.__name__} with out=)",
            "Build a new array: write x = x + y for x += y, and x = np.add(x, y) for np.add(x, y, out=x).",
        )
    if method in ("reduce", "accumulate"):
        known = _REDUCTIONS.get((method, ufunc.__name__))
        if known is None:
            return unsupported(f"np.{ufunc.__name__}.{method}")
        return lower_function(known, inputs, {"axis": 0, **{k: v for k, v in kwargs.items() if k != "out"}})
    if method == "outer" and not kwargs:
        a, b = (as_operand(i) for i in inputs)
        return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)
    if method != "__call__":
        return unsupported(f"np.{ufunc.__name__}.{method}")
    entry = SUPPORTED.get(ufunc)
    if entry is None:
        return unsupported(display_name(ufunc))
    if kwargs:
        refuse(
            f"{display_name(ufunc)} is called with {', '.join(kwargs)}=",
            "Call it without: use x.astype(dtype) for dtype=, np.where(condition, …) for where=.",
        )
    if any(sp.issparse(i) for i in inputs) and ufunc is not np.matmul:
        refuse(f"{display_name(ufunc)} is called with a sparse matrix", "Multiply with it, M @ h, or use M.toarray().")
    return entry.write(*[i if sp.issparse(i) else as_operand(i) for i in inputs])


_REDUCTIONS = {
    ("reduce", "add"): np.sum,
    ("reduce", "multiply"): np.prod,
    ("reduce", "maximum"): np.max,
    ("reduce", "minimum"): np.min,
    ("reduce", "logical_and"): np.all,
    ("reduce", "logical_or"): np.any,
    ("accumulate", "add"): np.cumsum,
}


def lower_function(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A NumPy function with a tracer among its arguments."""
    entry = SUPPORTED.get(function)
    if entry is None:
        return unsupported(display_name(function))
    call = _call(function)
    named = {_RENAMED.get(name, name): value for name, value in kwargs.items()}
    if not call.spread:
        named |= dict(zip(call.positional, args, strict=False))
    for name in [n for n, v in named.items() if n in call.defaults and _is_default(v, call.defaults[n])]:
        del named[name]
    if not call.accepted.issuperset(named):
        refuse(
            f"{display_name(function)} is called with {', '.join(sorted(named.keys() - call.accepted))}=, which cannot "
            "be traced",
            "The documentation's table of operations shows the supported arguments.",
        )
    return entry.write(*(args if call.spread else ()), **named)


@dataclass(frozen=True)
class _Call:
    """How a NumPy function is called, and which of its arguments the lowering accepts."""

    positional: tuple[str, ...]
    spread: bool
    """Whether it takes ``*arguments``."""
    defaults: dict[str, Any]
    accepted: frozenset[str]


_RENAMED = {"newshape": "shape"}
"""Arguments by the names that NumPy 2.0 has for them."""


@cache
def _call(function: Any) -> _Call:
    ours = inspect.signature(SUPPORTED[function].write).parameters
    try:
        theirs = inspect.signature(function).parameters
    except ValueError:  # in older releases some C functions have none: ours have the same order
        theirs = ours
    named = [p for p in theirs.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return _Call(
        positional=tuple(_RENAMED.get(p.name, p.name) for p in named),
        spread=any(p.kind is p.VAR_POSITIONAL for p in theirs.values()),
        defaults={p.name: p.default for p in theirs.values() if p.default is not p.empty},
        accepted=frozenset(ours),
    )


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (type(value) in (bool, int, str) and type(value) is type(default) and value == default)


@cache
def display_name(function: Any) -> str:
    """The name by which users know a NumPy or SciPy function."""
    name = getattr(function, "__name__", str(function))
    for prefix, module in (("np", np), ("np.linalg", np.linalg), ("np.fft", np.fft), ("scipy.special", scipy.special)):
        if getattr(module, name, None) is function:
            return f"{prefix}.{name}"
    if isinstance(function, np.ufunc):  # SciPy wraps some of its own under another name
        return f"scipy.special.{name.lstrip('_')}"
    return f"{function.__module__.replace('numpy', 'np')}.{name}"


def unsupported(name: str, mend: str = "") -> Any:
    """Raise the error for an operation that has no lowering."""
    refuse_operation(scipy_call() or name, mend)


# ---------------------------------------------------------------- arguments


def as_array(value: Any) -> Any:
    """A tracer or an array: Python numbers get NumPy's default dtype, as most NumPy functions give them."""
    value = as_operand(value)
    return value if isinstance(value, Tracer) else np.asarray(value)


def static(value: Any, what: str) -> Any:
    """`value`, which has to be known while tracing."""
    if isinstance(value, Tracer) or (isinstance(value, (list, tuple)) and any(isinstance(v, Tracer) for v in value)):
        refuse(f"{what[0].upper()}{what[1:]} depends on a value that is not known while tracing", "Make it a constant.")
    return value


def axis_of(ndim: int, axis: Any) -> int:
    """A non-negative axis number."""
    axis = operator.index(static(axis, "an axis"))
    if not -ndim <= axis < ndim:
        refuse(f"Axis {axis} is out of range for an array of {ndim} dimensions", "Check the array's shape.")
    return axis % ndim


def axes_of(ndim: int, axis: Any) -> tuple[int, ...]:
    """Axis numbers, in the order given; every axis for None."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis_of(ndim, a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(set(axes)) != len(axes):
        refuse(f"An axis is repeated in {axis}", "Give every axis once.")
    return axes


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with size 1 along `axes`."""
    return tuple(1 if k in axes else s for k, s in enumerate(shape))
