"""A program at many points at once: each of its operations is called once, on arrays with an axis of points in front.

An operation on small arrays costs what calling NumPy costs, so hundreds of points take little more than one. What
depends on no point is computed once. An operation that has no rule here is executed point by point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.errors import ShapeError
from fwdgrad.program import operations as ops
from fwdgrad.program.instructions import Instruction, Variable
from fwdgrad.program.operations import Operand, Pointwise
from fwdgrad.program.program import Program, read
from fwdgrad.program.roots import ITERATIONS, quotient, settled

__all__ = ["at_points"]


def at_points(program: Program, arguments: Sequence[Any], count: int) -> tuple[np.ndarray, ...]:
    """The program's outputs at `count` points.

    Args:
        program: any program.
        arguments: per input an array of its shape, the same at all points, or one with an axis of points in front.
        count: N.

    Returns:
        One array (N, *shape) per output: what the program returns at each of the points, but for rounding. Where
        Newton's method does not converge it is NaN there, as it is for a point by itself.

    Cost: N times the memory of the program's intermediate results.

    Raises:
        ShapeError: an argument has neither the one shape nor the other.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, trace
        >>> from fwdgrad.program.points import at_points
        >>> vector = Abstract((2,), np.dtype(float))
        >>> program = trace(lambda h, w: (np.sum(h * w),), [vector, vector])
        >>> at_points(program, [np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.ones(2)], 3)
        (array([ 3.,  7., 11.]),)
    """
    values: dict[Variable, Any] = {}
    for number, (variable, argument) in enumerate(zip(program.inputs, arguments, strict=True)):
        values[variable] = np.asarray(argument)
        shape = values[variable].shape
        if shape not in (variable.shape, (count, *variable.shape)):
            raise ShapeError(
                f"{program.name} at {count} points: input {variable.name or number} has shape {variable.shape}, or "
                f"{(count, *variable.shape)} with a row for each point, got {shape}."
            )
    for instruction in program:
        operands = [read(values, i) for i in instruction.inputs]
        if any(map(_varies, operands, instruction.inputs)):
            results = _rule(instruction)(instruction, operands, count)
        else:
            made = instruction.operation.evaluate(*operands, **instruction.params)
            results = made if instruction.operation.several else (made,)
        values.update(zip(instruction.outputs, results, strict=True))
    return tuple(_everywhere(read(values, o), o, count) for o in program.outputs)


Rule = Callable[[Instruction, list[Any], int], Sequence[Any]]


def _rule(instruction: Instruction) -> Rule:
    """How an instruction is executed at all points."""
    name, params = instruction.operation.name, instruction.params
    if isinstance(instruction.operation, Pointwise):
        return _pointwise
    if name == "getitem" and any(entry[0] == "operand" for entry in params["index"]):
        return _one_by_one  # NumPy puts the axes of arrays in front of the others, or not
    return _RULES.get(name, _one_by_one)


def _varies(value: Any, operand: Operand) -> bool:
    """Whether a value has a row for each point."""
    return np.ndim(value) > len(operand.shape)


def _everywhere(value: Any, operand: Operand, count: int) -> Any:
    """A value with a row for each point."""
    return value if _varies(value, operand) else np.broadcast_to(value, (count, *operand.shape))


def _aligned(value: Any, operand: Operand, axes: int) -> Any:
    """A value that broadcasts to a result of so many axes, behind that of the points."""
    if not _varies(value, operand):
        return value
    return np.reshape(value, (len(value), *(1,) * (axes - len(operand.shape)), *operand.shape))


# ---------------------------------------------------------------- rules


def _pointwise(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    axes = len(ins.outputs[0].shape)
    return (
        ins.operation.evaluate(
            *(_aligned(v, i, axes) for v, i in zip(operands, ins.inputs, strict=True)), **ins.params
        ),
    )


def _reduced(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    return (ins.operation.evaluate(operands[0], axes=tuple(1 + k for k in ins.params["axes"])),)


def _reshaped(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    return (np.reshape(operands[0], (count, *ins.params["shape"])),)


def _transposed(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    return (np.transpose(operands[0], (0, *(1 + k for k in ins.params["axes"]))),)


def _broadcast(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    shape = ins.params["shape"]
    return (np.broadcast_to(_aligned(operands[0], ins.inputs[0], len(shape)), (count, *shape)),)


def _concatenated(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    parts = [_everywhere(v, i, count) for v, i in zip(operands, ins.inputs, strict=True)]
    return (np.concatenate(parts, 1 + ins.params["axis"]),)


def _taken(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    return (ops.getitem.evaluate(operands[0], index=(("slice", None, None, None), *ins.params["index"])),)


def _multiplied(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    """Vectors are matrices of one row or column; stacks of matrices are aligned like operands that are broadcast."""
    (a, b), (one, other) = operands, ins.inputs
    axes = max(len(one.shape), len(other.shape), 2)
    vector_a, vector_b = len(one.shape) == 1, len(other.shape) == 1
    a = _aligned(a, one, axes) if not vector_a else _stacked(a, one, (*(1,) * (axes - 1), *one.shape))
    b = _aligned(b, other, axes) if not vector_b else _stacked(b, other, (*(1,) * (axes - 2), *other.shape, 1))
    return (np.reshape(np.matmul(a, b), (count, *ins.outputs[0].shape)),)


def _stacked(value: Any, operand: Operand, shape: tuple[int, ...]) -> Any:
    """A vector as a matrix, at each point if it has a row for each."""
    return np.reshape(value, (len(value), *shape) if _varies(value, operand) else shape)


def _one_by_one(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    varies = list(map(_varies, operands, ins.inputs))
    made = []
    for k in range(count):
        here = (v[k] if each else v for v, each in zip(operands, varies, strict=True))
        made.append(ins.operation.evaluate(*here, **ins.params))
    return (np.stack(made),)


def _looped(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    """A loop, each turn of it at all points."""
    body, carried, rows = ins.params["body"], ins.params["carried"], ins.params["rows"]
    first = carried + rows
    given = list(zip(operands, ins.inputs, strict=True))
    carry = [_everywhere(v, i, count) for v, i in given[:carried]]
    table = [np.moveaxis(v, 1, 0) if _varies(v, i) else v for v, i in given[carried:first]]
    order = range(len(table[0]))
    made: list[Any] = [None] * len(order)
    for k in reversed(order) if ins.params["reverse"] else order:
        ends = at_points(body, [*carry, *(r[k] for r in table), *operands[first:]], count)
        carry, made[k] = list(ends[:carried]), ends[carried:]
    if not order:
        return (*carry, *(np.zeros((count, *o.shape), o.dtype) for o in ins.outputs[carried:]))
    return (*carry, *(np.stack(column, axis=1) for column in zip(*made, strict=True)))


def _solved(ins: Instruction, operands: list[Any], count: int) -> Sequence[Any]:
    """Newton's method (`fwdgrad.program.roots.newton`) at all points; one that has arrived stays where it is."""
    z = np.array(_everywhere(operands[0], ins.inputs[0], count))
    start, before = z.copy(), np.full(z.shape, np.inf)
    arrived, lost = np.zeros(count, bool), ~np.isfinite(z).all(axis=1)
    with np.errstate(all="ignore"):
        for _ in range(ITERATIONS):
            value, slopes = at_points(ins.params["body"], [z, *operands[1:]], count)
            step = _quotients(slopes, value, ins.params["band"])
            moving = ~(arrived | lost)
            z[moving] -= step[moving]
            lost |= moving & ~np.isfinite(step).all(axis=1)
            arrived |= moving & ~lost & settled(step, before, z, start)
            if (arrived | lost).all():
                break
            before = np.abs(step)
    z[~arrived] = np.nan
    return (z,)


def _quotients(slopes: np.ndarray, values: np.ndarray, band: tuple[int, int] | None) -> np.ndarray:
    """The solutions of linear equations, NaN where a matrix has no inverse."""
    try:
        if band is None:
            return np.linalg.solve(slopes, values[..., None])[..., 0]
    except np.linalg.LinAlgError:  # one of them has none
        pass
    made = np.full(values.shape, np.nan, values.dtype)
    for k, (matrix, right) in enumerate(zip(slopes, values, strict=True)):
        try:
            made[k] = quotient(matrix, right, band)
        except np.linalg.LinAlgError:
            continue
    return made


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("sum", "max", "min", "any", "all"), _reduced),
    "reshape": _reshaped,
    "transpose": _transposed,
    "broadcast_to": _broadcast,
    "concatenate": _concatenated,
    "getitem": _taken,
    "matmul": _multiplied,
    "stop_gradient": lambda ins, operands, count: operands,
    "scan": _looped,
    "root": _solved,
}
