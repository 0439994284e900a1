"""Operations that move numbers without changing them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.dependence import stacked
from fwdgrad.program.instructions import Abstract, Instruction
from fwdgrad.program.operations.base import Flat, Linear, Operand, Operation, shape_of
from fwdgrad.program.trail import Trail, numbers

__all__ = ["Free", "concatenate", "reshape", "stop_gradient", "transpose"]


class Free(Operation):
    """Moves numbers and computes none."""

    def multiply_adds(self, instruction: Instruction) -> int:
        """None."""
        return 0


class Reshape(Free, Linear):
    """The same numbers in C order in another shape."""

    def evaluate(self, x: Any, *, shape: tuple[int, ...]) -> Any:
        return np.reshape(x, shape)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(params["shape"], inputs[0].dtype),)

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        return self(g, shape=shape_of(values[0]))

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """The same entries."""
        x = trails[0]
        return [Trail(instruction.params["shape"], x.depends, x.varies, x.zero)]

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        return operands[0] if params["shape"] == np.shape(operands[0]) else None


reshape = Reshape("reshape")


class Transpose(Free, Linear):
    """Axes in another order."""

    def evaluate(self, x: Any, *, axes: tuple[int, ...]) -> Any:
        return np.transpose(x, axes)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(tuple(inputs[0].shape[k] for k in params["axes"]), inputs[0].dtype),)

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        return self(g, axes=tuple(int(k) for k in np.argsort(params["axes"])))

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """The same entries in another order."""
        grid = np.transpose(numbers(trails[0].shape), instruction.params["axes"])
        return [trails[0].take(grid.ravel(), grid.shape)]

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        return operands[0] if params["axes"] == tuple(range(np.ndim(operands[0]))) else None


transpose = Transpose("transpose")


class Concatenate(Free):
    """Joined along an existing axis."""

    additive = True

    def evaluate(self, *operands: Any, axis: int) -> Any:
        return np.concatenate(operands, axis)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        axis = params["axis"]
        rest = {i.shape[:axis] + i.shape[axis + 1 :] for i in inputs}
        if len(rest) != 1:
            raise ValueError(f"only axis {axis} may differ in size: {[i.shape for i in inputs]}")
        size = sum(i.shape[axis] for i in inputs)
        shape = (*inputs[0].shape[:axis], size, *inputs[0].shape[axis + 1 :])
        return (Abstract(shape, np.result_type(*(i.dtype for i in inputs))),)

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        parts = zip(values, directions, strict=True)
        return self(*(np.zeros(shape_of(v), out.dtype) if d is None else d for v, d in parts), **params)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        axis = params["axis"]
        start = sum(shape_of(v)[axis] for v in values[:number])
        return g[(*(slice(None),) * axis, slice(start, start + shape_of(values[number])[axis]))]

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Entries of all operands, each from its own."""
        starts = np.cumsum([0, *(t.size for t in trails)])
        parts = [numbers(t.shape) + s for t, s in zip(trails, starts, strict=False)]
        grid = np.concatenate(parts, instruction.params["axis"])
        zero = np.concatenate([~t.nonzero for t in trails]) if any(t.zero is not None for t in trails) else None
        depends = stacked([t.depends for t in trails])
        same = all(t.varies is t.depends for t in trails)
        varies = depends if same else stacked([t.varies for t in trails])
        return [Trail((int(starts[-1]),), depends, varies, zero).take(grid.ravel(), grid.shape)]

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        """The call with known arrays that stand side by side joined beforehand."""
        if len(operands) == 1:
            return operands[0]
        joined: list[Any] = []
        for is_known, run in itertools.groupby(operands, lambda o: isinstance(o, np.ndarray)):
            parts = list(run)
            alike = is_known and len({p.dtype for p in parts}) == 1
            joined += [np.concatenate(parts, params["axis"])] if alike else parts
        return self(*joined, **params) if len(joined) < len(operands) else None


concatenate = Concatenate("concatenate")


class StopGradient(Free, Flat):
    """The identity, whose derivative is taken to be zero."""

    def evaluate(self, x: Any) -> Any:
        return x

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, inputs[0].dtype),)


stop_gradient = StopGradient("stop_gradient")
