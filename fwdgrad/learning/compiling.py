"""When it pays to compile a step: by counts of what has been done, is about to be done, and would have to be compiled.

No clock is asked, so what is decided depends on the calls alone, and on what was compiled before. Whoever compiles as
soon as as much work has been done, or is known to come, as compiling takes, never spends more than twice the least
possible (the rule for renting or buying of Karlin et al., Algorithmica 3, 1988).
"""

from __future__ import annotations

from typing import Any

from fwdgrad.engines.registry import FAST
from fwdgrad.estimators.windows import Sliding, segment_of
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.step.kinds import ADVANCE, APPLY, BACKWARD, FORWARD, LEARN, TRANSIT, WALK
from fwdgrad.program import Program
from fwdgrad.program.costs import calls, multiply_adds

__all__ = ["compile_seconds", "predicted_seconds", "price", "seconds"]


def price(execution: Execution, missing: bool = False) -> tuple[float, str]:
    """What it takes to have the steps compiled, in seconds, about; and why it is what it is.

    Args:
        execution: the steps.
        missing: whether there are samples without a target, whose step is another one.
    """
    other = execution.on(FAST.name)
    if other is not None and other.has_compiled:
        return 0.0, "the step is compiled already"
    if FAST.is_known(execution.program(execution.streamed), execution.carried(execution.streamed)):
        return FAST.loading, "the step was compiled before"
    return compile_seconds(execution, missing), "the step is worth compiling"


def predicted_seconds(execution: Execution) -> float:
    """What a sample takes on the NumPy engine, roughly, by the calls and multiply-adds of all that is run for it.

    In a window, that is a step forward, and a share of the way back, of the update and of carrying the influence on.
    """
    first, *others = _programs(execution)
    window = execution.estimator.window
    if window == Sliding(1):
        return seconds(first)
    if isinstance(window, Sliding):
        stride = window.stride or window.length or execution.system.size
        return seconds(first) + sum(map(seconds, others)) / stride
    return 2 * seconds(first) + sum(map(seconds, others)) / segment_of(window)


def seconds(program: Program) -> float:
    """One execution on the NumPy engine, roughly: what surrounds it, each call of NumPy, and each multiply-add."""
    return 3e-5 + 8e-7 * calls(program) + 5e-10 * multiply_adds(program)


def compile_seconds(execution: Execution, missing: bool = False) -> float:
    """What compiling all that is run takes, roughly."""
    programs = [execution.program(kind) for kind in _compiled(execution)]
    programs += [execution.program(TRANSIT)] if missing and execution.streamed == LEARN else []
    return sum(map(FAST.seconds, programs))


def _compiled(execution: Execution) -> list[Any]:
    """What is compiled: a stream of steps or windows, one of the steps inside a window, and what ends other windows."""
    kind = execution.streamed
    if kind == WALK:
        return [kind, (BACKWARD, segment_of(execution.estimator.window)), APPLY]
    return [kind] if kind == LEARN else [kind, WALK]


def _programs(execution: Execution) -> list[Program]:
    """What NumPy runs for every sample, and then, in a longer window, what it runs at its end."""
    window = execution.estimator.window
    if window == Sliding(1):
        return [execution.program(LEARN)]
    steps = (window.length or execution.system.size) if isinstance(window, Sliding) else segment_of(window)
    ends = [execution.program(FORWARD), execution.program((BACKWARD, steps)), execution.program(APPLY)]
    if isinstance(window, Sliding) and execution.has_influence:
        ends.append(execution.program((ADVANCE, window.stride or steps)))
    return ends
