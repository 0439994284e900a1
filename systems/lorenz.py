"""Chaos."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["lorenz"]

EQUATIONS = """
d x/dt = sigma*(y - x)
d y/dt = x*(rho - z) - y
d z/dt = x*y - beta*z
x(0) = 1
y(0) = 1
z(0) = 20
param sigma = 10 in (0, inf)
param rho = 28 in (0, inf)
param beta = 8/3 in (0, inf)
output x
"""


def lorenz(dt: float = 0.01, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """Chaos: three variables that never repeat, of which one is observed.

        dx/dt = σ (y − x),      dy/dt = x (ρ − z) − y,      dz/dt = x y − β z

    Two simulations part by a factor e about every 1.1 units of time, so to learn from data the state has to follow
    them: ``system.replace(injection=[[0.1], [0.1], [0.0]])`` (`examples/lorenz.py`).

    Source: Lorenz 1963, "Deterministic nonperiodic flow".

    Args:
        dt: time between two samples.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        An autonomous system with the state {x, y, z} of which x is observed, and the positive parameters sigma, rho and
        beta.

    Example:
        >>> from fwdgrad import systems
        >>> states, _ = systems.lorenz().simulate(steps=5000)
        >>> print(round(states["z"].mean()), round(states["z"].max()))
        24 46
    """
    return declared(EQUATIONS, "lorenz", dt, method, dtype)
