"""Multiply-adds of a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fwdgrad.program.instructions import Instruction
from fwdgrad.program.program import Program

__all__ = ["calls", "length", "multiply_adds"]

_FREE = {"reshape", "transpose", "getitem", "broadcast_to", "stop_gradient", "concatenate"}
"""Operations that move numbers and compute none."""
_ITERATIONS = 5
"""What Newton's method usually takes."""


def multiply_adds(program: Program, outputs: Sequence[int] | None = None) -> int:
    """Multiplications with additions that one execution takes; a pointwise function counts one per entry.

    Args:
        program: any program.
        outputs: numbers of the outputs that are wanted; all of them unless given.
    """
    wanted = program.outputs if outputs is None else [program.outputs[k] for k in outputs]
    needed: set[Any] = set(wanted)
    total = 0
    for instruction in reversed(program.instructions):
        if not needed.isdisjoint(instruction.outputs):
            total += _cost(instruction)
            needed.update(instruction.inputs)
    return total


def length(program: Program) -> int:
    """Operations that the program is made of: those in loops count once."""
    return sum(1 + sum(map(length, _bodies(instruction))) for instruction in program)


def calls(program: Program) -> int:
    """Operations that one execution calls: those in loops count at every turn."""
    return sum(1 + _turns(instruction) * sum(map(calls, _bodies(instruction))) for instruction in program)


def _bodies(instruction: Instruction) -> list[Program]:
    """The programs that are executed by an instruction."""
    return [instruction.params["body"]] if "body" in instruction.params else []


def _turns(instruction: Instruction) -> int:
    """How often it executes them."""
    if instruction.operation.name == "scan":
        return instruction.inputs[instruction.params["carried"]].shape[0]
    return _ITERATIONS if instruction.operation.name == "root" else 1


def _cost(instruction: Instruction) -> int:
    name = instruction.operation.name
    size = max(math.prod(v.shape) for v in (*instruction.inputs, *instruction.outputs))
    if name in _FREE:
        return 0
    if name == "matmul":
        contracted = instruction.inputs[0].shape[-1]
        return math.prod(instruction.outputs[0].shape) * contracted
    if name == "einsum":
        letters = instruction.params["subscripts"].split("->")[0].split(",")
        sizes = {
            c: s
            for word, v in zip(letters, instruction.inputs, strict=True)
            for c, s in zip(word, v.shape, strict=True)
        }
        return math.prod(sizes.values())
    if name in ("inv", "det", "solve"):
        n = instruction.inputs[0].shape[-1]
        return n**3
    if name in ("cholesky_update", "solve_triangular"):
        return math.prod(instruction.inputs[1].shape) * instruction.inputs[0].shape[-1]
    if name == "scan":
        return _turns(instruction) * multiply_adds(instruction.params["body"])
    if name == "root":
        return _turns(instruction) * (multiply_adds(instruction.params["body"]) + instruction.inputs[0].shape[0] ** 3)
    return size
