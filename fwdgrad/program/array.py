"""The array that stands in for a real one while a function is traced.

It takes part in NumPy calls through NumPy's own protocols (``__array_ufunc__``, ``__array_function__``) and in Python
operators, and refuses whatever needs its values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fwdgrad.program.instructions import Abstract, Traced, Variable
from fwdgrad.program.operations import astype
from fwdgrad.program.sources import refuse

__all__ = ["LOWERED", "Tracer", "is_tracer"]

OBJECT_LIMIT = 100
"""The largest array that may be taken apart into an object array of its elements."""

PLAIN_TABLE = (
    "Declare a table that is indexed with x as a parameter (a frozen one is not learned),\n"
    "or pick a row with (np.arange(len(table)) == x) @ table."
)
_STACK = "In arrays built with np.array([...]), comparisons are branches too: build these with np.stack([...])."


class _Lowered:
    """Where NumPy calls on traced arrays go: `fwdgrad.program.lowering` registers its functions here."""

    ufunc: Callable[..., Any]
    function: Callable[..., Any]
    getitem: Callable[..., Any]


LOWERED = _Lowered()


class Tracer(NDArrayOperatorsMixin, Traced):
    """An array of known shape and dtype and unknown value."""

    __slots__ = ("graph", "variable")
    __array_priority__ = 1000.0
    __hash__ = object.__hash__

    def __init__(self, graph: Any, variable: Variable) -> None:
        self.graph = graph
        self.variable = variable

    @property
    def shape(self) -> tuple[int, ...]:
        return self.variable.shape

    @property
    def dtype(self) -> np.dtype:
        return self.variable.dtype

    @property
    def ndim(self) -> int:
        return len(self.variable.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.variable.shape, dtype=int))

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> Any:
        return np.transpose(self)

    @property
    def mT(self) -> Any:
        return np.matrix_transpose(self)

    @property
    def real(self) -> Any:
        return np.real(self)

    @property
    def imag(self) -> Any:
        return np.imag(self)

    @property
    def flat(self) -> Any:
        return iter(np.ravel(self))

    def __repr__(self) -> str:
        return f"<traced {Abstract(self.shape, self.dtype)}>"

    def __copy__(self) -> Tracer:
        return self

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self

    # ---- NumPy's protocols: everything is lowered by fwdgrad.program.lowering

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return LOWERED.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return LOWERED.function(function, args, kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """An object array of the elements: what np.array([...]) and np.asarray make of traced values."""
        if str(sys._getframe(1).f_globals.get("__name__", "")).startswith("scipy.sparse"):
            # a sparse matrix asks for a plain array before it gives this class its turn (__rmatmul__); it does so
            # if it gets a single object
            whole = np.empty((), object)
            whole[()] = self
            return whole
        if dtype is not None and np.dtype(dtype) != object:
            self.__float__()
        if self.size > OBJECT_LIMIT:
            refuse(
                f"A traced array of shape {self.shape} is turned into a plain NumPy array (np.asarray, np.array, or a "
                "method of a plain array)",
                "It is an array already: leave np.asarray out, join arrays with np.stack or np.concatenate instead of\n"
                "np.array, and write np.dot(W, h) for W.dot(h).",
            )
        elements = np.empty(self.shape, object)
        if not self.shape:
            elements[()] = self
        for k in range(len(elements) if self.shape else 0):
            # a zero-dimensional array would be stored as such, not as its one element
            elements[k] = self[k] if self.ndim == 1 else self[k].__array__()
        return elements

    def __getitem__(self, index: Any) -> Any:
        return LOWERED.getitem(self, index)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __pow__(self, exponent: Any) -> Any:
        # like ndarray: the operator takes the square root, np.power does not (they differ at -inf)
        if type(exponent) is float and exponent == 0.5 and np.issubdtype(self.dtype, np.floating):
            return np.sqrt(self)
        return np.power(self, exponent)

    # ---- what a trace cannot know

    def __bool__(self) -> NoReturn:
        refuse(
            "A branch depends on a value that is not known while tracing (if, while, and, or, not, min, max)",
            "Write it as np.where(condition, a, b), np.minimum or np.maximum, or run with engine='eager'.\n" + _STACK,
        )

    def __float__(self) -> NoReturn:
        refuse(
            "A traced value is turned into a Python number, or stored into a plain NumPy array",
            "Use np functions instead of math and float(). Build arrays with np.stack([...]) instead of assigning to\n"
            "elements of np.zeros(...) and instead of np.array([...], dtype=...); or run with engine='eager'.",
        )

    __int__ = __complex__ = __round__ = __float__

    def __index__(self) -> NoReturn:
        refuse(
            "A traced value is used as an index into a plain array or list, or as a size",
            f"{PLAIN_TABLE} Sizes must not depend on values.",
        )

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        refuse(
            "An element of a traced array is assigned to",
            "Build a new array instead: np.stack([...]), np.concatenate or np.where.",
        )

    def __contains__(self, item: Any) -> NoReturn:
        refuse("'in' compares with values that are not known while tracing", "Use np.where, or engine='eager'.")

    def item(self, *_: Any) -> NoReturn:
        self.__float__()

    tolist = item

    def sort(self, *_: Any, **__: Any) -> NoReturn:
        refuse("A traced array is changed in place", "Build a new array instead, such as np.sort(x) or np.where(…).")

    fill = put = partition = resize = setfield = sort

    # ---- methods of ndarray

    def astype(self, dtype: Any, **_: Any) -> Any:
        return astype(self, dtype=np.dtype(dtype))

    def view(self, kind: Any = np.ndarray) -> Tracer:
        if kind is not np.ndarray:
            refuse(f"A traced array is viewed as {kind}", "Convert numbers with x.astype(dtype).")
        return self

    def copy(self, order: str = "C") -> Tracer:
        return self

    def reshape(self, *shape: Any, order: Any = "C") -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, order=order)

    def transpose(self, *axes: Any) -> Any:
        if len(axes) == 1 and isinstance(axes[0], (tuple, list)):
            axes = tuple(axes[0])
        elif axes == (None,):
            axes = ()
        return np.transpose(self, axes or None)

    def flatten(self, order: Any = "C") -> Any:
        return np.ravel(self, order)


def is_tracer(value: Any) -> bool:
    """Whether `value` is being traced."""
    return isinstance(value, Tracer)


def _method(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def method(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = name
    return method


# Methods with the name and signature of the NumPy function.
_METHODS = """
    sum mean prod max min var std cumsum clip dot ravel squeeze swapaxes diagonal trace take repeat conj conjugate
    round argmax argmin argsort searchsorted all any nonzero compress choose
"""
# No methods of ndarray, but NumPy calls them on the elements of an object array, which is how np.array([...]) of
# traced scalars computes.
_OF_ELEMENTS = """
    exp exp2 expm1 log log2 log10 log1p sqrt cbrt square sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh
    arctanh fabs floor ceil rint trunc sign arctan2 hypot logaddexp logaddexp2 degrees radians deg2rad rad2deg
"""
for _name in (_METHODS + _OF_ELEMENTS).split():
    setattr(Tracer, _name, _method(_name))
