"""How parameters enter a function: matrices that enter through a product z = Ŵ a, and all other uses.

What enters only through one product has ∂h'/∂Ŵ = D ⊗ a with D = ∂h'/∂z, which algorithms may exploit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from fwdgrad.program import Constant, Instruction, Program, Variable
from fwdgrad.program.colours import colour_rows

__all__ = ["Product", "ResultPattern", "Use", "uses_of"]


@dataclass(frozen=True, eq=False)
class Use:
    """A place where a parameter is used."""

    instruction: Instruction | None
    """None: it is handed on as it is, as the function's value."""

    def __str__(self) -> str:
        if self.instruction is None:
            return "as the value of F itself"
        where = f", at {self.instruction.source}" if self.instruction.source else ""
        return f"{self.instruction.operation.name}{where}"


@dataclass(frozen=True, eq=False)
class Product(Use):
    """A product z = Ŵ a: Ŵ is the matrix, or its transpose, and a is a vector.

    Attributes:
        axis: the axis of the matrix that is summed over: 1 for W @ a, 0 for a @ W and W.T @ a.
        factor: a; or the place at which a is 1 and else 0.
        selects: whether it is the place: z is a column R[:, x] or a row R[x].
        result: z, with m entries.
    """

    axis: int
    factor: Variable | Constant
    selects: bool
    result: Variable


def uses_of(program: Program, number: dict[str, int]) -> dict[str, tuple[Use, ...]]:
    """Every use of the inputs in `number` (name → number of the input), in the order of the program.

    A transposed matrix is looked through. Only products of a matrix with one vector count as products; a factor may
    have further axes of length 1.
    """
    flipped = {program.inputs[k]: (name, False) for name, k in number.items()}
    uses: dict[str, list[Use]] = {name: [] for name in number}
    for instruction in program.instructions:
        for place, operand in enumerate(instruction.inputs):
            if not isinstance(operand, Variable) or operand not in flipped:
                continue
            name, turned = flipped[operand]
            if instruction.operation.name == "transpose" and len(operand.shape) == 2:
                flipped[instruction.outputs[0]] = (name, not turned)
            else:
                uses[name].append(_product(instruction, place, turned) or Use(instruction))
    for output in program.outputs:
        if isinstance(output, Variable) and output in flipped:
            uses[flipped[output][0]].append(Use(None))
    return {name: tuple(found) for name, found in uses.items()}


def _product(instruction: Instruction, place: int, turned: bool) -> Product | None:
    """The use of operand `place` as the matrix of a product, if it is one."""
    operands, (result, *_) = instruction.inputs, instruction.outputs
    if len(operands) != 2 or len(operands[place].shape) != 2:
        return None
    factor = operands[1 - place]
    if instruction.operation.name == "getitem":
        index = list(instruction.params["index"])
        whole = ("slice", None, None, None)
        if place or factor.shape or sorted(map(len, index)) != [1, 4] or whole not in index:
            return None
        axis = index.index(("operand",))
        return Product(instruction, 1 - axis if turned else axis, factor, True, result)
    letters = _letters(instruction)
    if letters is None:
        return None
    mine, other, out = letters[place], letters[1 - place], letters[2]
    summed = [k for k, c in enumerate(mine) if c in other and c not in out]
    kept = [c for c in mine if c in out and c not in other]
    # the other axes of the factor, if it has any, must make no second vector of it
    if len(summed) != 1 or len(kept) != 1 or math.prod(factor.shape) != operands[place].shape[summed[0]]:
        return None
    return Product(instruction, 1 - summed[0] if turned else summed[0], factor, False, result)


_MATMUL = {(2, 1): ["ij", "j", "i"], (1, 2): ["i", "ij", "j"], (2, 2): ["ij", "jk", "ik"]}


def _letters(instruction: Instruction) -> list[str] | None:
    """Axes of the two operands and of the result of a product, one letter each."""
    if instruction.operation.name == "einsum":
        left, _, out = instruction.params["subscripts"].partition("->")
        return [*left.split(","), out]
    if instruction.operation.name == "matmul":
        return _MATMUL.get((len(instruction.inputs[0].shape), len(instruction.inputs[1].shape)))
    return None


@dataclass(frozen=True, eq=False)
class ResultPattern:
    """Where D = ∂h'/∂z can be non-zero, for a product z = Ŵ a: from the pattern of ∂h'/∂Ŵ = D ⊗ a.

    Args:
        leaf: pattern of ∂h'/∂Ŵ, (n, size of the matrix).
        shape: of the matrix.
        axis: see `Product`.
    """

    leaf: sp.csr_array
    shape: tuple[int, ...]
    axis: int

    @cached_property
    def pattern(self) -> sp.csr_array:
        """A boolean matrix (n, m)."""
        row, column = self.leaf.nonzero()
        place = np.unravel_index(column, self.shape)[1 - self.axis]
        key = np.unique(row.astype(np.int64) * self.shape[1 - self.axis] + place)
        row, place = np.divmod(key, self.shape[1 - self.axis])
        size = (self.leaf.shape[0], self.shape[1 - self.axis])
        return sp.csr_array((np.ones(len(row), bool), (row, place)), shape=size)

    @cached_property
    def colours(self) -> np.ndarray:
        """A colour for every row, such that rows of one colour share no column; −1 for empty rows."""
        return colour_rows(self.pattern)
