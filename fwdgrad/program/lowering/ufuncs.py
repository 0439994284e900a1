"""Universal functions, and the functions built from them entry by entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from fwdgrad.program import operations as ops
from fwdgrad.program.lowering.registry import SUPPORTED, Derivative, Lowering, as_array, lowers
from fwdgrad.program.sources import refuse

_P = ops.POINTWISE

_TIES = "where the arguments are equal, each gets half of the derivative"
_ORDER = "no derivative with respect to the order n"
_NOTES = {
    "maximum": _TIES,
    "minimum": _TIES,
    "fmax": _TIES,
    "fmin": _TIES,
    "absolute": "derivative 0 at 0",
    "hypot": "derivative 0 at (0, 0)",
    "arctan2": "derivative 0 at (0, 0)",
    "power": "at x = 0: x⁰ has derivative 0, xᵏ with 0 < k < 1 has ∞; with respect to the exponent, 0 at x = 0 and NaN "
    "at x < 0; a negative power of an integer refuses the step",
    "sqrt": "derivative ∞ at 0",
    "cbrt": "derivative ∞ at 0",
    "arcsin": "derivative ∞ at −1 and 1",
    "arccos": "derivative −∞ at −1 and 1",
    "arccosh": "derivative ∞ at 1",
    "mod": "x % y; derivative 1 with respect to x, at jumps too, and −⌊x/y⌋ with respect to y",
    "jn": _ORDER,
    "iv": _ORDER,
}

for _name, _operation in ops.POINTWISE.items():
    # np.where has a form of its own; astype is a method; polygamma is no ufunc, it cannot see tracers
    if _name not in ("where", "astype", "polygamma", "square"):
        _module = scipy.special if _operation.source.startswith("special") else np
        _derivative: Derivative = "yes" if _operation.differentiable else "zero"
        SUPPORTED[getattr(_module, _name)] = Lowering(_operation, _derivative, _NOTES.get(_name, ""))


def _is_floating(x: Any) -> bool:
    return not hasattr(x, "dtype") or np.issubdtype(x.dtype, np.floating)


def _floating(x: Any) -> Any:
    """`x` in the dtype that NumPy's functions of real numbers return for it."""
    return x if _is_floating(x) else ops.astype(x, dtype=np.result_type(x.dtype, np.float64))


@lowers(np.square)
def _square(x: Any) -> Any:
    return _P["square"](x)


@lowers(np.positive)
def _positive(x: Any) -> Any:
    return x


@lowers(np.conjugate, note="arrays are real: the identity")
def _conjugate(x: Any) -> Any:
    return x


@lowers(np.real, note="arrays are real: the identity")
def _real(val: Any) -> Any:
    return as_array(val)


@lowers(np.imag, derivative="none", note="arrays are real: zeros")
def _imag(val: Any) -> Any:
    return np.zeros(val.shape, val.dtype)


@lowers(np.fabs, note="derivative 0 at 0")
def _fabs(x: Any) -> Any:
    return np.absolute(_floating(x))


@lowers(np.degrees, np.rad2deg)
def _degrees(x: Any) -> Any:
    return x * (180.0 / np.pi)


@lowers(np.radians, np.deg2rad)
def _radians(x: Any) -> Any:
    return x * (np.pi / 180.0)


@lowers(np.float_power, note="like np.power, in double precision")
def _float_power(x: Any, y: Any) -> Any:
    x, y = (ops.astype(v, dtype=np.dtype(float)) if hasattr(v, "dtype") else float(v) for v in (x, y))
    return _P["power"](x, y)


@lowers(np.divmod, note="the first result, x // y, has derivative 0")
def _divmod(x: Any, y: Any) -> tuple[Any, Any]:
    return np.floor_divide(x, y), np.mod(x, y)


@lowers(np.heaviside, note="derivative 0 with respect to x; y gets it where x = 0")
def _heaviside(x: Any, half: Any) -> Any:
    x, half = _floating(x), _floating(half)
    step = _P["where"](x == 0, half, _P["where"](np.isnan(x), np.nan, _P["where"](x > 0, 1.0, 0.0)))
    # NaN without a derivative: where x is NaN the result does not depend on it
    return ops.astype(step, dtype=np.result_type(*(v.dtype if hasattr(v, "dtype") else v for v in (x, half))))


@lowers(np.copysign, note="derivative 0 with respect to the sign, and at x = 0")
def _copysign(x: Any, y: Any) -> Any:
    x = _floating(x)
    size = np.absolute(x)
    dtype = np.result_type(*(v.dtype if hasattr(v, "dtype") else v for v in (x, _floating(y))))
    return ops.astype(_P["where"](np.signbit(y), -size, size), dtype=dtype)


@lowers(np.nan_to_num, note="derivative 0 where an entry is replaced")
def _nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    x = as_array(x)
    if not _is_floating(x):
        return x
    largest = float(np.finfo(x.dtype).max)
    for found, value in (
        (np.isnan(x), nan),
        (x == np.inf, largest if posinf is None else posinf),
        (x == -np.inf, -largest if neginf is None else neginf),
    ):
        x = ops.astype(_P["where"](found, value, x), dtype=x.dtype)
    return x


@lowers(np.round, np.around, derivative="zero")
def _round(a: Any, decimals: int = 0) -> Any:
    a = as_array(a)
    if not _is_floating(a):
        if decimals < 0 or a.dtype == bool:
            refuse(f"np.round of {a.dtype} with decimals={decimals}", "Convert to floating point first.")
        return a
    if decimals == 0:
        return np.rint(a)
    scale = 10.0 ** abs(decimals)
    return np.rint(a * scale) / scale if decimals > 0 else np.rint(a / scale) * scale


@lowers(np.fix, derivative="zero")
def _fix(x: Any) -> Any:
    return np.trunc(x)
