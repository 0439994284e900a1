"""Ways of going through a stream: learning at every step, at the end of windows, or of the whole sequence."""

from __future__ import annotations

import numpy as np

from fwdgrad.execution import Execution
from fwdgrad.loops.base import Loop
from fwdgrad.loops.online import Online
from fwdgrad.loops.sliding import Windowed
from fwdgrad.loops.unbounded import Unbounded
from fwdgrad.windows import Sliding

__all__ = ["Loop", "loop_for"]


def loop_for(execution: Execution, generator: np.random.Generator) -> Loop:
    """The loop that the estimator's window asks for."""
    window = execution.estimator.window
    if not isinstance(window, Sliding):
        return Unbounded(execution, generator)
    return Online(execution, generator) if window.length == 1 else Windowed(execution, generator)
