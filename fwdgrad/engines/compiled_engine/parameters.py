"""Parameters of functions in LLVM's language, and what is passed for them."""

from __future__ import annotations

import ast

import numpy as np

from fwdgrad.engines.compiled_engine.instructions import INTEGER, Array, Number, llvm_type

__all__ = ["argument", "declared", "parameter", "passed"]


def argument(number: int, written: ast.arg) -> Number | Array:
    """A parameter of the step, as its annotation says."""
    assert isinstance(written.annotation, ast.Constant)
    kind, _, length = str(written.annotation.value).partition("[")
    if not length:
        return Number(f"%p{number}", np.dtype(kind))
    known = length[:-1]  # of rows, the number of steps is not known
    return Array(f"%p{number}", np.dtype(kind), Number(known, INTEGER, int(known) if known.isdigit() else None))


def parameter(number: int, given: Number | Array) -> Number | Array:
    """A parameter of a function that is called with such an operand."""
    name = f"%p{number}"
    if isinstance(given, Array):
        return Array(name, given.dtype, Number(f"{name}.size", INTEGER))
    return Number(name, given.dtype)


def declared(given: Number | Array, step: bool) -> str:
    """A parameter as text. Arrays of the step, and those of one call, do not overlap."""
    if isinstance(given, Number):
        return f"{llvm_type(given.dtype)} {given.text}"
    if not step:
        return f"ptr noalias {given.text}, i64 {given.size.text}"
    bytes_known = (given.size.literal or 0) * given.dtype.itemsize
    extent = f"dereferenceable({bytes_known}) " if bytes_known else ""
    return f"ptr noalias {extent}{given.text}"


def passed(given: Number | Array) -> str:
    """An operand as text."""
    if isinstance(given, Array):
        return f"ptr {given.text}, i64 {given.size.text}"
    return f"{llvm_type(given.dtype)} {given.text}"
