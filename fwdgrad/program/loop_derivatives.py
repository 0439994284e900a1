"""Derivatives of `scan`: the loop is opened, and products with its Jacobian are loops beside it.

A forward product runs along with the loop, its carry the tangent of the loop's carry; a backward product runs against
it, its carry the cotangent, and sums up the gradients of what the body captures. Both are linear in their carry, with
coefficients that the loop itself knows: it hands them out, turn by turn, as further results. So the body's values, and
all that a derivative rule computes from them, are computed once, however many products are made (partial evaluation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.program.derivatives import PRODUCTS, Linearized
from fwdgrad.program.instructions import Abstract, Constant, Instruction, Variable
from fwdgrad.program.loops import SCAN
from fwdgrad.program.program import Program
from fwdgrad.program.tracer import Graph, Tracer, index_bounds

__all__ = ["opened"]


def opened(instruction: Instruction, operands: Sequence[Any], results: Sequence[Any]) -> PlainLoop | TracedLoop:
    """The derivatives of a loop that has been executed, or recorded.

    Args:
        instruction: the loop.
        operands: values of its inputs.
        results: values of its outputs.
    """
    traced = next((r for r in results if isinstance(r, Tracer)), None)
    if traced is None:
        return PlainLoop(instruction, operands)
    graph = traced.graph
    recorded = graph.definitions[traced.variable]
    if recorded not in graph.loops:
        graph.loops[recorded] = TracedLoop(recorded, graph)
    return graph.loops[recorded]


def _floating(variables: Sequence[Any], numbers: Iterable[int]) -> list[int]:
    """Those of some places of a list that hold real numbers."""
    return [k for k in numbers if variables[k].dtype.kind == "f"]


class PlainLoop:
    """The derivatives of a loop over arrays, turn after turn."""

    def __init__(self, instruction: Instruction, operands: Sequence[Any]) -> None:
        params = instruction.params
        self.body, self.carried, self.rows = params["body"], params["carried"], params["rows"]
        self.inputs, self.outputs = self.body.inputs, self.body.outputs
        table = operands[self.carried : self.carried + self.rows]
        order = range(len(table[0]))
        self.turns: list[tuple[int, Linearized]] = []
        carry = tuple(operands[: self.carried])
        for k in reversed(order) if params["reverse"] else order:
            turn = Linearized(self.body, [*carry, *(r[k] for r in table), *operands[self.carried + self.rows :]])
            self.turns.append((k, turn))
            carry = turn.value[: self.carried]

    def _turned(self, number: int, value: Any, k: int) -> Any:
        """An operand of the loop as the operand of a turn."""
        return value[k] if self.carried <= number < self.carried + self.rows else value

    def jvp(self, directions: Sequence[Any]) -> list[Any]:
        """Tangents of all results from those of the operands, None where they are zero."""
        moving = {k: d for k, d in enumerate(directions) if d is not None}
        rows: list[dict[int, Any]] = []
        for k, turn in self.turns:
            made = turn.jvp({number: self._turned(number, d, k) for number, d in moving.items()})
            moving.update((number, made[number]) for number in _floating(self.outputs, range(self.carried)))
            rows.append({number: made[number] for number in _floating(self.outputs, range(len(made)))})
        stacked = _stacked(rows, [k for k, _ in self.turns], range(self.carried, len(self.outputs)))
        return [
            moving.get(number) if number < self.carried else stacked.get(number) for number in range(len(self.outputs))
        ]

    def vjp(self, cotangents: Sequence[Any], wanted: Sequence[int]) -> dict[int, Any]:
        """Gradients of the wanted operands from the cotangents of the results."""
        pulled = list(cotangents[: self.carried])
        carries = _floating(self.inputs, range(self.carried))
        others = [k for k in wanted if k >= self.carried]
        sums: dict[int, Any] = {}
        rows: list[dict[int, Any]] = []
        for k, turn in reversed(self.turns):
            now = [*pulled, *(None if c is None else c[k] for c in cotangents[self.carried :])]
            made = dict(zip([*carries, *others], turn.vjp(now, [*carries, *others]), strict=True))
            for number in carries:
                pulled[number] = made[number]
            rows.append({number: made[number] for number in others})
            for number in others:
                sums[number] = made[number] + sums[number] if number in sums else made[number]
        table = range(self.carried, self.carried + self.rows)
        stacked = _stacked(rows, [k for k, _ in reversed(self.turns)], table)
        return {k: pulled[k] if k < self.carried else stacked.get(k, sums.get(k)) for k in wanted}


def _stacked(rows: Sequence[dict[int, Any]], places: Sequence[int], numbers: Iterable[int]) -> dict[int, Any]:
    """What the turns made under some numbers, each at its place along a new axis 0."""
    order = np.argsort(places)
    return {n: np.stack([rows[k][n] for k in order]) for n in numbers if rows and n in rows[0]}


class _Product(NamedTuple):
    """A product as the body of a loop, with what it takes from the loop it belongs to."""

    body: Program
    carried: int
    rows: int
    coefficients: list[Any]
    """Tracers in the loop's graph, one row a turn."""
    captured: list[Tracer]


class TracedLoop:
    """The derivatives of a recorded loop.

    The body is written down once more, in a graph that stays open (`inside`). A product is traced in a graph inside
    that one: what it computes from the body's values alone is thereby recorded in the body, and becomes a further
    result of the recorded instruction, which grows.

    Args:
        instruction: the loop, as recorded.
        graph: where.
    """

    def __init__(self, instruction: Instruction, graph: Graph) -> None:
        params = instruction.params
        self.instruction, self.graph, self.inside = instruction, graph, Graph(graph)
        self.body: Program = params["body"]
        self.carried, self.rows, self.reverse = params["carried"], params["rows"], params["reverse"]
        first = self.carried + self.rows
        self.table = [graph.value(o) for o in instruction.inputs[self.carried : first]]
        inputs = [self.inside.input(Abstract(v.shape, v.dtype), v.name) for v in self.body.inputs[:first]]
        captured = [graph.value(o) for o in instruction.inputs[first:]]
        self.inner = Linearized(self.body, [*inputs, *captured])
        self.carries = _floating(self.body.inputs, range(self.carried))
        self.coefficients: dict[Variable, Tracer] = {}
        self.products: dict[Any, _Product] = {}

    # ---- products

    def jvp(self, directions: Sequence[Any]) -> list[Any]:
        """Tangents of all results from those of the operands, None where they are zero."""
        moving = [k for k, d in enumerate(directions) if d is not None]
        rows = [k for k in moving if self.carried <= k < self.carried + self.rows]
        held = [k for k in moving if k >= self.carried + self.rows]
        outputs = _floating(self.body.outputs, range(self.carried, len(self.body.outputs)))
        key = "forward", *rows, *held
        if key not in self.products:
            with Graph(self.inside) as graph:
                tangents = {k: self._input(graph, self.body.inputs[k]) for k in (*self.carries, *rows, *held)}
                made = self.inner.jvp(tangents)
                ends = [made[k] for k in (*self.carries, *outputs)]
                self.products[key] = self._product(graph, ends, len(self.carries), len(rows))
        start = [self._start(directions[k], k) for k in self.carries]
        results = self._run(key, start, [directions[k] for k in rows], [directions[k] for k in held], self.reverse)
        known = dict(zip((*self.carries, *outputs), results, strict=True))
        return [known.get(k) for k in range(len(self.body.outputs))]

    def vjp(self, cotangents: Sequence[Any], wanted: Sequence[int]) -> dict[int, Any]:
        """Gradients of the wanted operands from the cotangents of the results."""
        count, last = len(self.body.outputs), self.carried + self.rows
        given = [k for k in range(self.carried, count) if cotangents[k] is not None]
        rows, held = [k for k in wanted if self.carried <= k < last], [k for k in wanted if k >= last]
        key = "backward", *given, None, *rows, *held
        if key not in self.products:
            with Graph(self.inside) as graph:
                pulled = {k: self._input(graph, self.body.inputs[k]) for k in self.carries}
                sums = {k: self._input(graph, self.body.inputs[k]) for k in held}
                pulled |= {k: self._input(graph, self.body.outputs[k]) for k in given}
                numbers = [*self.carries, *held, *rows]
                made = self.inner.vjp([pulled.get(k) for k in range(count)], numbers)
                parts = dict(zip(numbers, made, strict=True))
                ends = [
                    *(parts[k] for k in self.carries),
                    *(sums[k] + parts[k] for k in held),
                    *(parts[k] for k in rows),
                ]
                self.products[key] = self._product(graph, ends, len(self.carries) + len(held), len(given))
        start = [self._start(cotangents[k], k) for k in self.carries] + [self._start(None, k) for k in held]
        results = self._run(key, start, [cotangents[k] for k in given], [], not self.reverse)
        return {k: v for k, v in zip((*self.carries, *held, *rows), results, strict=True) if k in wanted}

    @staticmethod
    def _input(graph: Graph, like: Variable | Constant) -> Tracer:
        return graph.input(Abstract(like.shape, like.dtype))

    def _start(self, value: Any, number: int) -> Any:
        """What the carry of a product begins as."""
        like = self.body.inputs[number]
        return np.zeros(like.shape, like.dtype) if value is None else value

    def _run(self, key: Any, start: list[Any], rows: list[Any], held: list[Any], reverse: bool) -> tuple[Any, ...]:
        product = self.products[key]
        table = [*rows, *product.coefficients]
        params = {"body": product.body, "carried": product.carried, "rows": product.rows, "reverse": reverse}
        return SCAN(*start, *table, *held, *product.captured, **params)

    # ---- between the product and the loop

    def _product(self, graph: Graph, ends: Sequence[Any], carried: int, rows: int) -> _Product:
        """The traced product; what it needs of the body's values becomes a result of the loop."""
        body, outer = graph.finish_inner("body", ends)
        own = len(body.inputs) - len(outer)
        places = list(zip(body.inputs[own:], outer, strict=True))
        inner = [(v, t) for v, t in places if t.graph is self.inside]
        captured = [(v, t) for v, t in places if t.graph is not self.inside]
        table = [self._coefficient(t.variable) for _, t in inner]
        turned = [v for v, _ in inner]
        if not rows and not table:  # something has to say how many turns there are
            table, first = [self.table[0]], self.body.inputs[self.carried]
            turned = [Variable(first.shape, first.dtype)]
        inputs = (
            *body.inputs[: carried + rows],
            *turned,
            *body.inputs[carried + rows : own],
            *(v for v, _ in captured),
        )
        body = replace(body, inputs=inputs, index_bounds=index_bounds(inputs, body.instructions))
        self._grow()
        return _Product(body, carried, rows + len(turned), table, [t for _, t in captured])

    def _coefficient(self, variable: Variable) -> Any:
        """The values of a variable of the body in all turns."""
        if variable in self.inside.inputs[self.carried :]:
            return self.table[self.inside.inputs.index(variable) - self.carried]
        if variable not in self.coefficients:
            length = np.shape(self.table[0])[0]
            stacked = Variable((length, *variable.shape), variable.dtype)
            self.instruction.outputs = (*self.instruction.outputs, stacked)
            self.graph.definitions[stacked] = self.instruction
            self.coefficients[variable] = Tracer(self.graph, stacked)
        return self.coefficients[variable]

    def _grow(self) -> None:
        """Write the body of the recorded loop anew, with all that products ask for."""
        ends = [*self.inner.value, *(Tracer(self.inside, v) for v in self.coefficients)]
        body, captured = self.inside.finish_inner("body", ends)
        inputs = self.instruction.inputs[: self.carried + self.rows]
        self.instruction.inputs = (*inputs, *(self.graph.operand(t) for t in captured))
        self.instruction.params = self.instruction.params | {"body": body}
        self.graph.ordered = False  # what is captured may have been recorded after the loop


PRODUCTS["scan"] = opened
