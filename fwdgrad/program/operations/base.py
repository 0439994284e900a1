"""What kinds of core operations share."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fwdgrad.program.instructions import Instruction, Operand, Operation
from fwdgrad.program.trail import Trail, union_all

__all__ = ["Flat", "Linear", "Operand", "Operation", "is_floating", "ndim_of", "sample_dtype", "shape_of", "swapped"]


class Linear(Operation):
    """Linear in its first operand; the others are indices. It is its own forward rule."""

    additive = True

    def transpose(self, values: list[Any], g: Any, params: dict[str, Any]) -> Any:
        """The transpose, at the gradient of the result."""
        raise NotImplementedError(self.name)

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        """The same of the direction."""
        return None if directions[0] is None else self(directions[0], *values[1:], **params)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        """The transpose."""
        return self.transpose(values, g, params) if number == 0 else None


class Flat(Operation):
    """With a derivative that is zero. Its result depends on all sources for which that is no matter (`steady`)."""

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        """Nothing moves."""
        return None

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        """Nothing is passed on."""
        return None

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """Everything, for sources whose dependence also passes through operations without a derivative."""
        shape = instruction.outputs[0].shape
        whole = union_all([t.depends.everything(math.prod(shape)) for t in trails]).columns(steady)
        return [Trail(shape, whole, whole)]


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an array, a tracer or a Python number."""
    return x.shape if hasattr(x, "shape") else ()


def ndim_of(x: Any) -> int:
    """The number of its axes."""
    return len(shape_of(x))


def swapped(x: Any) -> Any:
    """The last two axes in the other order."""
    return np.swapaxes(x, -1, -2)


def is_floating(x: Any) -> bool:
    """Whether an array keeps its dtype when it meets a Python number."""
    return x.dtype.kind == "f"


@lru_cache(maxsize=4096)
def sample_dtype(function: Callable[..., Any], kinds: tuple[Any, ...], params: tuple[Any, ...] = ()) -> np.dtype:
    """The dtype of ``function(*operands, **params)``, found by calling it on ones.

    Args:
        function: any NumPy function.
        kinds: per operand its dtype, or ``bool``, ``int`` or ``float`` for a Python number.
        params: the sorted items of the keyword arguments.
    """
    samples = [kind(1) if isinstance(kind, type) else np.ones((), kind) for kind in kinds]
    with np.errstate(all="ignore"):
        return np.asarray(function(*samples, **dict(params))).dtype
