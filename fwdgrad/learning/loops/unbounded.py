"""Learning at the end of a whole sequence, or after a random number of steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fwdgrad.estimators.windows import RandomEnd, WholeSequence, segment_of
from fwdgrad.influence import NoiseSpec
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.base import Loop, Sample
from fwdgrad.learning.loops.tape import Column, Tape
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.step.kinds import APPLY, BACKWARD, FORWARD, REPLAY
from fwdgrad.support.types import Flat

__all__ = ["Unbounded"]


class Unbounded(Loop):
    """A window without a fixed length, gone back through in segments.

    With checkpoints, only the states at multiples of a spacing are stored. Whenever there are twice as many of them as
    steps between them, every other one is dropped and the spacing doubles: of T steps at most 2√T + 2 states are held,
    and another √(2T) + 1 while a segment between two of them is computed again.
    """

    def __init__(self, execution: Execution, noise: NoiseStream, carry: Flat) -> None:
        window = execution.estimator.window
        assert isinstance(window, (WholeSequence, RandomEnd))
        self._thin = isinstance(window, WholeSequence) and window.checkpoints
        self._probability = window.probability if isinstance(window, RandomEnd) else 0.0
        self._tape = Tape(execution.system, with_states=False)
        self._states = Column((execution.system.size,), execution.system.dtype)
        self._spacing = 1
        self._segment = segment_of(window)
        super().__init__(execution, noise, carry)

    @staticmethod
    def specs(execution: Execution) -> Sequence[NoiseSpec]:
        """One number a step decides whether the window ends there."""
        return [NoiseSpec("uniform", ())] if isinstance(execution.estimator.window, RandomEnd) else []

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """Forward; if the window ends here, learn."""
        h, loss, prediction, health = self.execution.make(FORWARD, self.carry, sample.x, sample.y)
        loss = float(loss) if sample.observed else math.nan
        carry: Flat = (h, *self.carry[1:])
        self.check(health + loss if sample.observed else health, carry, loss, sample.observed, sample.x)
        stores = len(self._tape) % self._spacing == 0
        self._tape.append(None, sample)
        if stores:
            self._states.append(self.carry[0])
        if self._probability and self.noise.peek()[0] < self._probability:
            try:
                carry = self._learn(carry, loss)
            except BaseException:
                self._tape.pop()
                self._states.pop()
                raise
            self.discard()
        self._thin_out()
        self.carry = carry
        self.noise.advance()
        self.steps += 1
        return loss, prediction

    def _thin_out(self) -> None:
        """Drop every other checkpoint, if there are too many."""
        if self._thin and len(self._states) == 2 * self._spacing:
            self._states.keep(slice(None, None, 2))
            self._spacing *= 2

    def finish(self) -> None:
        """Learn from the sequence."""
        if len(self._tape):
            self.carry = self._learn(self.carry, math.nan)
        self.discard()

    def _learn(self, carry: Flat, loss: float) -> Flat:
        """Back through all segments, then one update."""
        tape = self._tape
        if not tape.observed.any():
            return carry
        # what survived an end that might have been is divided by the chance that it survived
        factor = 1.0 / (1.0 - self._probability)
        derivatives = self.execution.no_derivatives
        for start, stop, length, states in self._segments(carry):
            segment = tape.segment(start, stop, length, states, tape.observed[start:stop], factor)
            derivatives = self.execution.make((BACKWARD, length), carry, segment, derivatives)
        *made, health = self.execution.make(APPLY, carry, derivatives, [np.array(tape.observed.sum(), float)])
        self.check(health, made, loss, bool(tape.observed[-1]))
        return tuple(made)

    def _segments(self, carry: Flat) -> Iterator[tuple[int, int, int, np.ndarray]]:
        """From the last to the first: its first step, the step after its last, the rows to fill, its states."""
        total = len(self._tape)
        length = self._spacing if self._thin else self._segment
        for start in range((total - 1) // length * length, -1, -length):
            stop = min(start + length, total)
            if self._thin:
                alive, inputs = self._tape.alive(stop - start, length), self._tape.inputs(start, stop, length)
                before = (self._states.rows[start // length], *carry[1:])
                (states,) = self.execution.make((REPLAY, length), before, inputs, [alive])
                yield start, stop, length, states[: stop - start]
            else:
                yield start, stop, length, self._states.rows[start:stop]

    def discard(self) -> None:
        """Drop the sequence."""
        self._tape.clear()
        self._states.keep(slice(0, 0))
        self._spacing = 1

    def arrays(self) -> dict[str, np.ndarray]:
        """The sequence so far."""
        if not len(self._tape):
            return {}
        return {"spacing": np.array(self._spacing), "states": self._states.rows, **self._tape.arrays()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take it up."""
        self.discard()
        if "spacing" in arrays:
            self._tape.restore(arrays)
            self._states.replace(arrays["states"])
            self._spacing = int(arrays["spacing"])
