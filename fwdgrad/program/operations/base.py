"""What a core operation is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fwdgrad.program.program import Abstract, Constant, Instruction, Variable

__all__ = ["Operand", "Operation", "sample_dtype"]

Operand = Variable | Constant


@dataclass(frozen=True, eq=False)
class Operation:
    """One core operation. Subclasses implement `evaluate`, `infer` and `emit`."""

    name: str
    several = False
    """Whether it returns a tuple of arrays (loops only)."""

    def __call__(self, *operands: Any, **params: Any) -> Any:
        from fwdgrad.program.tracer import Tracer, record

        for operand in operands:
            if isinstance(operand, Tracer):
                return record(self, operands, params)
        return self.evaluate(*operands, **params)

    def evaluate(self, *operands: Any, **params: Any) -> Any:
        """Execute on arrays, with NumPy."""
        raise NotImplementedError

    def infer(self, inputs: Sequence[Operand], params: dict[str, Any]) -> tuple[Abstract, ...]:
        """Shape and dtype of the result, or of each result. Operands that do not fit are a ValueError."""
        raise NotImplementedError

    def emit(self, arguments: Sequence[str], inputs: Sequence[Operand], params: dict[str, Any]) -> str:
        """NumPy source of the call, given the source of its operands. ``np`` and ``special`` are in scope."""
        raise NotImplementedError

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        """Operands used as an index, with the size of the axis each one indexes."""
        return iter(())

    def trimmed(self, instruction: Instruction, needed: set[Variable]) -> Instruction:
        """The instruction without what is made in it and not needed."""
        return instruction

    def __repr__(self) -> str:
        return self.name


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
