"""The core operations: the small closed set to which every supported NumPy call is lowered.

A core operation says how to execute it (`evaluate`), what shape and dtype comes out (`infer`), and how to write it as
NumPy source (`emit`). Its derivative rules are in `fwdgrad.program.rules`. Calling an operation with arrays executes
it; calling it with tracers records it.

Pointwise operations broadcast their operands; everything else has a class of its own.
"""

from fwdgrad.program.operations.base import Operand, Operation
from fwdgrad.program.operations.factors import cholesky_update, solve_triangular
from fwdgrad.program.operations.indexing import Index, getitem, scatter_add
from fwdgrad.program.operations.pointwise import POINTWISE, Pointwise, astype
from fwdgrad.program.operations.products import det, einsum, inv, matmul, solve
from fwdgrad.program.operations.reductions import (
    Reduce,
    argmax,
    argmin,
    argsort,
    cumsum,
    reduce_all,
    reduce_any,
    reduce_max,
    reduce_min,
    reduce_sum,
    searchsorted,
)
from fwdgrad.program.operations.shapes import broadcast_to, concatenate, reshape, stop_gradient, transpose

__all__ = [
    "POINTWISE",
    "Index",
    "Operand",
    "Operation",
    "Pointwise",
    "Reduce",
    "argmax",
    "argmin",
    "argsort",
    "astype",
    "broadcast_to",
    "cholesky_update",
    "concatenate",
    "cumsum",
    "det",
    "einsum",
    "getitem",
    "inv",
    "matmul",
    "reduce_all",
    "reduce_any",
    "reduce_max",
    "reduce_min",
    "reduce_sum",
    "reshape",
    "scatter_add",
    "searchsorted",
    "solve",
    "solve_triangular",
    "stop_gradient",
    "transpose",
]
