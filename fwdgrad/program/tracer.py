"""Tracing: run a NumPy function once on arrays without values, and write down what it does.

A `Tracer` stands for an array of known shape and dtype. It takes part in NumPy calls through NumPy's own protocols
(``__array_ufunc__``, ``__array_function__``) and in Python operators; each call is lowered to a few core operations
(`fwdgrad.program.lowering`) and recorded in the `Graph` being written. Equal operations on equal operands are recorded
once, so a derivative shares what the value already computed.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fwdgrad.errors import FwdgradError, TracingError
from fwdgrad.program.operations import Operation, stack_objects
from fwdgrad.program.program import REPLAYED, Abstract, Constant, Instruction, Program, Source, Variable
from fwdgrad.program.simplify import simplify

__all__ = ["Graph", "Tracer", "is_tracer", "record", "trace"]


class _Active(threading.local):
    """The graphs this thread is writing, outermost first."""

    def __init__(self) -> None:
        self.graphs: list[Graph] = []


_ACTIVE = _Active()


def active_graph() -> Graph | None:
    """The innermost graph being written, if any."""
    return _ACTIVE.graphs[-1] if _ACTIVE.graphs else None


class Graph:
    """A program being written. A graph inside another one is the body of a loop and may use the outer one's values."""

    def __init__(self, parent: Graph | None = None) -> None:
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.instructions: list[Instruction] = []
        self.known: dict[Any, Any] = {}
        self.constants: dict[int, tuple[Any, Constant]] = {}
        self.inputs: list[Variable] = []
        self.foreign: dict[Variable, Tracer] = {}
        """Values of outer graphs that were used here."""
        self.closed = False

    def __enter__(self) -> Graph:
        _ACTIVE.graphs.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        _ACTIVE.graphs.remove(self)
        self.closed = True

    def input(self, abstract: Abstract, name: str | None = None) -> Tracer:
        """A new input of the program."""
        variable = Variable(tuple(abstract.shape), np.dtype(abstract.dtype), name)
        self.inputs.append(variable)
        return Tracer(self, variable)

    def constant(self, value: Any) -> Constant:
        """A constant of the program: arrays are copied, so that changing them later does not change the program."""
        if not isinstance(value, np.ndarray):
            return Constant(value)
        if id(value) not in self.constants:
            frozen = value.copy()
            frozen.setflags(write=False)
            self.constants[id(value)] = (value, Constant(frozen))
        return self.constants[id(value)][1]

    def finish(self, name: str, outputs: Sequence[Any]) -> Program:
        """Close the graph: the program that computes `outputs`, and nothing that they do not need."""
        ends = tuple(o.variable if isinstance(o, Tracer) else self.constant(o) for o in outputs)
        self.foreign.update((o.variable, o) for o in outputs if isinstance(o, Tracer) and o.graph is not self)
        needed: set[Variable] = {e for e in ends if isinstance(e, Variable)}
        kept: list[Instruction] = []
        for instruction in reversed(self.instructions):
            if any(o in needed for o in instruction.outputs):
                kept.append(instruction)
                needed.update(i for i in instruction.inputs if isinstance(i, Variable))
        kept.reverse()
        return Program(name, tuple(self.inputs), tuple(kept), ends, index_bounds(self.inputs, kept))


def index_bounds(inputs: Sequence[Variable], instructions: Sequence[Instruction]) -> dict[int, int]:
    """For each integer input used as an index: the size of the smallest axis it indexes."""
    numbers = {v: k for k, v in enumerate(inputs)}
    bounds: dict[int, int] = {}
    for ins in instructions:
        for operand, size in ins.operation.indexed_axes(ins.inputs, ins.params):
            if operand in numbers:
                k = numbers[operand]
                bounds[k] = min(size, bounds.get(k, size))
    return bounds


def trace(
    function: Callable[..., Any],
    inputs: Sequence[Abstract],
    *,
    names: Sequence[str] | None = None,
    name: str = "program",
) -> Program:
    """The program of ``function(*arrays) -> sequence of arrays``.

    Args:
        function: takes one tracer per input, positionally, and returns a sequence of arrays.
        inputs: shapes and dtypes of the inputs.
        names: names of the inputs, for listings and emitted source.
        name: name of the program.

    Raises:
        TracingError: the function does something that is not a fixed sequence of known operations; the message names
            the operation, the line of the function and the mend.
    """
    try:
        with Graph() as graph:
            tracers = [graph.input(a, names[k] if names else None) for k, a in enumerate(inputs)]
            return graph.finish(name, [as_operand(o) for o in function(*tracers)])
    except FwdgradError:
        raise
    except Exception as error:
        where = _source_of_traceback(error)
        raise TracingError(
            f"{name}: the function failed while it was being traced, at {where}:\n"
            f"  {type(error).__name__}: {error}\n"
            "It was called with arrays of known shape but no values. Use NumPy operations that the documentation's\n"
            "table of operations lists, or engine='eager' to run the function as it is, step by step."
        ) from error


def as_operand(value: Any) -> Any:
    """What a function may use or return: a tracer, a number or an array; object arrays of tracers are stacked."""
    if isinstance(value, Tracer):
        return value
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
        return stack_objects(value)
    if isinstance(value, (bool, int, float, complex)) and type(value) in (bool, int, float, complex):
        return value
    return np.asarray(value)


def is_tracer(value: Any) -> bool:
    """Whether `value` is being traced."""
    return isinstance(value, Tracer)


def record(operation: Operation, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """Write ``operation(*operands, **params)`` into the graph of its innermost operand; equal calls are shared."""
    operands = [as_operand(o) for o in operands]
    graph = max((o.graph for o in operands if isinstance(o, Tracer)), key=lambda g: g.depth)
    if graph.closed:
        raise TracingError(
            f"{operation.name}: this array belongs to a trace that has ended. Functions must not keep arrays in\n"
            "global variables or closures between calls; carry them in the state instead."
        )
    simpler = simplify(operation, operands, params)
    if simpler is not None:
        return simpler
    key = (operation.name, tuple(_key(o) for o in operands), tuple(sorted(params.items(), key=lambda kv: kv[0])))
    if key in graph.known:
        return graph.known[key]
    inputs = tuple(o.variable if isinstance(o, Tracer) else graph.constant(o) for o in operands)
    try:
        abstracts = operation.infer(inputs, params)
    except FwdgradError:
        raise
    except Exception as error:
        source = caller()
        shapes = ", ".join(str(Abstract(i.shape, i.dtype)) for i in inputs)
        raise TracingError(
            f"{operation.name}({shapes}) fails{f' at {source}' if source else ''}: {error}\n"
            "Check the shapes in your function, or call it once with plain arrays to see NumPy's own message."
        ) from error
    outputs = tuple(Variable(a.shape, a.dtype) for a in abstracts)
    graph.foreign.update((o.variable, o) for o in operands if isinstance(o, Tracer) and o.graph is not graph)
    graph.instructions.append(Instruction(operation, inputs, params, outputs, caller()))
    tracers = tuple(Tracer(graph, v) for v in outputs)
    result = tracers[0] if len(tracers) == 1 and not operation.several else tracers
    graph.known[key] = result
    return result


def _key(operand: Any) -> Any:
    if isinstance(operand, Tracer):
        return operand.variable
    if isinstance(operand, np.ndarray):
        if operand.size > 64:
            return ("array", id(operand), operand.shape)
        return ("array", operand.dtype.str, operand.shape, operand.tobytes())
    return (type(operand), repr(operand))


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_CATALOGUE = os.path.join(_PACKAGE, "systems") + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep


def _is_users(file: str) -> bool:
    if file.startswith("<__array_function__"):
        return False
    if file.startswith(_PACKAGE):
        return file.startswith(_CATALOGUE)
    return not file.startswith(_NUMPY) and f"{os.sep}autograd{os.sep}" not in file


def caller() -> Source | None:
    """The line of the user's function that is being recorded: of a replayed operation, or the innermost frame."""
    if REPLAYED.source is not None:
        return REPLAYED.source
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if _is_users(code.co_filename):
            return Source(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _source_of_traceback(error: BaseException) -> str:
    found = "an unknown line"
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if _is_users(code.co_filename):
            found = str(Source(code.co_filename, step.tb_lineno, code.co_name))
        step = step.tb_next
    return found


def refuse(what: str, mend: str) -> NoReturn:
    """Raise a TracingError that names the line of the user's function."""
    raise TracingError(f"{what}, at {caller() or 'an unknown line'}.\n{mend}")


class Tracer(NDArrayOperatorsMixin):
    """An array of known shape and dtype and unknown value."""

    __slots__ = ("graph", "variable")
    __array_priority__ = 1000.0
    __hash__ = object.__hash__

    def __init__(self, graph: Graph, variable: Variable) -> None:
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
    def T(self) -> Any:
        return np.transpose(self)  # type: ignore[call-overload]

    @property
    def real(self) -> Any:
        return np.real(self)  # type: ignore[call-overload]

    @property
    def flat(self) -> Any:
        return iter(np.ravel(self))  # type: ignore[call-overload]

    def __repr__(self) -> str:
        return f"<traced {Abstract(self.shape, self.dtype)}>"

    # ---- NumPy's protocols: everything is lowered by fwdgrad.program.lowering

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from fwdgrad.program.lowering import lower_ufunc

        return lower_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from fwdgrad.program.lowering import lower_function

        return lower_function(function, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        from fwdgrad.program.lowering import lower_getitem

        return lower_getitem(self, index)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    # ---- what a trace cannot know

    def __bool__(self) -> NoReturn:
        refuse(
            "A branch depends on a value that is not known while tracing (if, while, and, or, not, min, max)",
            "Write it as np.where(condition, a, b), np.minimum or np.maximum, or run with engine='eager'.",
        )

    def __float__(self) -> NoReturn:
        refuse(
            "A traced value is turned into a Python number, or stored into a plain NumPy array",
            "Keep it an array: use np functions instead of math, and build arrays with np.array([...]) or np.stack\n"
            "instead of assigning to elements; or run with engine='eager'.",
        )

    __int__ = __complex__ = __float__

    def __index__(self) -> NoReturn:
        refuse(
            "A traced value is used as an index into a plain array, or as a size",
            "Index a constant table with np.take(table, i, axis=0); sizes must not depend on values.",
        )

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        refuse(
            "An element of a state, input or parameter is assigned to",
            "Build a new array instead: np.array([...]), np.stack, np.concatenate or np.where.",
        )

    def __contains__(self, item: Any) -> NoReturn:
        refuse("'in' compares with values that are not known while tracing", "Use np.where, or engine='eager'.")

    def item(self, *_: Any) -> NoReturn:
        self.__float__()

    tolist = item

    # ---- methods of ndarray

    def astype(self, dtype: Any, **_: Any) -> Any:
        from fwdgrad.program.operations import astype

        return astype(self, dtype=np.dtype(dtype))

    def copy(self, order: str = "C") -> Tracer:
        return self

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, order=order)  # type: ignore[call-overload]

    def transpose(self, *axes: Any) -> Any:
        if len(axes) == 1 and isinstance(axes[0], (tuple, list)):
            axes = tuple(axes[0])
        return np.transpose(self, axes or None)  # type: ignore[call-overload]

    def flatten(self, order: str = "C") -> Any:
        return np.ravel(self)  # type: ignore[call-overload]


def _method(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def method(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = name
    return method


# Methods with the name and signature of the NumPy function. The pointwise ones are no methods of ndarray, but NumPy
# calls them on the elements of an object array, which is how np.array([...]) of traced scalars computes.
for _name in (
    "sum mean prod max min var std cumsum clip dot ravel squeeze swapaxes diagonal trace take repeat conj round argmax "
    "argmin all any "
    "exp exp2 expm1 log log2 log10 log1p sqrt cbrt square sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh "
    "arccosh arctanh fabs floor ceil rint trunc sign arctan2 hypot logaddexp logaddexp2 degrees radians deg2rad rad2deg"
).split():
    setattr(Tracer, _name, _method(_name))
