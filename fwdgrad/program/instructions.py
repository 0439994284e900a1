"""What programs are written in: variables and constants, core operations, and instructions that apply them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Abstract", "Constant", "Instruction", "Operand", "Operation", "Source", "Traced", "Variable"]


@dataclass(frozen=True)
class Abstract:
    """An array without values: its shape and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @staticmethod
    def of(value: Any) -> Abstract:
        """The abstraction of a concrete array or scalar."""
        array = np.asarray(value)
        return Abstract(array.shape, array.dtype)

    def __str__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"


@dataclass(frozen=True)
class Source:
    """Where in the user's code an operation was called."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


@dataclass(eq=False)
class Variable:
    """The value of a program's input or of one instruction's output, known by shape and dtype only."""

    shape: tuple[int, ...]
    dtype: np.dtype
    name: str | None = None


@dataclass(eq=False)
class Constant:
    """A value known when the program was written: an array, or a Python number (which takes its partner's dtype)."""

    value: Any

    @property
    def weak(self) -> bool:
        """Whether this is a Python number, whose dtype gives way to that of the arrays it meets (NEP 50)."""
        return type(self.value) in (bool, int, float, complex)

    @property
    def shape(self) -> tuple[int, ...]:
        return np.shape(self.value)

    @property
    def dtype(self) -> np.dtype:
        return np.asarray(self.value).dtype


Operand = Variable | Constant


class Traced:
    """What an operation is written down for when it is called with it; `graph` is the program being written."""

    __slots__ = ()
    graph: Any


@dataclass(frozen=True, eq=False)
class Operation:
    """One core operation. Subclasses implement `evaluate`, `infer` and `emit`."""

    name: str
    several = False
    """Whether it returns a tuple of arrays (loops only)."""

    def __call__(self, *operands: Any, **params: Any) -> Any:
        for operand in operands:
            if isinstance(operand, Traced):
                return operand.graph.record(self, operands, params)
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


@dataclass(eq=False)
class Instruction:
    """outputs = operation(*inputs, **params), called at `source`."""

    operation: Operation
    inputs: tuple[Variable | Constant, ...]
    params: dict[str, Any]
    outputs: tuple[Variable, ...]
    source: Source | None = None
