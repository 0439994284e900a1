"""Sums of outer products over the turns of a loop, as one product of matrices behind the loop.

Backpropagation adds u vᵀ to the derivative of a matrix at every step, and goes through all of it for that. With U and V
the u and v of all steps, one below the other, that is Uᵀ V once. Only the order of the additions is another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.program import Abstract, Instruction, Program, Variable
from fwdgrad.program.instructions import Constant
from fwdgrad.program.loops import SCAN
from fwdgrad.program.operations import reshape
from fwdgrad.program.program import read
from fwdgrad.program.sources import recording_for
from fwdgrad.program.tracer import Graph

__all__ = ["accumulated"]

LARGE = 512
"""Sums of no more entries than this are left as they are."""

Operand = Variable | Constant


class _Sum(NamedTuple):
    """What a turn adds to a carried matrix: u vᵀ, or nothing where a condition does not hold."""

    added: Instruction
    """The instruction that adds it."""
    u: Operand
    v: Operand
    condition: Operand | None


def accumulated(program: Program) -> Program:
    """The same function with fewer passes over matrices in its loops.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, scan, trace
        >>> def f(u, v):
        ...     return scan(lambda c, r: ([c[0] + np.outer(r[0], r[1])], []), [np.zeros((30, 20))], [u, v])[0]
        >>> rows = Abstract((5, 30), np.dtype(float)), Abstract((5, 20), np.dtype(float))
        >>> [ins.operation.name for ins in accumulated(trace(f, rows))]
        ['scan', 'transpose', 'matmul', 'add']
    """
    if not any(ins.operation is SCAN for ins in program):
        return program
    with Graph() as graph:
        values: dict[Variable, Any] = {v: graph.input(Abstract(v.shape, v.dtype), v.name) for v in program.inputs}
        for ins in program:
            with recording_for(ins.source):
                operands = [read(values, i) for i in ins.inputs]
                result = _loop(ins, operands) if ins.operation is SCAN else ins.operation(*operands, **ins.params)
            values.update(zip(ins.outputs, result if ins.operation.several else (result,), strict=True))
        made = graph.finish(program.name, [read(values, o) for o in program.outputs])
    return replace(made, index_bounds=program.index_bounds)


def _loop(ins: Instruction, operands: Sequence[Any]) -> Sequence[Any]:
    """A loop, with the sums that can be taken behind it taken there."""
    body, carried, rows = accumulated(ins.params["body"]), ins.params["carried"], ins.params["rows"]
    found = {k: made for k in range(carried) if (made := _sum(body, k)) is not None}
    kept = [k for k in range(carried) if k not in found]
    given = [operands[k] for k in kept], operands[carried:]
    params = {**ins.params, "body": _without(body, carried, found), "carried": len(kept), "rows": rows}
    results = list(SCAN(*given[0], *given[1], **params))
    parts, results = results[len(results) - 2 * len(found) :], results[: len(results) - 2 * len(found)]
    for number, k in enumerate(found):
        u, v = parts[2 * number : 2 * number + 2]
        results.insert(k, operands[k] + np.transpose(u) @ v)
    return results


def _without(body: Program, carried: int, found: dict[int, _Sum]) -> Program:
    """A body that hands out factors in place of adding up their products."""
    if not found:
        return body
    gone = [id(sum_.added) for sum_ in found.values()]
    with Graph() as graph:
        values: dict[Variable, Any] = {
            v: graph.input(Abstract(v.shape, v.dtype), v.name) for k, v in enumerate(body.inputs) if k not in found
        }
        for ins in body:
            if id(ins) not in gone:
                with recording_for(ins.source):
                    result = ins.operation(*(read(values, i) for i in ins.inputs), **ins.params)
                values.update(zip(ins.outputs, result if ins.operation.several else (result,), strict=True))
        ends = [read(values, o) for k, o in enumerate(body.outputs) if k not in found]
        for sum_ in found.values():
            with recording_for(sum_.added.source):
                ends += [_factor(values, factor, sum_.condition) for factor in (sum_.u, sum_.v)]
        return graph.finish(body.name, ends)


def _factor(values: dict[Variable, Any], factor: Operand, condition: Operand | None) -> Any:
    """A factor as a vector, zero where nothing is added: what it is there may be anything."""
    flat = reshape(read(values, factor), shape=(prod(factor.shape),))
    return flat if condition is None else np.where(read(values, condition), flat, 0.0)


def _sum(body: Program, k: int) -> _Sum | None:
    """What a turn adds to the k-th carry, if that is an outer product, and the carry is needed for nothing else."""
    carry, made = body.inputs[k], {o: ins for ins in body for o in ins.outputs if not ins.operation.several}
    uses = Counter(i for i in (*(i for ins in body for i in ins.inputs), *body.outputs) if isinstance(i, Variable))
    added = made.get(body.outputs[k])  # type: ignore[arg-type]
    if len(carry.shape) != 2 or prod(carry.shape) <= LARGE or carry.dtype.kind != "f" or uses[carry] != 1:
        return None
    if added is None or added.operation.name != "add" or uses[added.outputs[0]] != 1 or carry not in added.inputs:
        return None
    (term,) = (i for i in added.inputs if i is not carry)
    condition, maker = None, made.get(term)  # type: ignore[arg-type]
    if (
        maker is not None
        and maker.operation.name == "where"
        and _is_zero(maker.inputs[2])
        and not maker.inputs[0].shape
    ):
        condition, maker = maker.inputs[0], made.get(maker.inputs[1])  # type: ignore[arg-type]
    if maker is None or maker.operation.name != "multiply" or maker.outputs[0].shape != carry.shape:
        return None
    u, v = maker.inputs
    u, v = (u, v) if _is_column(u, carry.shape) else (v, u)
    same = u.dtype == v.dtype == carry.dtype
    return _Sum(added, u, v, condition) if same and _is_column(u, carry.shape) and _is_row(v, carry.shape) else None


def _is_column(x: Operand, shape: tuple[int, ...]) -> bool:
    return x.shape == (shape[0], 1)


def _is_row(x: Operand, shape: tuple[int, ...]) -> bool:
    return x.shape in ((shape[1],), (1, shape[1]))


def _is_zero(x: Operand) -> bool:
    return isinstance(x, Constant) and not np.any(x.value)
