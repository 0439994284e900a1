"""Predators and prey."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["lotka_volterra"]

EQUATIONS = """
d prey/dt = a*prey - b*prey*pred      : thousand/year
d pred/dt = d*prey*pred - c*pred      : thousand/year
prey(0) = 30                          : thousand
pred(0) = 4                           : thousand
param a = 0.55 in (0, inf)            : 1/year
param b = 0.028 in (0, inf)           : 1/year per thousand
param c = 0.84 in (0, inf)            : 1/year
param d = 0.026 in (0, inf)           : 1/year per thousand
"""


def lotka_volterra(dt: float = 0.1, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """Predators and prey, whose numbers go round and round.

        dx/dt = a x − b x y,      dy/dt = d x y − c y

    x is the prey, y the predators. Every orbit is closed: V = d x − c ln x + b y − a ln y stays what it is. The
    declared values are near those of the hares and lynxes of Canada, 1900 to 1920 (`examples/hare_lynx.py`).

    Source: Lotka 1925, "Elements of physical biology"; Volterra 1926.

    Args:
        dt: time between two samples, in years.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        An autonomous system with the state {prey, pred}, both observed, and the positive parameters a, b, c and d.

    Example:
        >>> from fwdgrad import systems
        >>> system = systems.lotka_volterra()
        >>> print(system.simulate(steps=100).outputs[-1].round(2))
        [26.45  4.13]
    """
    return declared(EQUATIONS, "lotka-volterra", dt, method, dtype)
