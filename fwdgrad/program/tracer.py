"""Tracing: run a NumPy function once on arrays without values, and write down what it does.

The function is called with one `Tracer` per input. Each NumPy call on a tracer is lowered to a few core operations
(`fwdgrad.program.lowering`) and recorded in the `Graph` being written. Equal operations on equal operands are recorded
once, so a derivative shares what the value already computed.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from fwdgrad.errors import FwdgradError, HiddenStateError, TracingError
from fwdgrad.program.array import Tracer, is_tracer
from fwdgrad.program.failures import explain
from fwdgrad.program.instructions import Abstract, Constant, Instruction, Operation, Variable
from fwdgrad.program.operations import astype, concatenate, reshape
from fwdgrad.program.program import Program
from fwdgrad.program.sources import caller, refuse

__all__ = [
    "Graph",
    "Tracer",
    "active_graph",
    "as_operand",
    "caller",
    "is_tracer",
    "record",
    "record_program",
    "refuse",
    "trace",
]


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
        """Recorded call → its result."""
        self.definitions: dict[Variable, Instruction] = {}
        self.constants: dict[Any, Constant] = {}
        """Constants by what they hold, so that equal ones are one."""
        self.inputs: list[Variable] = []
        self.foreign: dict[Variable, Tracer] = {}
        """Values of outer graphs that were used here."""
        self.loops: dict[Instruction, Any] = {}
        """Loops that have been opened for their derivatives."""
        self.ordered = True
        """Whether every instruction stands behind what it uses."""
        self.closed = False
        self.inner: list[Graph] = []
        """Bodies of loops."""
        if parent is not None:
            parent.inner.append(self)

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
        key = _content(value)
        if key not in self.constants:
            if isinstance(value, np.ndarray):
                value = value.copy()
                value.setflags(write=False)
            self.constants[key] = Constant(value)
        return self.constants[key]

    def operand(self, value: Any) -> Variable | Constant:
        """`value` as the operand of an instruction of this graph."""
        if not isinstance(value, Tracer):
            return self.constant(value)
        if value.graph is not self:
            graph: Graph | None = self
            while graph is not None and graph is not value.graph:
                graph = graph.parent
            if graph is None:
                _leaked(value)
            self.foreign[value.variable] = value
        return value.variable

    @staticmethod
    def record(operation: Operation, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        """Write an operation down; see `record`."""
        return record(operation, operands, params)

    def value(self, operand: Variable | Constant) -> Any:
        """What was given as the operand of an instruction of this graph; the inverse of `operand`."""
        if isinstance(operand, Constant):
            return operand.value
        return self.foreign[operand] if operand in self.foreign else Tracer(self, operand)

    def finish(self, name: str, outputs: Sequence[Any]) -> Program:
        """Close the graph: the program that computes `outputs`, and nothing that they do not need."""
        ends = tuple(self.operand(o if isinstance(o, Tracer) else np.asarray(o)) for o in outputs)
        needed: set[Variable] = {e for e in ends if isinstance(e, Variable)}
        kept: list[Instruction] = []
        if not self.ordered:
            self.instructions, self.ordered = _in_order(self.instructions, self.definitions), True
        for instruction in reversed(self.instructions):
            if any(o in needed for o in instruction.outputs):
                instruction = instruction.operation.trimmed(instruction, needed)
                kept.append(instruction)
                needed.update(i for i in instruction.inputs if isinstance(i, Variable))
        kept.reverse()
        return Program(name, tuple(self.inputs), tuple(kept), ends, index_bounds(self.inputs, kept))

    def finish_inner(self, name: str, outputs: Sequence[Any]) -> tuple[Program, list[Tracer]]:
        """The program of a graph inside another one, and the outer values it uses, which are its last inputs."""
        program = self.finish(name, outputs)
        own = set(program.inputs) | {o for ins in program.instructions for o in ins.outputs}
        used = [*(i for ins in program.instructions for i in ins.inputs), *program.outputs]
        outer = list(dict.fromkeys(v for v in used if isinstance(v, Variable) and v not in own))
        program.inputs = (*program.inputs, *outer)
        program.index_bounds = index_bounds(program.inputs, program.instructions)
        return program, [self.foreign[v] for v in outer]

    def forget(self) -> None:
        """Let go of all tracers, so that this graph lives only as long as somebody else holds one."""
        self.known.clear()
        self.foreign.clear()
        for graph in self.inner:
            graph.forget()
        self.inner.clear()


def _in_order(instructions: list[Instruction], definitions: dict[Variable, Instruction]) -> list[Instruction]:
    """The same, each behind what it uses, and otherwise in the order they were in."""
    placed: dict[Instruction, None] = {}

    def place(instruction: Instruction) -> None:
        for operand in instruction.inputs:
            maker = definitions.get(operand) if isinstance(operand, Variable) else None
            if maker is not None and maker not in placed:
                place(maker)
        placed[instruction] = None

    for instruction in instructions:
        if instruction not in placed:
            place(instruction)
    return list(placed)


def _content(value: Any) -> Any:
    """A key that two constants share if and only if they are the same numbers."""
    if not isinstance(value, np.ndarray):
        return (type(value), repr(value))
    numbers = value.tobytes()
    return (value.dtype.str, value.shape, numbers if len(numbers) <= 64 else hashlib.sha256(numbers).digest())


def _leaked(tracer: Tracer) -> NoReturn:
    raise HiddenStateError(
        f"The array {tracer!r} belongs to a trace, or to the body of a loop, that has ended, at "
        f"{caller() or 'an unknown line'}.\n"
        "Functions must not keep arrays in global variables, closures or attributes between calls: carry them in the\n"
        "state instead."
    )


def index_bounds(inputs: Sequence[Variable], instructions: Sequence[Instruction]) -> dict[int, int]:
    """For each integer input used as an index: the size of the smallest axis it indexes."""
    numbers = {v: k for k, v in enumerate(inputs)}
    bounds: dict[int, int] = {}
    for ins in instructions:
        for operand, size in ins.operation.indexed_axes(ins.inputs, ins.params):
            if isinstance(operand, Variable) and operand in numbers:
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
        function: takes one tracer per input, positionally, and returns a tuple, list or iterator of arrays.
        inputs: shapes and dtypes of the inputs: real numbers, integers or booleans.
        names: names of the inputs, for listings and emitted source.
        name: name of the program.

    Raises:
        TracingError: the function does something that is not a fixed sequence of known operations; the message names
            the operation, the line of the function and the mend.
        HiddenStateError: it uses arrays of a trace that has ended; see also `trace_pure`.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, trace
        >>> vector = Abstract((3,), np.dtype(float))
        >>> program = trace(lambda h, w: (np.tanh(h) @ w,), [vector, vector])
        >>> [instruction.operation.name for instruction in program]
        ['tanh', 'matmul']
        >>> program(np.zeros(3), np.ones(3))
        (np.float64(0.0),)
    """
    return record_program(function, inputs, names, name)[0]


def record_program(
    function: Callable[..., Any], inputs: Sequence[Abstract], names: Sequence[str] | None, name: str
) -> tuple[Program, weakref.ref[Graph]]:
    """The program, and its graph for as long as somebody holds one of its arrays."""
    try:
        with Graph() as graph:
            for a in inputs:
                _refuse_dtype(f"{name}: an input", a.dtype)
            tracers = [graph.input(a, names[k] if names else None) for k, a in enumerate(inputs)]
            results = function(*tracers)
            if results is None or isinstance(results, (Tracer, np.ndarray)):
                kind = "nothing" if results is None else "one array"
                raise TracingError(f"{name}: the traced function returned {kind}. It has to return a tuple of arrays.")
            results = list(results)
            for k, result in enumerate(results):
                if result is None or isinstance(result, (str, dict, set)) or callable(result):
                    kind = type(result).__name__
                    raise TracingError(f"{name}: output {k} of the traced function is a {kind}, not an array.")
            program = graph.finish(name, [as_operand(o) for o in results])
        graph.forget()
        return program, weakref.ref(graph)
    except Exception as error:
        explain(name, error)


def as_operand(value: Any) -> Any:
    """What a function may use or return: a tracer, a number or an array; lists and object arrays become arrays."""
    if isinstance(value, Tracer) or type(value) in (float, int, bool):
        return value
    if isinstance(value, (list, tuple)):
        return _stacked(value)
    array = value if type(value) is np.ndarray else np.asarray(value)
    if array.dtype == object and array is not value:
        refuse(f"{str(value)[:60]!r}, a {type(value).__name__}, is used as an array", "Pass numbers or arrays.")
    if array.dtype == object:
        return _stacked(array) if array.ndim else as_operand(array.item())
    _refuse_dtype("An array", array.dtype)
    return array


def _refuse_dtype(what: str, dtype: np.dtype) -> None:
    if dtype.kind in "biuf":
        return
    if dtype.kind == "c":
        refuse(
            f"{what} holds complex numbers ({dtype})",
            "fwdgrad differentiates real arrays: keep the real and the imaginary part as two of them.",
        )
    refuse(f"{what} holds values of type {dtype}", "fwdgrad computes with real numbers, integers and booleans.")


def _stacked(value: Any) -> Any:
    """A nested list, or an object array, of tracers and numbers as one array, with the dtype np.array would give."""
    parts = [as_operand(v) for v in value]
    if not any(isinstance(p, Tracer) for p in parts):
        return np.asarray(parts)
    parts = [p if isinstance(p, Tracer) else np.asarray(p) for p in parts]
    shape = parts[0].shape
    if any(p.shape != shape for p in parts):
        refuse(
            f"An array is built from parts of different shapes {[p.shape for p in parts]}",
            "Give every part the same shape, or join them with np.concatenate.",
        )
    whole = _taken_apart(parts)
    if whole is not None:
        return whole
    dtype = np.result_type(*(p.dtype for p in parts))
    parts = [p if p.dtype == dtype else astype(p, dtype=dtype) for p in parts]
    return concatenate(*(reshape(p, shape=(1, *shape)) for p in parts), axis=0)


def _taken_apart(parts: Sequence[Any]) -> Any:
    """The array of which `parts` are all rows in order, as np.asarray makes them, or None."""
    variable: Any = None
    for k, part in enumerate(parts):
        instruction = part.graph.definitions.get(part.variable) if isinstance(part, Tracer) else None
        if instruction is None or instruction.operation.name != "getitem":
            return None
        first, *rest = instruction.params["index"]
        if first != ("int", k) or any(e != ("slice", None, None, None) for e in rest):
            return None
        if k == 0:
            variable = instruction.inputs[0]
        if instruction.inputs[0] is not variable:
            return None
    if not isinstance(variable, Variable) or variable.shape[0] != len(parts):
        return None
    return Tracer(parts[0].graph, variable)  # constant indices: recorded where the array itself is


def record(operation: Operation, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """Write ``operation(*operands, **params)`` into the graph of its innermost operand; equal calls are shared."""
    operands = [as_operand(o) for o in operands]
    graph = None
    for o in operands:
        if isinstance(o, Tracer):
            if o.graph.closed:
                _leaked(o)
            if graph is None or o.graph.depth > graph.depth:
                graph = o.graph
    assert graph is not None
    simpler = operation.simplified(operands, params)
    if simpler is not None:
        return simpler
    inputs = tuple([graph.operand(o) for o in operands])
    key = (operation, inputs, tuple(sorted(params.items())) if len(params) > 1 else tuple(params.items()))
    if key in graph.known:
        return graph.known[key]
    try:
        abstracts = operation.infer(inputs, params)
    except FwdgradError:
        raise
    except Exception as error:
        shapes = ", ".join(str(Abstract(i.shape, i.dtype)) for i in inputs)
        raise TracingError(
            f"{operation.name}({shapes}) fails, at {caller() or 'an unknown line'}:\n"
            f"  {error}\n"
            "Check the shapes in your function, or call it once with plain arrays to see NumPy's own message."
        ) from error
    for a in abstracts:
        _refuse_dtype(f"The result of {operation.name}", a.dtype)
    outputs = tuple([Variable(a.shape, a.dtype) for a in abstracts])
    instruction = Instruction(operation, inputs, params, outputs, caller())
    graph.instructions.append(instruction)
    graph.definitions.update(dict.fromkeys(outputs, instruction))
    tracers = tuple([Tracer(graph, v) for v in outputs])
    result = tracers if operation.several else tracers[0]
    graph.known[key] = result
    return result
