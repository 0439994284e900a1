"""Optimizers that leave θ as it is: one adds up the gradients it is given, the other keeps nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fwdgrad.support.types import Leaves

__all__ = ["Accumulate", "Nothing"]


@dataclass(frozen=True)
class Accumulate:
    """Its state is the sum of the gradients of some leaves, in double precision.

    The updates are 0·g: zero, unless the gradient is not finite. So a gradient that is not finite is noticed at the
    step that made it, as it is when learning.
    """

    leaves: tuple[str, ...]

    def init(self, params: Leaves) -> Leaves:
        """Zeros."""
        return {k: np.zeros(np.shape(params[k])) for k in self.leaves}

    def update(self, grads: Leaves, state: Leaves, params: Leaves) -> tuple[Leaves, Leaves]:
        """θ + 0·g, and the sums."""
        sums = {k: state[k] + grads[k].astype(np.float64) for k in self.leaves}
        return {k: 0.0 * g for k, g in grads.items()}, sums


@dataclass(frozen=True)
class Nothing:
    """For running the model alone."""

    def init(self, params: Leaves) -> tuple[()]:
        """Nothing."""
        return ()

    def update(self, grads: Leaves, state: tuple[()], params: Leaves) -> tuple[Leaves, tuple[()]]:
        """Nothing changes."""
        return {}, ()
