"""C99: numbers, arrays and names as text, with NumPy's types."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BOOL", "DOUBLE", "INTEGER", "Array", "Value", "c_name", "c_number", "c_type"]

BOOL, INTEGER, DOUBLE = np.dtype(bool), np.dtype(np.int64), np.dtype(np.float64)

WORDS = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
    "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed",
    "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "bool",
    "true", "false", "main", "model", "kept", "work", "state", "exp", "tanh", "y0", "y1", "yn", "j0", "j1", "jn",
    "gamma", "index", "signal",
))  # fmt: skip
"""What no variable may be called."""


class Value(NamedTuple):
    """A number: its text, and whether that can stand beside an operator as it is. `literal` as in `instructions`."""

    text: str
    dtype: np.dtype
    literal: Any = None
    atom: bool = True


class Array(NamedTuple):
    """A flat array. `constant`: it cannot be written to."""

    text: str
    dtype: np.dtype
    size: Value
    constant: bool = False


def c_name(name: str) -> str:
    """A name as C99 may have it."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else f"u{ord(c):x}" for c in name)
    if plain[:1].isdigit():
        return f"n{plain}"
    return f"{plain}_" if plain in WORDS else plain


def c_type(dtype: np.dtype) -> str:
    """The type of a number."""
    if dtype.kind == "f":
        return {4: "float", 8: "double"}[dtype.itemsize]
    return "bool" if dtype.kind == "b" else f"{'u' * (dtype.kind == 'u')}int{8 * dtype.itemsize}_t"


def c_number(value: Any, dtype: np.dtype) -> str:
    """A number that is known, exactly."""
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype.kind in "iu":
        return str(int(value))
    number = float(dtype.type(value))
    if number != number:
        return "NAN"
    if math.isinf(number):
        return "-INFINITY" if number < 0 else "INFINITY"
    return repr(number) + "f" * (dtype.itemsize == 4)
