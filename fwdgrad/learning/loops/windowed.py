"""Learning at the end of windows of a fixed number of steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fwdgrad.estimators.windows import Sliding
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.base import Loop, Sample
from fwdgrad.learning.loops.tape import Tape
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.step.kinds import ADVANCE, APPLY, BACKWARD, FORWARD
from fwdgrad.support.types import Flat

__all__ = ["Windowed"]


class Windowed(Loop):
    """Windows of T steps, moved by s steps; every s steps θ learns from the newest s losses.

    The influence kept is that of the state before the oldest step of the window. When the window moves, the steps that
    leave it are taken as one map and the influence is carried over them, at the parameters before the update.
    """

    def __init__(self, execution: Execution, noise: NoiseStream, carry: Flat) -> None:
        window = execution.estimator.window
        assert isinstance(window, Sliding)
        self._length = window.length or execution.system.size
        self._stride = window.stride or self._length
        self._tape = Tape(execution.system)
        self._new = 0
        super().__init__(execution, noise, carry)

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """Forward; after s steps, learn."""
        h, loss, prediction, health = self.execution.make(FORWARD, self.carry, sample.x, sample.y)
        loss = float(loss) if sample.observed else math.nan
        carry: Flat = (h, *self.carry[1:])
        self.check(health + loss if sample.observed else health, carry, loss, sample.observed, sample.x)
        self._tape.append(self.carry[0], sample)
        try:
            if self._new + 1 == self._stride:
                full = len(self._tape) == self._length
                carry = self._learn(carry, self._stride, self._stride if full else 0, loss)
                self._tape.drop(self._stride if full else 0)
                self._new = 0
            else:
                self._new += 1
        except BaseException:
            self._tape.pop()
            raise
        self.carry = carry
        self.steps += 1
        return loss, prediction

    def finish(self) -> None:
        """Learn from the losses that have not been learned from, and carry the influence over all steps."""
        if len(self._tape):
            self.carry = self._learn(self.carry, self._new, len(self._tape), math.nan)
        self.discard()

    def _learn(self, carry: Flat, new: int, leaving: int, loss: float) -> Flat:
        """The update from the newest losses, and the influence after the oldest steps."""
        execution, tape = self.execution.plain, self._tape
        made = carry
        observed = tape.observed.copy()
        observed[: len(tape) - new] = False
        if observed.any():
            segment = tape.segment(0, len(tape), self._length, states=tape.states, counted=observed)
            derivatives = execution.make((BACKWARD, self._length), carry, segment, execution.no_derivatives)
            *applied, health = execution.make(APPLY, carry, derivatives, [np.array(observed.sum(), float)])
            self.check(health, applied, loss, bool(tape.observed[-1]))
            made = tuple(applied)
        if leaving and execution.has_influence:
            value = carry[0] if leaving == len(tape) else tape.states[leaving]
            inputs = [column[:leaving] for column in tape.x]
            noise = self.noise.peek()
            *influence, health = execution.make(
                (ADVANCE, leaving), carry, [tape.states[:leaving]], inputs, [value], noise
            )
            made = execution.with_influence(made, influence)
            self.check(health, made, loss, bool(tape.observed[-1]))
            self.noise.advance()
        return made

    def discard(self) -> None:
        """Drop the steps of the window."""
        self._tape.clear()
        self._new = 0

    def arrays(self) -> dict[str, np.ndarray]:
        """The steps of the window."""
        return {"window_new": np.array(self._new), **self._tape.arrays()} if len(self._tape) else {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take them up."""
        self.discard()
        if "window_new" in arrays:
            self._tape.restore(arrays)
            self._new = int(arrays["window_new"])
