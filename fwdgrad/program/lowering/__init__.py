"""NumPy calls on tracers, lowered to core operations.

One entry per NumPy function: it takes the function's own arguments and writes the core operations that compute the
same. What has no entry is refused by name. `SUPPORTED` holds every entry; the documentation's table is made from it.
"""

from fwdgrad.program.array import LOWERED

# each module registers the functions of its theme
from fwdgrad.program.lowering import (
    choosing,
    indexing,
    joining,
    products,
    questions,
    reductions,
    sampled,
    shapes,
    ufuncs,
)
from fwdgrad.program.lowering.indexing import lower_getitem
from fwdgrad.program.lowering.registry import SUPPORTED, Lowering, display_name, lower_function, lower_ufunc

__all__ = [
    "SUPPORTED",
    "Lowering",
    "choosing",
    "display_name",
    "indexing",
    "joining",
    "lower_function",
    "lower_getitem",
    "lower_ufunc",
    "products",
    "questions",
    "reductions",
    "sampled",
    "shapes",
    "ufuncs",
]

LOWERED.ufunc, LOWERED.function, LOWERED.getitem = lower_ufunc, lower_function, lower_getitem
