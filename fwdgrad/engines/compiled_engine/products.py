"""Products of matrices, by the BLAS."""

from __future__ import annotations

import numpy as np

from fwdgrad.engines.compiled_engine import runtime
from fwdgrad.engines.compiled_engine.instructions import DOUBLE, Array, Code, Number, constant

__all__ = ["BLAS", "PRODUCTS", "product"]

BLAS = "blas_"
"""What the names of its functions begin with in machine code."""

PRODUCTS = {getattr(runtime, f"matmul_{turned}"): turned for turned in ("nn", "nt", "tn", "tt")}
"""Functions that are such products, and which of the two matrices are turned."""

_INT, _LETTER = np.dtype(np.int32), np.dtype(np.uint8)


def product(code: Code, turned: str, out: Array, a: Array, b: Array, *sides: Number) -> None:
    """A product of so many rows, inner numbers and columns.

    The BLAS takes matrices column by column, to which ours are turned: it is given outᵀ = Bᵀ Aᵀ. It takes everything by
    its address.
    """
    rows, inner, columns = (_placed(code, code.cast(x, _INT)) for x in sides)
    first, second = (_placed(code, Number(str(ord(c.upper())), _LETTER)) for c in turned)
    one, zero = (_placed(code, Number(constant(x, out.dtype), out.dtype)) for x in (1, 0))
    pointers = [second, first, columns, rows, inner, one]
    pointers += [b.text, columns if turned[1] == "n" else inner]
    pointers += [a.text, inner if turned[0] == "n" else rows]
    pointers += [zero, out.text, columns]
    name = f"{BLAS}{'d' if out.dtype == DOUBLE else 's'}gemm"
    code.declared[name] = f"declare void @{name}({', '.join(['ptr'] * len(pointers))}) nounwind"
    code.do(f"call void @{name}({', '.join(f'ptr {p}' for p in pointers)})")


def _placed(code: Code, number: Number) -> str:
    """The address of a number."""
    place = code.variable(number.dtype)
    code.put(place, number)
    return place
