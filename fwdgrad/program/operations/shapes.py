"""Operations that move numbers without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Abstract
from fwdgrad.program.operations.base import Operand, Operation

__all__ = ["broadcast_to", "concatenate", "reshape", "stop_gradient", "transpose"]


class Reshape(Operation):
    """The same numbers in C order in another shape."""

    def evaluate(self, x: Any, *, shape: tuple[int, ...]) -> Any:
        return np.reshape(x, shape)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(params["shape"], inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.reshape({arguments[0]}, {params['shape']})"


reshape = Reshape("reshape")


class Transpose(Operation):
    """Axes in another order."""

    def evaluate(self, x: Any, *, axes: tuple[int, ...]) -> Any:
        return np.transpose(x, axes)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(tuple(inputs[0].shape[k] for k in params["axes"]), inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.transpose({arguments[0]}, {params['axes']})"


transpose = Transpose("transpose")


class BroadcastTo(Operation):
    """Repeated along new axes in front and along axes of size 1."""

    def evaluate(self, x: Any, *, shape: tuple[int, ...]) -> Any:
        return np.broadcast_to(x, shape)

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        if np.broadcast_shapes(inputs[0].shape, params["shape"]) != params["shape"]:
            raise ValueError(f"shape {inputs[0].shape} cannot be broadcast to {params['shape']}")
        return (Abstract(params["shape"], inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.broadcast_to({arguments[0]}, {params['shape']})"


broadcast_to = BroadcastTo("broadcast_to")


class Concatenate(Operation):
    """Joined along an existing axis."""

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

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return f"np.concatenate(({', '.join(arguments)},), {params['axis']})"


concatenate = Concatenate("concatenate")


class StopGradient(Operation):
    """The identity, whose derivative is taken to be zero."""

    def evaluate(self, x: Any) -> Any:
        return x

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        return (Abstract(inputs[0].shape, inputs[0].dtype),)

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        return arguments[0]


stop_gradient = StopGradient("stop_gradient")
