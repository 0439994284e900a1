"""What NumPy refuses in the middle of a program because of its values, as errors that name the user's line.

There are three such things: an index out of range, a matrix without an inverse, and a negative power of an integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.errors import IndexRangeError, NonFiniteError, SingularMatrixError, StepError
from fwdgrad.program.instructions import Instruction, Source

__all__ = ["REFUSALS", "named", "while_executing"]

REFUSALS = (IndexError, np.linalg.LinAlgError, ValueError, ArithmeticError)
"""What NumPy raises."""


def named(error: Exception, source: Source | None) -> Exception:
    """NumPy's refusal as fwdgrad's, at a line of the user's; other errors as they are."""
    where = f"at {source}" if source else "in a step"
    text = str(error).strip().rstrip(".").split("\n")[0]
    if isinstance(error, StepError):
        return error
    if isinstance(error, IndexError) and "out of" in text:
        return IndexRangeError(
            f"An index is out of range, {where}: {text}.\n"
            "Of an axis of size n, indices are 0 … n − 1, and −n … −1 from its end. Keep it inside, as in\n"
            "table[np.clip(i, 0, n - 1)] or table[i % n], or mend what it is computed from."
        )
    if isinstance(error, np.linalg.LinAlgError):
        return SingularMatrixError(
            f"A matrix that has to be inverted has no inverse, {where}: {text}.\n"
            "Its rows depend on each other, for these parameters and this state. Start from others, bound the\n"
            "parameters, or add a small multiple of the identity, as in A + 1e-9 * np.eye(n)."
        )
    if isinstance(error, ArithmeticError):
        return NonFiniteError(
            f"A number stops being finite, {where}: {text}.\n"
            "Usual causes: a division by zero, a state that diverges, or weights that sum to zero.",
            quantity="a number",
        )
    if isinstance(error, ValueError) and "negative integer powers" in str(error):
        return NonFiniteError(
            f"An integer is raised to a negative power, {where}, which is no integer.\n"
            "Convert it first, as in n.astype(float) ** k.",
            quantity="a negative power of an integer",
        )
    return error


def while_executing(instruction: Instruction, values: Sequence[Any], error: Exception) -> Exception:
    """`named`, for one instruction and the values of its operands; says which index is out of range."""
    if isinstance(error, IndexError) and not isinstance(error, StepError):
        indexed = instruction.operation.indexed_axes(instruction.inputs, instruction.params)
        held = dict(zip(map(id, instruction.inputs), values, strict=True))
        for operand, size in indexed:
            index = np.asarray(held[id(operand)])
            wrong = index[(index < -size) | (index >= size)]
            if wrong.size:
                error = IndexError(f"index {wrong[0]} is out of bounds for an axis of size {size}")
                break
    return named(error, instruction.source)
