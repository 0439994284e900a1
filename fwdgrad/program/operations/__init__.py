"""The core operations: the small closed set to which every supported NumPy call is lowered.

A core operation says all that is known of it, in one place: how to execute it (`evaluate`), what shape and dtype comes
out (`infer`), its derivatives (`forward`, `backward`), on what its result depends (`follow`), what it costs
(`multiply_adds`), when it is another one (`simplified`). How an engine writes it is the engine's. Calling an operation
with arrays executes it; calling it with tracers records it.

Families, one a file, each using those above it only: shapes, reductions, broadcasting, indexing, products, factors,
bands, and pointwise operations, which broadcast their operands. Three operations hold programs and stand above tracing:
`fwdgrad.program.loops`, `fwdgrad.program.open_loops` and `fwdgrad.program.roots`.
"""

from fwdgrad.program.operations.banded import band_factors, band_solve
from fwdgrad.program.operations.base import Operand, Operation
from fwdgrad.program.operations.broadcasting import broadcast_to, unbroadcast
from fwdgrad.program.operations.factors import cholesky_update, solve_triangular
from fwdgrad.program.operations.indexing import Index, getitem, scatter_add
from fwdgrad.program.operations.jacobi import singular
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
from fwdgrad.program.operations.shapes import concatenate, reshape, stop_gradient, transpose

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
    "band_factors",
    "band_solve",
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
    "singular",
    "solve",
    "solve_triangular",
    "stop_gradient",
    "transpose",
    "unbroadcast",
]
