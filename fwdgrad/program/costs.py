"""Multiply-adds of a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fwdgrad.program.instructions import Instruction
from fwdgrad.program.program import Program

__all__ = ["calls", "length", "multiply_adds"]


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
    return sum(
        1 + instruction.operation.turns(instruction) * sum(map(calls, _bodies(instruction))) for instruction in program
    )


def _bodies(instruction: Instruction) -> list[Program]:
    """The programs that are executed by an instruction."""
    return [instruction.params["body"]] if "body" in instruction.params else []


def _cost(instruction: Instruction) -> int:
    own = instruction.operation.multiply_adds(instruction)
    return own + instruction.operation.turns(instruction) * sum(map(multiply_adds, _bodies(instruction)))
