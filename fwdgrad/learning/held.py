"""What a learner holds."""

from __future__ import annotations

from typing import Any

from fwdgrad.estimators import Estimator
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops import Loop, SilentLeaves
from fwdgrad.learning.step import Carry
from fwdgrad.learning.targets import Targets
from fwdgrad.optimizers import Optimizer
from fwdgrad.system import System

__all__ = ["Held"]


class Held:
    """What a `Learner` holds; see there."""

    system: System
    estimator: Estimator
    optimizer: Optimizer
    engine: str
    engine_reason: str
    streams: int | None
    note: dict[str, Any]
    _execution: Execution
    _loop: Loop
    _watch: SilentLeaves
    _targets: Targets
    _told: list[str]

    @property
    def steps(self) -> int:
        """Number of samples seen."""
        return self._loop.steps

    @property
    def _unpacked(self) -> Carry:
        return self._execution.unpack(self._loop.carry)
