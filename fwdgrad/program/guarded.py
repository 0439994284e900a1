"""Functions that compute a program, such that what NumPy refuses because of its values gets its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.errors import SingularMatrixError, StepError
from fwdgrad.program.program import Program
from fwdgrad.program.refusals import REFUSALS

__all__ = ["guarded", "refused"]


def guarded(function: Callable[..., tuple[Any, ...]], program: Program) -> Callable[..., tuple[Any, ...]]:
    """`function`, which computes `program` by NumPy calls, such that what NumPy refuses gets its name."""
    if not _may_refuse(program):
        return function

    def call(*arguments: Any) -> tuple[Any, ...]:
        try:
            return function(*arguments)
        except REFUSALS as error:
            refusal = refused(program, arguments, error)
            if refusal is error:
                raise
            raise refusal from error

    return call


def refused(program: Program, arguments: Sequence[Any], error: Exception | None = None) -> Exception:
    """Why `program` is refused at these arguments: found by doing it once more, operation by operation.

    Args:
        program: what was executed.
        arguments: its inputs.
        error: what NumPy said; None if it was not asked.
    """
    try:
        with np.errstate(all="ignore"):
            program.evaluate(arguments)
    except StepError as found:
        return found
    return error or SingularMatrixError(
        f"A matrix that {program.name!r} has to invert has no inverse to rounding.\n"
        "Its rows nearly depend on each other, for these parameters and this state. Start from others, bound the\n"
        "parameters, or add a small multiple of the identity, as in A + 1e-9 * np.eye(n)."
    )


def _may_refuse(program: Program) -> bool:
    for ins in program.instructions:
        if ins.operation.may_refuse(ins):
            return True
        if any(_may_refuse(body) for key, body in ins.params.items() if key in ("body", "residual")):
            return True
    return False
