"""What two loops of a program compute of the same rows is computed by the first of them, and read by the other.

In a window, a loop goes forward through the samples and others go back, or forward once more, each of which evaluates
the transition at the same states. The numbers are the same, to the last bit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fwdgrad.program import Abstract, Instruction, Program, Variable
from fwdgrad.program.instructions import Constant
from fwdgrad.program.loops import SCAN
from fwdgrad.program.program import read
from fwdgrad.program.sources import recording_for
from fwdgrad.program.tracer import Graph

__all__ = ["shared_between_loops"]

DEAR = ("matmul", "exp", "log", "tanh", "sin", "cos", "expit", "power", "sum", "max")
"""Operations whose results, and what is computed of them, are worth a place in memory for every turn."""


@dataclass
class _Loop:
    """A loop, and what changes in it: further results that it hands out, and values that it is handed as rows."""

    ins: Instruction
    out: list[Variable] = field(default_factory=list)
    taken: list[tuple[Variable, _Loop, Variable]] = field(default_factory=list)
    """The value, and which loop computes it as what."""

    @property
    def body(self) -> Program:
        return self.ins.params["body"]

    @property
    def carried(self) -> int:
        return self.ins.params["carried"]

    @property
    def end(self) -> int:
        """Of the rows among the inputs."""
        return self.carried + self.ins.params["rows"]

    @property
    def length(self) -> int:
        return self.ins.inputs[self.carried].shape[0]


def shared_between_loops(program: Program) -> Program:
    """The same function, whose loops compute together what they have in common.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, scan, trace
        >>> def f(x):
        ...     _, (y,) = scan(lambda _, r: ((), (np.exp(r[0]),)), (), (x,))
        ...     (total,), _ = scan(lambda c, r: ((c[0] + 2.0 * np.exp(r[0]),), ()), (0.0,), (x,), reverse=True)
        ...     return y, total
        >>> first, second = shared_between_loops(trace(f, [Abstract((5,), np.dtype(float))]))
        >>> [ins.operation.name for ins in second.params["body"]]
        ['multiply', 'add']
    """
    loops: list[_Loop] = []
    for ins in program:
        if ins.operation is SCAN:
            loop = _Loop(ins)
            for earlier in loops:
                if not loop.taken and earlier.length == loop.length:
                    _compare(earlier, loop)
            loops.append(loop)
    if not any(loop.taken for loop in loops):
        return program
    of = {id(loop.ins): loop for loop in loops}
    stacked: dict[tuple[int, Variable], Any] = {}
    with Graph() as graph:
        values: dict[Variable, Any] = {v: graph.input(Abstract(v.shape, v.dtype), v.name) for v in program.inputs}
        for ins in program:
            operands = [read(values, i) for i in ins.inputs]
            with recording_for(ins.source):
                if id(ins) in of:
                    result = _recorded(of[id(ins)], operands, stacked)
                else:
                    result = ins.operation(*operands, **ins.params)
            values.update(zip(ins.outputs, result if ins.operation.several else (result,), strict=True))
        made = graph.finish(program.name, [read(values, o) for o in program.outputs])
    return replace(made, index_bounds=program.index_bounds)


def _recorded(loop: _Loop, operands: list[Any], stacked: dict[tuple[int, Variable], Any]) -> tuple[Any, ...]:
    """A loop in the new program."""
    rows = [stacked[id(earlier.ins), theirs] for _, earlier, theirs in loop.taken]
    operands = [*operands[: loop.end], *rows, *operands[loop.end :]]
    body, taken = loop.body, [mine for mine, _, _ in loop.taken]
    with Graph() as graph:
        inputs = [*body.inputs[: loop.end], *taken, *body.inputs[loop.end :]]
        values: dict[Variable, Any] = {v: graph.input(Abstract(v.shape, v.dtype), v.name) for v in inputs}
        for ins in body:
            if not all(o in values for o in ins.outputs):
                with recording_for(ins.source):
                    result = ins.operation(*(read(values, i) for i in ins.inputs), **ins.params)
                made = zip(ins.outputs, result if ins.operation.several else (result,), strict=True)
                values.update((o, r) for o, r in made if o not in taken)
        ends = [read(values, o) for o in (*body.outputs, *loop.out)]
        params = {**loop.ins.params, "body": graph.finish(body.name, ends), "rows": loop.end - loop.carried + len(rows)}
    results = SCAN(*operands, **params)
    own = len(body.outputs)
    stacked.update(((id(loop.ins), v), r) for v, r in zip(loop.out, results[own:], strict=True))
    return tuple(results[:own])


def _compare(first: _Loop, second: _Loop) -> None:
    """Find what the second loop computes as the first does, and let it take what is worth it."""
    same, dear = _matched(first, second), _dear(second.body)
    uses = Counter(i for ins in second.body for i in ins.inputs if not all(o in same for o in ins.outputs))
    uses.update(o for o in second.body.outputs if isinstance(o, Variable))
    for ins in second.body:
        for mine in ins.outputs:
            if mine in same and mine in dear and uses[mine] and len(mine.shape) <= 1:
                second.taken.append((mine, first, same[mine]))
                if same[mine] not in first.out:
                    first.out.append(same[mine])


def _matched(first: _Loop, second: _Loop) -> dict[Variable, Variable]:
    """Variables of the second body that hold, in every turn, what a variable of the first one does."""
    known: dict[Any, Variable] = {}
    for operand, variable in list(zip(first.ins.inputs, first.body.inputs, strict=True))[first.carried :]:
        known.setdefault(operand, variable)
    for result, end in list(zip(first.ins.outputs, first.body.outputs, strict=True))[first.carried :]:
        if isinstance(end, Variable):
            known.setdefault(result, end)
    same: dict[Variable, Variable] = {}
    for operand, variable in list(zip(second.ins.inputs, second.body.inputs, strict=True))[second.carried :]:
        if isinstance(operand, Variable) and operand in known and known[operand].shape == variable.shape:
            same[variable] = known[operand]
    there = {key: ins for ins in first.body if (key := _key(ins, list(ins.inputs))) is not None}
    for ins in second.body:
        mapped = [same.get(i) if isinstance(i, Variable) else i for i in ins.inputs]
        if None not in mapped and (found := there.get(_key(ins, mapped))) is not None:
            same.update(zip(ins.outputs, found.outputs, strict=True))
    return same


def _key(ins: Instruction, inputs: list[Any]) -> Any:
    """Equal for instructions that do the same; None for one that holds a program."""
    if any(isinstance(v, Program) for v in ins.params.values()):
        return None
    parts = [i if isinstance(i, Variable) else _constant(i) for i in inputs]
    return ins.operation.name, repr(sorted(ins.params.items(), key=lambda item: item[0])), tuple(parts)


def _constant(constant: Constant) -> Any:
    value = np.asarray(constant.value)
    return type(constant.value).__name__, value.dtype.str, value.shape, value.tobytes()


def _dear(body: Program) -> set[Variable]:
    """What takes more than a few additions a number."""
    found: set[Variable] = set()
    for ins in body:
        if ins.operation.name in DEAR or any(i in found for i in ins.inputs if isinstance(i, Variable)):
            found.update(ins.outputs)
    return found
