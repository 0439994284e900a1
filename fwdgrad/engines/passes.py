"""A program rewritten so that large arrays are gone through less often.

- A number times a large array that is itself a product with something small, or a sum of such products, is multiplied
  with what is small: s·(u vᵀ + c W) is (s u) vᵀ + (s c) W.
- The sum of squares of an outer product is a product of sums of squares, ‖u vᵀ‖² = ‖u‖² ‖v‖²; that of an array of
  zeros with values at some places is that of the values.

Both change the order in which numbers are multiplied, and so the last digits. What was needed only to be multiplied or
squared is not made any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from fwdgrad.program import Abstract, Instruction, Program, Variable
from fwdgrad.program.instructions import Constant
from fwdgrad.program.operations import matmul, reshape
from fwdgrad.program.program import read
from fwdgrad.program.sources import recording_for
from fwdgrad.program.tracer import Graph

__all__ = ["fewer_passes"]

LARGE = 512
"""Arrays of no more entries than this are left as they are."""

Operand = Variable | Constant


def fewer_passes(program: Program) -> Program:
    """The same function with fewer operations on large arrays.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.program import Abstract, trace
        >>> vector = Abstract((100,), np.dtype(float))
        >>> program = trace(lambda u, v: (2.0 * np.outer(u, v),), [vector, vector])
        >>> [instruction.outputs[0].shape for instruction in program]
        [(100, 1), (1, 100), (100, 100), (100, 100)]
        >>> [instruction.outputs[0].shape for instruction in fewer_passes(program)]
        [(1, 100), (100,), (100, 1), (100, 100)]
    """
    for candidate, rule in ((_is_square, _Replay.norm), (_is_scaled, _Replay.product)):
        if _holds(program, candidate):
            program = _Replay(program, rule).run()
    return program


def _is_square(ins: Instruction) -> bool:
    return ins.operation is matmul and ins.inputs[0] is ins.inputs[1] and _size(ins.inputs[0]) > LARGE


def _is_scaled(ins: Instruction) -> bool:
    return ins.operation.name == "multiply" and () in (i.shape for i in ins.inputs) and _size(ins.outputs[0]) > LARGE


def _holds(program: Program, candidate: Callable[[Instruction], bool]) -> bool:
    """Whether there is something to look at, in the program or in the body of a loop; most programs have nothing."""
    return any(
        candidate(ins) or any(isinstance(v, Program) and _holds(v, candidate) for v in ins.params.values())
        for ins in program
    )


class _Replay:
    """A program recorded once more, with some instructions replaced.

    Args:
        program: what to record.
        rule: given an instruction, its result computed in a cheaper way; None if there is none.
    """

    def __init__(self, program: Program, rule: Callable[[_Replay, Instruction], Any]) -> None:
        self.program, self.rule = program, rule
        self.made = {o: ins for ins in program for o in ins.outputs if not ins.operation.several}
        used = [*(i for ins in program for i in ins.inputs), *program.outputs]
        self.uses = Counter(i for i in used if isinstance(i, Variable))
        self.values: dict[Variable, Any] = {}

    def run(self) -> Program:
        """The new program."""
        program = self.program
        with Graph() as graph:
            self.values.update(
                zip(
                    program.inputs,
                    (graph.input(Abstract(v.shape, v.dtype), v.name) for v in program.inputs),
                    strict=True,
                )
            )
            for ins in program:
                with recording_for(ins.source):
                    self._record(ins)
            return replace(
                graph.finish(program.name, [self.value(o) for o in program.outputs]), index_bounds=program.index_bounds
            )

    def _record(self, ins: Instruction) -> None:
        result = self.rule(self, ins)
        if result is None:
            params = {k: fewer_passes(v) if isinstance(v, Program) else v for k, v in ins.params.items()}
            result = ins.operation(*map(self.value, ins.inputs), **params)
        self.values.update(zip(ins.outputs, result if ins.operation.several else (result,), strict=True))

    def value(self, operand: Operand) -> Any:
        """An operand in the new program."""
        return read(self.values, operand)

    def _maker(self, operand: Operand) -> Instruction | None:
        """What made a large array."""
        large = isinstance(operand, Variable) and prod(operand.shape) > LARGE
        return self.made.get(operand) if large else None  # type: ignore[arg-type]

    def _reshaped(self, operand: Operand) -> tuple[Operand, tuple[int, ...]]:
        """What an array is a reshape of, and its shape: the same number times both is computed once."""
        shape = operand.shape
        while isinstance(operand, Variable) and operand in self.made and self.made[operand].operation is reshape:
            operand = self.made[operand].inputs[0]
        return operand, shape

    # ---- sums of squares

    def norm(self, ins: Instruction) -> Any:
        """x·x for an x that is made of something smaller."""
        if ins.operation is not matmul or ins.inputs[0] is not ins.inputs[1] or len(ins.inputs[0].shape) != 1:
            return None
        maker = self._maker(ins.inputs[0])
        return None if maker is None else self._squared(maker)

    def _squared(self, maker: Instruction) -> Any:
        """‖x‖² from the parts of x; None if it has none that are smaller."""
        x, name = maker.outputs[0], maker.operation.name
        if x.dtype.kind != "f":
            return None
        if name in ("reshape", "transpose"):
            source = self._maker(maker.inputs[0])
            return None if source is None else self._squared(source)
        if name == "multiply" and _apart(*maker.inputs):
            return self._sum_of_squares(maker.inputs[0], x.dtype) * self._sum_of_squares(maker.inputs[1], x.dtype)
        if name == "scatter_add" and _once(maker) and _size(maker.inputs[0]) < _size(x):
            return self._sum_of_squares(maker.inputs[0], x.dtype)
        return None

    def _sum_of_squares(self, operand: Operand, dtype: np.dtype) -> Any:
        operand, _ = self._reshaped(operand)
        flat = reshape(_typed(self.value(operand), dtype), shape=(_size(operand),))
        return matmul(flat, flat)

    # ---- products with a number

    def product(self, ins: Instruction) -> Any:
        """s·x for an x that is made of something smaller and is needed for nothing else."""
        if ins.operation.name != "multiply":
            return None
        for number, array in (ins.inputs, ins.inputs[::-1]):
            if number.shape == () and _fits(number, array, ins.outputs[0].dtype):
                scaled = self._scaled(self.value(number), array, number)
                if scaled is not None:
                    return scaled
        return None

    def _scaled(self, number: Any, array: Operand, operand: Operand) -> Any:
        """number · array without a pass over the array; None if it takes one."""
        maker = self._maker(array)
        if maker is None or self.uses[maker.outputs[0]] > 1:
            return None
        inputs, name = maker.inputs, maker.operation.name
        if not all(_fits(operand, i, maker.outputs[0].dtype) for i in inputs[:2] if name != "scatter_add"):
            return None
        match name:
            case "multiply":
                small, other = sorted(inputs, key=_size)
                if _size(small) == _size(maker.outputs[0]):
                    return None
                source, shape = self._reshaped(small)
                scaled = number * self.value(source)
                if shape == ():
                    further = self._scaled(scaled, other, small)
                    return scaled * self.value(other) if further is None else further
                return (scaled if shape == source.shape else reshape(scaled, shape=shape)) * self.value(other)
            case "add" | "subtract":
                parts = [self._scaled(number, i, operand) for i in inputs]
                return None if any(p is None for p in parts) else maker.operation(*parts)
            case "scatter_add" if _size(inputs[0]) < _size(maker.outputs[0]):
                rest = map(self.value, inputs[1:])
                return maker.operation(number * self.value(inputs[0]), *rest, **maker.params)
        return None


def _size(operand: Operand) -> int:
    return prod(operand.shape)


def _fits(number: Operand, array: Operand, dtype: np.dtype) -> bool:
    """Whether the product of the two, and every part of it, has this floating dtype."""
    weak = [isinstance(o, Constant) and o.weak for o in (number, array)]
    return dtype.kind == "f" and all(w or o.dtype == dtype for w, o in zip(weak, (number, array), strict=True))


def _apart(a: Operand, b: Operand) -> bool:
    """Whether no axis is longer than 1 in both: every entry of one meets every entry of the other."""
    length = min(len(a.shape), len(b.shape))
    pairs = zip(a.shape[len(a.shape) - length :], b.shape[len(b.shape) - length :], strict=True)
    return all(m == 1 or n == 1 for m, n in pairs)


def _once(maker: Instruction) -> bool:
    """Whether an index takes each place at most once."""
    return all(i.shape == () for i in maker.inputs[1:])


def _typed(value: Any, dtype: np.dtype) -> Any:
    """A Python number as an array."""
    return np.asarray(value, dtype) if isinstance(value, (int, float)) else value
