"""Rates beside algebraic equations: dy/dt = f(y, z), 0 = g(y, z), with as many equations as unknowns z (index 1).

Explicit methods ask for rates at y, and z is solved for there: they integrate dy/dt = f(y, z(y)), and keep their order.
Implicit ones solve for both in their stages at once. Either way ∂z/∂θ is that of the implicit function theorem.

Source: U. M. Ascher and L. R. Petzold, Computer Methods for Ordinary Differential Equations and
Differential-Algebraic Equations (1998), ch. 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.program import root

__all__ = ["Constrained", "implicit_stage"]


@dataclass(frozen=True)
class Constrained:
    """A rate of h = (y, z), in any order, for the methods; called, it is that at z(y).

    Attributes:
        flow: h ↦ f(h), as long as h, and 0 for z.
        equations: h ↦ g(h), as long as z.
        places: where z stands in h.
    """

    flow: Callable[[Any], Any]
    equations: Callable[[Any], Any]
    places: np.ndarray

    def __call__(self, h: Any) -> Any:
        """f at y, where g = 0."""
        return self.flow(self.settled(h))

    def settled(self, h: Any) -> Any:
        """h with z such that g = 0, beginning at the z that it has."""
        return self._with(h, root(lambda z: self.equations(self._with(h, z)), h[self.places]))

    def stage(self, base: Any, length: Any, start: Any) -> Any:
        """h with y = base + length f(h), and g(h) = 0."""
        return root(lambda h: self._with(h - base - length * self.flow(h), self.equations(h)), start)

    def times(self, length: Any) -> Constrained:
        """The same in another unit of time."""
        return Constrained(lambda h: length * self.flow(h), self.equations, self.places)

    def _with(self, h: Any, z: Any) -> Any:
        merged = np.arange(h.shape[0])
        merged[self.places] = h.shape[0] + np.arange(len(self.places))
        return np.concatenate([h, z])[merged]


def implicit_stage(rate: Callable[[Any], Any], base: Any, length: Any, start: Any) -> Any:
    """The g near `start` with g = base + length f(g)."""
    if isinstance(rate, Constrained):
        return rate.stage(base, length, start)
    return root(lambda g: g - base - length * rate(g), start)
