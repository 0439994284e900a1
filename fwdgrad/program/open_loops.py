"""Loops that run until something holds: `until`, one operation with a derivative, whatever the number of turns.

Traced, a turn becomes a program of its own. The derivative holds fixed how many turns there are, and all that decides
on it: it is that of the turns that are made, one after the other (internal differentiation, where they are steps of an
integrator; Bock 1983). A product with it is the same loop with ∂z beside z, and so has derivatives too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from autograd.tracer import getval, isbox

from fwdgrad.program import operations as ops
from fwdgrad.program.derivatives import PRODUCTS, Linearized
from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.loops import scan
from fwdgrad.program.operations import Operand, Operation
from fwdgrad.program.program import Program
from fwdgrad.program.tracer import Graph, active_graph, as_operand, refuse, trace

__all__ = ["UNTIL", "given_up", "repeated", "until"]

USUALLY = 8
"""Turns, for predictions of costs."""
LONG = 48
"""Products forward through a loop over more numbers than this are loops of their own, each beside z."""

Turn = Callable[[Any, Any], tuple[Any, Any]]

_GIVEN_UP: ContextVar[list[np.ndarray] | None] = ContextVar("given_up", default=None)


@contextmanager
def given_up() -> Iterator[list[np.ndarray]]:
    """The last clocks of loops whose z is not finite in the end, though it was in the beginning, inside of this."""
    clocks: list[np.ndarray] = []
    token = _GIVEN_UP.set(clocks)
    try:
        yield clocks
    finally:
        _GIVEN_UP.reset(token)


def until(turn: Turn, start: Any, clock: Any, most: int) -> Any:
    """``start, clock = turn(start, clock)``, until the first number of the clock is positive.

    Args:
        turn: takes z and the clock, and returns the next ones, of the same shapes and dtypes. It may use whatever is
            known where it is defined: the result has derivatives with respect to all of that, and to `start`. It has to
            look after itself that z is NaN where it gives up.
        start: the first z, shape (m,), floating point.
        clock: what decides, shape (c,), of the dtype of z. It has no derivative. Its second number is positive after a
            turn that counts; after one that does not, z and ∂z are what they were, whatever was computed to see that.
        most: turns that are made at most.

    Returns:
        z.

    Cost: a derivative, for any number of products, runs the loop once more, with m products backward a turn, and
    O(m² p) for p numbers that the turn uses. With m above 48 each product forward runs the loop once more, with one
    product forward a turn.

    Raises:
        TracingError: z is no vector of floating-point numbers, or a turn changes shapes or dtypes.
        UnsupportedOperationError: an operation of the turn has no derivative.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, Linearized, trace, until
        >>> def halved(a):  # until it is below 1
        ...     return [until(lambda z, c: (z / 2, np.stack([1.0 - z[0] / 2, 1.0])), a, -np.ones(2), 99)]
        >>> linearized = Linearized(trace(halved, [Abstract((1,), np.dtype(float))]), [np.array([12.0])])
        >>> linearized.value[0], linearized.jvp({0: np.array([1.0])})[0]
        (array([0.75]), array([0.0625]))
    """
    parent = active_graph()
    if parent is None:  # on arrays, and on those of autograd
        return repeated(lambda z, ticks: turn(z, _value(ticks)), start, clock, most=most)
    start, clock = as_operand(start), as_operand(clock)
    shapes = [Abstract(v.shape, v.dtype) for v in (start, clock)]
    if any(len(s.shape) != 1 or s.dtype.kind != "f" for s in shapes):
        refuse(f"until begins at {' and '.join(map(str, shapes))}", "Begin at two vectors of floating-point numbers.")
    with Graph(parent) as graph:
        z, ticks = (graph.input(s, n) for s, n in zip(shapes, ("z", "clock"), strict=True))
        ends = [as_operand(e) for e in turn(z, ticks)]
        after = [Abstract(e.shape, e.dtype) for e in ends]
        if after != shapes:
            refuse(
                f"until: z and the clock begin as {' and '.join(map(str, shapes))}, and a turn returns "
                f"{' and '.join(map(str, after))}",
                "A turn has to return both with the shapes and dtypes they begin with.",
            )
        body, captured = graph.finish_inner("body", ends)
    return UNTIL(start, clock, *captured, body=body, most=most)


def repeated(body: Callable[..., tuple[Any, Any]], start: Any, clock: Any, *captured: Any, most: int) -> Any:
    """The loop, by a function of arrays."""
    z = start
    with np.errstate(all="ignore"):  # what is not finite is for the turn to judge
        for _ in range(most):
            z, clock = body(z, clock, *captured)
            if clock[0] > 0:
                break
    told = _GIVEN_UP.get()
    if told is not None and np.isfinite(_value(start)).all() and not np.isfinite(_value(z)).all():
        told.append(np.asarray(_value(clock)))
    return z


def _value(value: Any) -> Any:
    while isbox(value):
        value = getval(value)
    return value


class Until(Operation):
    """The last z. Operands: the first z, the first clock, what a turn uses; `body` takes the same."""

    def evaluate(self, start: Any, clock: Any, *captured: Any, body: Program, most: int) -> Any:
        return repeated(body, start, clock, *captured, most=most)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, inputs[0].dtype),)

    def turns(self, instruction: Instruction) -> int:
        """What an integrator that chooses its steps usually takes between two samples."""
        return USUALLY

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        for number, size in params["body"].index_bounds.items():
            yield inputs[number], size


UNTIL = Until("until")


# ---------------------------------------------------------------- derivatives


_BESIDE: WeakKeyDictionary[Program, Program] = WeakKeyDictionary()
"""Bodies, and those with ∂z beside z."""


class UntilProducts:
    """Products with ∂z/∂(start, what a turn uses), all of which take the same matrix, made once.

    Args:
        instruction: the loop.
        operands: values of its inputs.
        results: z.
    """

    def __init__(self, instruction: Instruction, operands: Sequence[Any], results: Sequence[Any]) -> None:
        self._body, self._most, self._operands = instruction.params["body"], instruction.params["most"], operands
        self._numbers = [0, *_used(self._body)]

    @cached_property
    def _matrix(self) -> Any:
        """∂z in start and all real numbers that a turn uses, shape (m, m + p)."""
        start, clock, *captured = self._operands
        (m,), dtype = self._body.inputs[0].shape, self._body.inputs[0].dtype
        width = sum(int(np.prod(self._body.inputs[k].shape, dtype=int)) for k in self._numbers)
        first = np.eye(m, width, dtype=dtype).ravel()
        if self._body not in _BESIDE:
            _BESIDE[self._body] = _beside(self._body, self._numbers, width)
        made = UNTIL(np.concatenate([start, first]), clock, *captured, body=_BESIDE[self._body], most=self._most)
        return np.reshape(made[m:], (m, width))

    def _columns(self) -> Iterator[tuple[int, slice]]:
        """Which columns of the matrix belong to an operand."""
        begin = 0
        for k in self._numbers:
            end = begin + int(np.prod(self._body.inputs[k].shape, dtype=int))
            yield k, slice(begin, end)
            begin = end

    def jvp(self, directions: Sequence[Any]) -> list[Any]:
        """The tangent of z from those of the operands, None where it is zero."""
        (m,), dtype = self._body.inputs[0].shape, self._body.inputs[0].dtype
        moving = [k for k in self._numbers if directions[k] is not None]
        if m > LONG and moving:
            start, clock, *captured = self._operands
            first = directions[0] if directions[0] is not None else np.zeros(m, dtype)
            moved = [directions[k] for k in moving if k]
            body = _along(self._body, tuple(k for k in moving if k))
            both = np.concatenate([start, first])
            return [UNTIL(both, clock, *captured, *moved, body=body, most=self._most)[m:]]
        parts = [
            ops.matmul(self._matrix[:, columns], np.reshape(directions[k], (-1,)))
            for k, columns in self._columns()
            if directions[k] is not None
        ]
        return [sum(parts[1:], start=parts[0]) if parts else None]

    def vjp(self, cotangents: Sequence[Any], wanted: Sequence[int]) -> dict[int, Any]:
        """Gradients of the wanted operands from the cotangent of z."""
        pulled = ops.matmul(cotangents[0], self._matrix)
        return {
            k: np.reshape(pulled[columns], self._body.inputs[k].shape) for k, columns in self._columns() if k in wanted
        }


_DIRECTED: WeakKeyDictionary[Program, dict[tuple[int, ...], Program]] = WeakKeyDictionary()
"""Bodies, and those with one tangent of z beside z, by the numbers of what else moves."""


def _along(body: Program, moving: tuple[int, ...]) -> Program:
    """A turn of z and one tangent of it, in one vector; directions of the inputs `moving` come behind all inputs."""
    made = _DIRECTED.setdefault(body, {})
    if moving not in made:
        (m,), count = body.inputs[0].shape, len(body.inputs) - 2

        def turn(both: Any, clock: Any, *more: Any) -> list[Any]:
            point = Linearized(body, [both[:m], clock, *more[:count]])
            after = point.jvp({0: both[m:], **dict(zip(moving, more[count:], strict=True))})[0]
            ticks = point.value[1]
            after = np.where(ticks[1] > 0, after, both[m:])
            return [np.concatenate([point.value[0], after]), ticks]

        inputs = [Abstract((2 * m,), body.inputs[0].dtype), *(Abstract(v.shape, v.dtype) for v in body.inputs[1:])]
        inputs += [Abstract(body.inputs[k].shape, body.inputs[k].dtype) for k in moving]
        made[moving] = trace(turn, inputs, name="along")
    return made[moving]


def _used(body: Program) -> list[int]:
    """The numbers of a body's inputs that are real and captured."""
    return [k for k, v in enumerate(body.inputs) if k > 1 and v.dtype.kind == "f"]


def _beside(body: Program, numbers: Sequence[int], width: int) -> Program:
    """A turn of z and ∂z, both in one vector: ∂z' = A ∂z + (0 B), with A and B of the turn, row by row."""
    (m,), dtype = body.inputs[0].shape, body.inputs[0].dtype

    def turn(both: Any, clock: Any, *captured: Any) -> list[Any]:
        point = Linearized(body, [both[:m], clock, *captured])

        def row(_: Any, unit: Any) -> tuple[Any, Any]:
            return (), [np.reshape(g, (-1,)) for g in point.vjp([unit[0], None], numbers)]

        _, (A, *rest) = scan(row, (), (np.eye(m, dtype=dtype),))
        after = ops.matmul(A, np.reshape(both[m:], (m, width)))
        if rest:
            after = after + np.concatenate([np.zeros((m, m), dtype), *rest], axis=1)
        ticks = point.value[1]
        after = np.where(ticks[1] > 0, np.reshape(after, (-1,)), both[m:])
        return [np.concatenate([point.value[0], after]), ticks]

    inputs = [Abstract((m + m * width,), dtype), *(Abstract(v.shape, v.dtype) for v in body.inputs[1:])]
    return trace(turn, inputs, name="beside")


PRODUCTS["until"] = UntilProducts
