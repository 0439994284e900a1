"""Repeating numbers along axes, and its transpose, summing over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.operations.base import Linear, Operand, shape_of
from fwdgrad.program.operations.reductions import reduce_sum
from fwdgrad.program.operations.shapes import Free, reshape
from fwdgrad.program.trail import Trail, broadcast

__all__ = ["broadcast_to", "unbroadcast"]


class BroadcastTo(Free, Linear):
    """Repeated along new axes in front and along axes of size 1."""

    def evaluate(self, x: Any, *, shape: tuple[int, ...]) -> Any:
        return np.broadcast_to(x, shape)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        if np.broadcast_shapes(inputs[0].shape, params["shape"]) != params["shape"]:
            raise ValueError(f"shape {inputs[0].shape} cannot be broadcast to {params['shape']}")
        return (Abstract(params["shape"], inputs[0].dtype),)

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        return unbroadcast(g, shape_of(values[0]))

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """The same entries, repeated."""
        return [broadcast(trails[0], instruction.params["shape"])]

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        return operands[0] if params["shape"] == np.shape(operands[0]) else None


broadcast_to = BroadcastTo("broadcast_to")


def unbroadcast(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the axes along which an operand of `shape` was repeated."""
    have = shape_of(gradient)
    if have == shape:
        return gradient
    extra = len(have) - len(shape)
    axes = (*range(extra), *(k + extra for k, s in enumerate(shape) if s == 1 and have[k + extra] != 1))
    return reshape(reduce_sum(gradient, axes=axes), shape=shape)
