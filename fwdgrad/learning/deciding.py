"""When a learner changes to compiled steps."""

from __future__ import annotations

from fwdgrad.engines.registry import FAST, NUMPY
from fwdgrad.learning.compiling import predicted_seconds, price
from fwdgrad.learning.execution import execution_for
from fwdgrad.learning.held import Held
from fwdgrad.learning.loops import loop_for

__all__ = ["Deciding"]


class Deciding(Held):
    """A `Learner` as what chooses between engines, if it is asked to."""

    _choose_engine: bool
    _each: float
    _pays_from: float

    def prepare(self, steps: int) -> None:
        """Get ready for a run of so many steps: with engine="auto", compile the step if that is worth while.

        It is as soon as what has been done, by all learners of equal system, estimator and optimizer in this process,
        and these steps take the NumPy engine as long as compiling takes, by a count of what a step computes; at once if
        the step is compiled already; and for a fifth of a second of work if its machine code lies on disk. `run` and
        `step` do this by themselves; `engine` and `engine_reason` tell what came of it.
        """
        if not self._choose_engine or self.engine != NUMPY.name:
            return
        if not FAST.is_available():
            self._choose_engine = False
            self.engine_reason = f"{FAST.needs}, which compiles long runs, is not installed: pip install {FAST.needs}"
            return
        execution = self._execution
        self._each = self._each or predicted_seconds(execution)
        self._pays_from, why = price(execution)
        if self._pays_from and execution.work + self._loop.foreseen(steps) * self._each < self._pays_from:
            self.engine_reason = "these steps are soonest done without compiling"
            return
        self._compile(why)

    def _count(self, steps: int) -> None:
        """So many steps have been made; think again when they have become enough."""
        self._execution.work += steps * self._each
        if self._execution.work >= self._pays_from:
            self.prepare(0)

    def _compile(self, why: str) -> None:
        """Go on with compiled steps."""
        execution = execution_for(self.system, self.estimator, self.optimizer, FAST.name)
        self._choose_engine = False
        if execution.engine != FAST.name:
            self.engine_reason = "the step cannot be compiled"
            return
        old, self._execution, self.engine, self.engine_reason = self._loop, execution, execution.engine, why
        self._loop = loop_for(execution, old.noise, old.carry)
        self._loop.steps, self._loop.feed = old.steps, old.feed
        self._loop.restore(old.arrays())
