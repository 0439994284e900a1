"""Pointwise operations as expressions of scalars, with NumPy's types: what each becomes in compiled source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.unsupported import UnsupportedOperation

__all__ = ["SPECIAL", "Scalar", "cast", "cost", "expression", "literal"]


@dataclass(frozen=True)
class Scalar:
    """An operand: a name or a number, and its dtype. `weak` as in `Literal`."""

    text: str
    dtype: np.dtype
    value: Any = None
    weak: bool = False


_INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
}
_COMPARE = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_LOGICAL = {"logical_and": "&", "logical_or": "|", "logical_xor": "^"}

# One operand, converted to the dtype of the result.
_MATH = {
    "exp": "functions.exp({0})",
    "expm1": "math.expm1({0})",
    "log": "functions.log({0})",
    "log10": "math.log10({0})",
    "log1p": "math.log1p({0})",
    "log2": "np.log2({0})",
    "exp2": "np.exp2({0})",
    "sqrt": "math.sqrt({0})",
    "cbrt": "np.cbrt({0})",
    "sin": "math.sin({0})",
    "cos": "math.cos({0})",
    "tan": "math.tan({0})",
    "arcsin": "math.asin({0})",
    "arccos": "math.acos({0})",
    "arctan": "math.atan({0})",
    "sinh": "math.sinh({0})",
    "cosh": "math.cosh({0})",
    "tanh": "functions.tanh({0})",
    "arcsinh": "math.asinh({0})",
    "arccosh": "math.acosh({0})",
    "arctanh": "math.atanh({0})",
    "expit": "runtime.expit({0})",
    "logit": "runtime.logit({0})",
    "erf": "math.erf({0})",
    "erfc": "math.erfc({0})",
    "gamma": "runtime.gamma({0})",
    "gammaln": "runtime.gammaln({0})",
    "negative": "-{0}",
    "absolute": "abs({0})",
    "square": "{0} * {0}",
    "sign": "runtime.sign({0})",
    "reciprocal": "1 / {0}",
    "floor": "np.floor({0})",
    "ceil": "np.ceil({0})",
    "rint": "np.rint({0})",
    "trunc": "np.trunc({0})",
}
# Two operands, converted to the dtype of the result.
_TWO = {
    # as comparisons such that NaN wins, or loses, as in NumPy
    "maximum": "{0} if ({0} >= {1}) | ({0} != {0}) else {1}",
    "minimum": "{0} if ({0} <= {1}) | ({0} != {0}) else {1}",
    "fmax": "{0} if ({0} >= {1}) | ({1} != {1}) else {1}",
    "fmin": "{0} if ({0} <= {1}) | ({1} != {1}) else {1}",
    "arctan2": "math.atan2({0}, {1})",
    "hypot": "math.hypot({0}, {1})",
    "logaddexp": "runtime.logaddexp({0}, {1})",
    "logaddexp2": "runtime.logaddexp2({0}, {1})",
    "mod": "runtime.mod({0}, {1})",
    "floor_divide": "runtime.floor_divide({0}, {1})",
    "left_shift": "np.left_shift({0}, {1})",
    "right_shift": "np.right_shift({0}, {1})",
}
_OF_INTEGERS = {
    "mod": "runtime.integer_mod({0}, {1})",
    "floor_divide": "runtime.integer_floor_divide({0}, {1})",
    "reciprocal": "runtime.integer_floor_divide(1, {0})",
}
_ROUNDING = {"floor", "ceil", "rint", "trunc"}
# not math.isfinite, which subtracts: x − x may be rearranged to 0 whatever x is
_ASK = {"isfinite": "abs({0}) < np.inf", "isnan": "{0} != {0}", "isinf": "abs({0}) == np.inf"}
SPECIAL = {
    "psi": "psi",
    "j0": "j0",
    "j1": "j1",
    "i0": "i0",
    "i1": "i1",
    "jn": "jv",
    "iv": "iv",
    "polygamma": "zeta",
}
"""Functions that are SciPy's, and the one that each calls."""

_SLOW = set(_MATH) - {"sqrt", "negative", "absolute", "square", "sign", "reciprocal"} - _ROUNDING


def cost(operation: str) -> int:
    """How many additions an operation is worth, roughly."""
    if operation in _SLOW or operation in SPECIAL or operation in (set(_TWO) - {"maximum", "minimum", "fmax", "fmin"}):
        return 40
    return {"power": 40, "divide": 5, "sqrt": 6, "reciprocal": 5, "astype": 0}.get(operation, 1)


def literal(value: Any, dtype: np.dtype) -> str:
    """A number as source, of exactly this dtype."""
    if dtype.kind == "b":
        return str(bool(value))
    if dtype.kind in "iu":
        text = repr(int(value))
        return text if dtype == np.int64 else f"np.{dtype.name}({text})"
    number = float(value)
    text = repr(number) if math.isfinite(number) else "np.nan" if number != number else f"{'-' * (number < 0)}np.inf"
    return text if dtype == np.float64 else f"np.{dtype.name}({text})"


def cast(operand: Scalar, dtype: np.dtype) -> str:
    """An operand as a number of another dtype."""
    if operand.value is not None:
        return literal(operand.value, dtype)
    if operand.dtype == dtype:
        return operand.text
    if dtype.kind == "b":
        return f"({operand.text} != 0)"
    return f"np.{dtype.name}({operand.text})"


def expression(operation: str, operands: Sequence[Scalar], dtype: np.dtype, params: dict[str, Any]) -> str:
    """Source of ``operation(*operands)``, of this dtype."""
    if operation == "astype":
        return cast(operands[0], dtype)
    if operation == "where":
        condition, a, b = cast(operands[0], np.dtype(bool)), cast(operands[1], dtype), cast(operands[2], dtype)
        return f"{a} if {condition} else {b}"
    if operation in _COMPARE:
        a, b = _alike(operands)
        return f"{a} {_COMPARE[operation]} {b}"
    if operation in _LOGICAL:
        a, b = (cast(o, np.dtype(bool)) for o in operands)
        return f"{a} {_LOGICAL[operation]} {b}"
    if operation == "logical_not":
        return f"not {cast(operands[0], np.dtype(bool))}"
    if operation in _ASK:
        if operands[0].dtype.kind != "f":
            return str(operation == "isfinite")
        return _ASK[operation].format(cast(operands[0], operands[0].dtype))
    if operation == "signbit":
        return f"runtime.signbit({cast(operands[0], operands[0].dtype)})"
    if operation in SPECIAL:
        return _special(operation, operands, dtype)
    return _arithmetic(operation, [cast(o, dtype) for o in operands], operands, dtype)


def _arithmetic(operation: str, texts: list[str], operands: Sequence[Scalar], dtype: np.dtype) -> str:
    whole = dtype.kind in "iub"
    if operation == "power":
        text = _power(texts, operands, dtype)
    elif operation in _INFIX:
        sign = {"add": "|", "multiply": "&"}.get(operation, _INFIX[operation]) if dtype.kind == "b" else None
        text = f"{texts[0]} {sign or _INFIX[operation]} {texts[1]}"
    elif operation == "invert":
        text = f"not {texts[0]}" if dtype.kind == "b" else f"~{texts[0]}"
    elif whole and (operation in _ROUNDING or dtype.kind == "b"):
        same = operation in _ROUNDING or operation == "absolute"
        pair = {"maximum": "{0} | {1}", "fmax": "{0} | {1}", "minimum": "{0} & {1}", "fmin": "{0} & {1}"}
        if not same and operation not in pair:
            raise UnsupportedOperation(operation, "there is no form of it for booleans")
        text = texts[0] if same else pair[operation].format(*texts)
    elif whole and operation in _OF_INTEGERS:
        text = _OF_INTEGERS[operation].format(*texts)
    elif operation in ("exp", "log", "tanh") and dtype != np.float64:
        text = f"np.{dtype.name}({_MATH[operation].format(f'np.float64({texts[0]})')})"
    elif operation in _MATH:
        text = _MATH[operation].format(*texts)
        if operation == "reciprocal":
            text = f"{literal(1, dtype)} / {texts[0]}"
    elif operation in _TWO:
        text = _TWO[operation].format(*texts)
    else:
        raise UnsupportedOperation(operation, "there is no expression for it")
    small = dtype.kind in "iu" and dtype.itemsize < 8
    return f"np.{dtype.name}({text})" if small else text


def _power(texts: list[str], operands: Sequence[Scalar], dtype: np.dtype) -> str:
    if dtype.kind in "iu":
        return f"runtime.integer_power({texts[0]}, {texts[1]})"
    exponent = operands[1].value
    if exponent is not None and float(exponent).is_integer() and 1 <= exponent <= 4:
        return " * ".join([texts[0]] * int(exponent))
    return f"{texts[0]} ** {texts[1]}"


def _alike(operands: Sequence[Scalar]) -> tuple[str, str]:
    """Two operands in the dtype in which NumPy compares them."""
    a, b = operands
    common = np.result_type(*(o.value if o.weak else o.dtype for o in operands))
    return cast(a, common), cast(b, common)


def _special(operation: str, operands: Sequence[Scalar], dtype: np.dtype) -> str:
    double = np.dtype(float)
    texts = [cast(o, double) for o in operands]
    name = f"special.{SPECIAL[operation]}"
    if operation == "polygamma":
        order = operands[0].value
        if order is None or order < 0 or int(order) != order:
            raise UnsupportedOperation("polygamma", "its order has to be a known natural number")
        factor = float((-1) ** (int(order) + 1) * math.factorial(int(order)))
        text = f"{factor!r} * {name}({float(order) + 1.0!r}, {texts[1]})"
        text = text if order else f"special.psi({texts[1]})"
    else:
        text = f"{name}({', '.join(texts)})"
    return text if dtype == double else f"np.{dtype.name}({text})"
