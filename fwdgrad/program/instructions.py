"""What programs are written in: variables and constants, core operations, and instructions that apply them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.program.trail import Trail

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
    """One core operation, with all that is known of it: value, shape, derivatives, pattern and cost.

    Subclasses implement `evaluate` and `infer`, and what else is true of them. How engines write it is theirs.
    """

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

    def indexed_axes(self, inputs: Sequence[Operand], params: dict[str, Any]) -> Iterator[tuple[Operand, int]]:
        """Operands used as an index, with the size of the axis each one indexes."""
        return iter(())

    def trimmed(self, instruction: Instruction, needed: set[Variable]) -> Instruction:
        """The instruction without what is made in it and not needed."""
        return instruction

    # ---- derivatives; rules work on arrays, and on tracers, where they write the derivative into the program

    def forward(self, values: list[Any], out: Any, directions: list[Any], params: dict[str, Any]) -> Any:
        """The result's tangent from those of the operands (None for one that does not move), or None for zero."""
        raise NotImplementedError(self.name)

    def backward(self, values: list[Any], out: Any, g: Any, number: int, params: dict[str, Any]) -> Any:
        """The gradient in operand `number` from that of the result, or None for zero."""
        raise NotImplementedError(self.name)

    additive = False
    """Whether the result depends on operands as on terms of a sum: linearly, or not at all."""
    loose = False
    """Whether the value may be infinite or NaN where the operands are finite."""
    kink = False
    """Whether what comes is multiplied by a partial derivative of 0 where a path is cut."""
    steep = ""
    """Where the derivative in the first operand is infinite at a finite value, in words; nothing if nowhere."""

    def linear_in(self, number: int) -> bool:
        """Whether the result is linear in an operand, the others held."""
        return self.additive

    # ---- what is known beforehand

    def follow(self, trails: list[Trail], instruction: Instruction, steady: np.ndarray) -> list[Trail]:
        """On what each entry of each result depends, from what is known of the operands (`fwdgrad.program.trail`).

        It never under-estimates. An operation without this rule depends on everything.
        """
        raise NotImplementedError(self.name)

    def multiply_adds(self, instruction: Instruction) -> int:
        """Multiplications with additions that one execution takes, without those of programs that it holds."""
        return max(math.prod(v.shape) for v in (*instruction.inputs, *instruction.outputs))

    def turns(self, instruction: Instruction) -> int:
        """How often a program that it holds is executed."""
        return 1

    def simplified(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        """An operand, or a cheaper call, that equals the call with these operands; None if there is none.

        Only identities that hold for every value, NaN and infinities included, are used (so x·0 stays, and x − x). The
        one exception is the sign of zero: x + 0 is x here, where NumPy turns −0 into +0; sums that begin with 0 are
        common.
        """
        return None

    def may_refuse(self, instruction: Instruction) -> bool:
        """Whether NumPy may refuse it because of the values it gets."""
        return False

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
