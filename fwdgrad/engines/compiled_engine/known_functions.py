"""What Python's, NumPy's and the C library's functions of numbers are in machine code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine import functions
from fwdgrad.engines.compiled_engine.instructions import BOOL, DOUBLE, INTEGER, Code, Number, llvm_type

__all__ = ["C_LIBRARY", "FUNCTIONS"]

_INTRINSIC: dict[Any, str] = {
    math.sqrt: "sqrt",
    math.sin: "sin",
    math.cos: "cos",
    math.exp: "exp",
    math.log: "log",
    math.log10: "log10",
    np.log2: "log2",
    np.exp2: "exp2",
    np.floor: "floor",
    math.floor: "floor",
    np.ceil: "ceil",
    np.rint: "rint",
    np.trunc: "trunc",
}
"""Functions that LLVM has instructions for, or calls the C library for, in the type of what they are given."""

_TWO = {math.copysign: "copysign", math.pow: "pow"}

C_LIBRARY: dict[Any, str] = {
    math.expm1: "expm1",
    math.log1p: "log1p",
    np.cbrt: "cbrt",
    math.tan: "tan",
    math.asin: "asin",
    math.acos: "acos",
    math.atan: "atan",
    math.sinh: "sinh",
    math.cosh: "cosh",
    math.asinh: "asinh",
    math.acosh: "acosh",
    math.atanh: "atanh",
    math.erf: "erf",
    math.erfc: "erfc",
    math.gamma: "tgamma",
    math.lgamma: "lgamma",
    math.atan2: "atan2",
    math.hypot: "hypot",
    np.fmod: "fmod",
}
"""Functions of the C library, of double precision."""


def _intrinsic(name: str, code: Code, x: Number, *others: Number) -> Number:
    dtype = x.dtype if x.dtype.kind == "f" else DOUBLE
    return code.call(f"llvm.{name}.f{8 * dtype.itemsize}", dtype, *(code.cast(o, dtype) for o in (x, *others)))


def _library(name: str, code: Code, *given: Number) -> Number:
    kept = np.result_type(*(x.dtype for x in given))
    made = code.call(name, DOUBLE, *(code.cast(x, DOUBLE) for x in given))
    return code.cast(made, kept) if kept.kind == "f" else made


def _absolute(code: Code, x: Number) -> Number:
    if x.dtype.kind == "f":
        return _intrinsic("fabs", code, x)
    if x.dtype.kind != "i":
        return x
    return code.call(f"llvm.abs.{llvm_type(x.dtype)}", x.dtype, x, more="i1 false")


def _extreme(sign: str) -> Callable[..., Number]:
    """Python's max and min: the first unless another one is beyond it."""

    def made(code: Code, *numbers: Number) -> Number:
        best, *others = numbers
        for other in others:
            best = code.select(code.compare(sign, other, best), other, best)
        return best

    return made


def _shift(right: bool) -> Callable[..., Number]:
    """A shift by more places than there are leaves nothing but the sign, as in NumPy."""

    def made(code: Code, x: Number, places: Number) -> Number:
        x, places = code.alike(x, places)
        kind, last = llvm_type(x.dtype), 8 * x.dtype.itemsize - 1
        few = Number(code.emit(f"icmp ule {kind} {places.text}, {last}"), BOOL)
        within = code.select(few, places, Number(str(last), x.dtype)).text
        sign = right and x.dtype.kind == "i"
        how = "ashr" if sign else "lshr" if right else "shl"
        shifted = Number(code.emit(f"{how} {kind} {x.text}, {within}"), x.dtype)
        return shifted if sign else code.select(few, shifted, Number("0", x.dtype))

    return made


def _bits(code: Code, x: Number) -> Number:
    return Number(code.emit(f"bitcast double {x.text} to i64"), INTEGER)


def _double(code: Code, x: Number) -> Number:
    return Number(code.emit(f"bitcast i64 {x.text} to double"), DOUBLE)


def _bound(make: Callable[..., Number], name: str) -> Callable[..., Number]:
    return lambda code, *given: make(name, code, *given)


FUNCTIONS: dict[Any, Callable[..., Number]] = {
    **{function: _bound(_intrinsic, name) for function, name in {**_INTRINSIC, **_TWO}.items()},
    **{function: _bound(_library, name) for function, name in C_LIBRARY.items()},
    abs: _absolute,
    max: _extreme(">"),
    min: _extreme("<"),
    functions.bits: _bits,
    functions.double: _double,
    np.left_shift: _shift(right=False),
    np.right_shift: _shift(right=True),
}
"""For each function of Python, what emits it: given the code and the operands."""
