"""Learning at every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.learning.loops.base import Loop, Sample
from fwdgrad.learning.step.kinds import LEARN, TRANSIT

__all__ = ["Online"]


class Online(Loop):
    """Windows of one step: nothing is ever open."""

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """Transition, prediction, and, with a target, learning."""
        noise = self.noise.peek()
        if sample.observed:
            *carry, loss, prediction, health = self.execution.make(LEARN, self.carry, sample.x, sample.y, noise)
        else:
            *carry, loss, prediction, health = self.execution.make(TRANSIT, self.carry, sample.x, noise)
        self.check(health, carry, loss, sample.observed, sample.x)
        self.carry = tuple(carry)
        self.noise.advance()
        self.steps += 1
        return float(loss), prediction

    def finish(self) -> None:
        """Nothing is open."""

    def discard(self) -> None:
        """Nothing is open."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing more."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Nothing more."""
