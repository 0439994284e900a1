"""The loop that an estimator's window and an engine ask for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fwdgrad.estimators.windows import Sliding
from fwdgrad.influence import NoiseSpec
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.loops.compiled import Compiled
from fwdgrad.learning.loops.compiled_windows import CompiledWindows
from fwdgrad.learning.loops.doubting import Doubting, doubts
from fwdgrad.learning.loops.online import Online
from fwdgrad.learning.loops.refitting import Refitting
from fwdgrad.learning.loops.sequence import CompiledSequence
from fwdgrad.learning.loops.unbounded import Unbounded
from fwdgrad.learning.loops.windowed import Windowed
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.optimizers import JointFilter
from fwdgrad.support.types import Flat

__all__ = ["loop_for", "noise_for", "noiseless"]


def _kind(execution: Execution) -> type[Loop]:
    window = execution.estimator.window
    if not isinstance(window, Sliding):
        return CompiledSequence if execution.streams else Unbounded
    if window.length != 1:
        return CompiledWindows if execution.streams else Windowed
    return Compiled if execution.streams else Online


def noise_for(execution: Execution) -> Sequence[NoiseSpec]:
    """The random numbers that the loop for an execution needs."""
    return _kind(execution).specs(execution)


def loop_for(execution: Execution, noise: NoiseStream, carry: Flat) -> Loop:
    """The loop that the estimator's window, the engine and the optimizer ask for."""
    loop = _kind(execution)(execution, noise, carry)
    if isinstance(execution.optimizer, JointFilter):
        return Refitting(loop, noiseless)
    return Doubting(loop, noiseless) if doubts(execution) else loop


def noiseless(execution: Execution) -> Loop:
    """A loop for an execution without random numbers."""
    return loop_for(execution, NoiseStream(np.random.default_rng(0), (), execution.system.dtype), execution.initial())
