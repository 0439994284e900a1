"""A better integrator for the state, with the noise still on the sparse ∂F/∂θ of the rate.

The stages of a Runge–Kutta method mix: its B = ∂h'/∂θ is denser than ∂F/∂θ, and its rows take more products. Here A is
that of the method and B is replaced by δt ∂F/∂θ(h), as in Euler's method:

    G' = A G + δt ∂F/∂θ,      B − δt ∂F/∂θ = δt²/2 (J b + ḃ) + O(δt³)      with b = ∂F/∂θ, J = ∂F/∂h, ḃ = db/dt.

So each step is off by O(δt²), and G by O(δt) at a fixed time: order 1 again, with the constant of the first-order term
of B alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.limits.timed import Timed
from fwdgrad.linear import Row, Rows, TracedModel
from fwdgrad.linear.base import Leaves, MaterialisedJacobians

__all__ = ["RateNoiseLinearization", "RateNoiseModel"]


class RateNoiseModel:
    """The map of a method, linearised with the B of Euler's method. Everything else is that of the map.

    Args:
        timed: the system.
    """

    def __init__(self, timed: Timed) -> None:
        self._map, self._euler = TracedModel(timed.map), TracedModel(timed.euler)
        self.system, self.leaves, self.readout = timed.map, self._map.leaves, self._map.readout
        self.x_bounds, self.y_bounds = self._map.x_bounds, self._map.y_bounds
        self.patterns = None

    def fingerprints(self) -> dict[str, str]:
        """Those of the map."""
        return self._map.fingerprints()

    def linearize(self, h: Any, x: Any, params: Leaves) -> RateNoiseLinearization:
        """The transition at (h, x, θ)."""
        return RateNoiseLinearization(self._map.linearize(h, x, params), self._euler.linearize(h, x, params))

    def observe(self, h: Any, x: Any, y: Any, params: Leaves) -> Any:
        """Prediction and loss at h'."""
        return self._map.observe(h, x, y, params)

    def advance(self, h: Any, x: Any, params: Leaves) -> tuple[Any, Any]:
        """(h', ŷ)."""
        return self._map.advance(h, x, params)


class RateNoiseLinearization(MaterialisedJacobians):
    """A of one map, B of another."""

    def __init__(self, lin: Any, euler: Any) -> None:
        self._lin, self._euler = lin, euler
        self.value, self.leaves = lin.value, lin.leaves

    @property
    def patterns(self) -> None:
        """Not known."""

    def jvp(self, direction: Any, leaves: Leaves | None = None) -> Any:
        """A·direction + δt ∂F/∂θ·leaves."""
        along = self._lin.jvp(direction)
        return along if leaves is None else along + self._euler.jvp(np.zeros_like(direction), leaves)

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """(c·A, c·δt ∂F/∂θ)."""
        return self._lin.vjp(cotangent)[0], self._euler.vjp(cotangent)[1]

    def pull(self, cotangent: Any) -> tuple[Row, Leaves]:
        """The row c·A, and c·B of the map itself: the last step of a gradient stays exact."""
        return self._lin.pull(cotangent)

    def rows(self, sparse_only: bool = False) -> Rows:
        """The rows of δt ∂F/∂θ."""
        return self._euler.rows(sparse_only)
