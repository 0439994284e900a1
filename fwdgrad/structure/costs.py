"""Multiply-adds of a program."""

from __future__ import annotations

import numpy as np

from fwdgrad.program import Instruction, Program

__all__ = ["multiply_adds"]

_FREE = {"reshape", "transpose", "getitem", "broadcast_to", "stop_gradient", "concatenate"}
"""Operations that move numbers and compute none."""


def multiply_adds(program: Program) -> int:
    """Multiplications with additions that one execution takes; a pointwise function counts one per entry."""
    return sum(_cost(instruction) for instruction in program.instructions)


def _cost(instruction: Instruction) -> int:
    name = instruction.operation.name
    size = max(int(np.prod(v.shape, dtype=int)) for v in (*instruction.inputs, *instruction.outputs))
    if name in _FREE:
        return 0
    if name == "matmul":
        contracted = instruction.inputs[0].shape[-1]
        return int(np.prod(instruction.outputs[0].shape, dtype=int)) * contracted
    if name == "einsum":
        letters = instruction.params["subscripts"].split("->")[0].split(",")
        sizes = {
            c: s
            for word, v in zip(letters, instruction.inputs, strict=True)
            for c, s in zip(word, v.shape, strict=True)
        }
        return int(np.prod(list(sizes.values()), dtype=int))
    if name in ("inv", "det", "solve"):
        n = instruction.inputs[0].shape[-1]
        return n**3
    if name == "scan":
        length = instruction.inputs[instruction.params["carried"]].shape[0]
        return length * multiply_adds(instruction.params["body"])
    return size
