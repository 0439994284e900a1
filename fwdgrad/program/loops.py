"""One loop for all: `scan` runs a step over rows, keeping a carry; with an empty carry it is "apply to every row".

Executed, it is a Python loop. Traced, the step is traced once into a program of its own, the body, and the loop
becomes one instruction. What the body computes from outer values alone is recorded outside the loop, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract, Instruction, Variable
from fwdgrad.program.operations import Operand, Operation
from fwdgrad.program.program import Program
from fwdgrad.program.tracer import Graph, Tracer, active_graph, as_operand, refuse

__all__ = ["SCAN", "map_rows", "repeat", "scan"]

Body = Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[Sequence[Any], Sequence[Any]]]


def scan(
    body: Body, carry: Sequence[Any], rows: Sequence[Any], *, reverse: bool = False
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Run ``carry, out = body(carry, row)`` over the first axis of every array in `rows`.

    Args:
        body: takes the carry and one row of each array; returns the next carry (same shapes and dtypes) and a
            sequence of results.
        carry: arrays handed from one turn to the next.
        rows: at least one array; all have the same length along axis 0.
        reverse: go through the rows backward; results still stand at their row's place.

    Returns:
        The last carry, and every result stacked along a new axis 0.

    Raises:
        TracingError: the rows do not fit each other, or the body changes the carry's shape or dtype.

    The derivatives of a traced loop are loops of the same length (`fwdgrad.program.loop_derivatives`).

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import scan
        >>> (total,), (running,) = scan(lambda c, r: ([c[0] + r[0]], [c[0]]), [0.0], [np.array([1.0, 2.0, 3.0])])
        >>> total, running
        (np.float64(6.0), array([0., 1., 3.]))
    """
    carry = tuple(_array(c) for c in carry)
    rows = tuple(_array(r) for r in rows)
    if not rows or any(r.ndim == 0 for r in rows) or len({r.shape[0] for r in rows}) != 1:
        refuse(
            f"scan is called with rows of shapes {[r.shape for r in rows]}",
            "Give at least one array to go through; all need the same number of rows along axis 0.",
        )
    parent = active_graph()
    if parent is None:
        length = rows[0].shape[0]
        return _run(body, carry, rows, range(length - 1, -1, -1) if reverse else range(length))
    program, captured = _trace_body(body, carry, rows, parent)
    params = {"body": program, "carried": len(carry), "rows": len(rows), "reverse": reverse}
    results = SCAN(*carry, *rows, *captured, **params)
    return tuple(results[: len(carry)]), tuple(results[len(carry) :])


def map_rows(function: Callable[..., Sequence[Any]], *rows: Any) -> tuple[Any, ...]:
    """The results of ``function(*row)`` for the rows of arrays of one length, each stacked along a new axis 0.

    A `scan` that hands nothing from one turn to the next.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import map_rows
        >>> map_rows(lambda a, b: [a @ b], np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
        (array([1., 4.]),)
    """
    return scan(lambda _, row: ((), function(*row)), (), rows)[1]


def repeat(body: Callable[[Any], Any], start: Any, count: int) -> Any:
    """``start = body(start)``, `count` times: a loop when traced, and its derivatives too.

    Args:
        body: takes an array and returns one of the same shape and dtype.
        start: the first one.
        count: at least 1.

    Raises:
        TracingError: when traced, the body changes the shape or dtype.

    Example:
        >>> from fwdgrad.program.loops import repeat
        >>> repeat(lambda h: h / 2, 1.0, 3)
        0.125
    """
    if active_graph() is None:  # on arrays, and on those of autograd
        for _ in range(count):
            start = body(start)
        return start
    (end,), _ = scan(lambda carry, _: ([body(carry[0])], []), [start], [np.arange(count)])
    return end


def _array(value: Any) -> Any:
    value = as_operand(value)
    return value if isinstance(value, Tracer) else np.asarray(value)


def _run(body: Body, carry: tuple[Any, ...], rows: tuple[Any, ...], order: range) -> tuple[Any, Any]:
    if not order:
        refuse("scan is called with no rows outside a trace", "What it returns is only known once the body has run.")
    made: list[Any] = [None] * len(order)
    for k in order:
        carry, made[k] = body(carry, tuple(r[k] for r in rows))  # type: ignore[assignment]
    return tuple(carry), tuple(np.stack(column) for column in zip(*made, strict=True))


def _trace_body(
    body: Body, carry: tuple[Any, ...], rows: tuple[Any, ...], parent: Graph
) -> tuple[Program, list[Tracer]]:
    names = [*(f"carry{k}" for k in range(len(carry))), *(f"row{k}" for k in range(len(rows)))]
    shapes = [*(Abstract(c.shape, c.dtype) for c in carry), *(Abstract(r.shape[1:], r.dtype) for r in rows)]
    with Graph(parent) as graph:
        inner = [graph.input(a, n) for a, n in zip(shapes, names, strict=True)]
        state, out = body(tuple(inner[: len(carry)]), tuple(inner[len(carry) :]))
        state = [_array(s) for s in state]
        before = shapes[: len(carry)]
        after = [Abstract(s.shape, s.dtype) for s in state]
        if before != after:
            refuse(
                f"scan: the carry begins as ({', '.join(map(str, before))}), and the body returns "
                f"({', '.join(map(str, after))})",
                "The body has to return the carry with the shapes and dtypes it begins with.",
            )
        return graph.finish_inner("body", [*state, *(as_operand(o) for o in out)])


class Scan(Operation):
    """The loop. Operands: carry, rows, captured values; the body's inputs are the same with single rows."""

    several = True

    def evaluate(self, *operands: Any, body: Program, carried: int, rows: int, reverse: bool) -> tuple[Any, ...]:
        carry, table, captured = operands[:carried], operands[carried : carried + rows], operands[carried + rows :]

        def turn(state: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
            results = body(*state, *row, *captured)
            return results[:carried], results[carried:]

        length = len(table[0])
        if length == 0:
            return (*carry, *(np.zeros((0, *o.shape), o.dtype) for o in body.outputs[carried:]))
        state, out = _run(turn, carry, table, range(length - 1, -1, -1) if reverse else range(length))
        return (*state, *out)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        body, carried = params["body"], params["carried"]
        length = inputs[carried].shape[0]
        return tuple(
            Abstract(o.shape if k < carried else (length, *o.shape), o.dtype) for k, o in enumerate(body.outputs)
        )

    def multiply_adds(self, instruction: Instruction) -> int:
        """None but those of the body."""
        return 0

    def turns(self, instruction: Instruction) -> int:
        """One for each row."""
        return instruction.inputs[instruction.params["carried"]].shape[0]

    def trimmed(self, instruction: Instruction, needed: set[Variable]) -> Instruction:
        """Stacked results that nothing needs are not made. Always a copy, since a recorded loop may still grow."""
        params, carried = instruction.params, instruction.params["carried"]
        kept = [k for k, o in enumerate(instruction.outputs) if k < carried or o in needed]
        if len(kept) == len(instruction.outputs):
            return replace(instruction)
        first = carried + params["rows"]
        body = params["body"].only(kept)
        live = body.live_inputs()
        places = [*range(first), *(k for k in live if k >= first)]
        inputs = tuple(body.inputs[k] for k in places)
        bounds = {place: body.index_bounds[k] for place, k in enumerate(places) if k in body.index_bounds}
        return replace(
            instruction,
            inputs=tuple(instruction.inputs[k] for k in places),
            params=params | {"body": replace(body, inputs=inputs, index_bounds=bounds)},
            outputs=tuple(instruction.outputs[k] for k in kept),
        )

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        for number, size in params["body"].index_bounds.items():
            yield inputs[number], size


SCAN = Scan("scan")
