"""A driven oscillator."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["mass_spring_damper"]

EQUATIONS = """
d x/dt = v                            : m/s
d v/dt = (force - c*v - k*x)/m        : m/s²
x(0) = 1                              : m
v(0) = 0                              : m/s
param m = 1 fixed                     : kg
param c = 0.3 in (0, inf)             : N s/m
param k = 2 in (0, inf)               : N/m
input force = 0                       : N
output x                              : m
"""


def mass_spring_damper(dt: float = 0.05, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """A mass on a spring, damped and driven by a force.

        m d²x/dt² = u − c dx/dt − k x

    Only ratios can be known from x and u; so the mass is fixed. Source: any textbook of mechanics.

    Args:
        dt: time between two samples, in seconds.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        A system with the input {force}, the state {x, v} of which x is observed, and the positive parameters c and k.

    Example:
        Half a period, π/ω with ω² = k/m − (c/2m)², later:

        >>> import numpy as np
        >>> from fwdgrad import systems
        >>> half = np.pi / np.sqrt(2 - 0.15**2) / 50
        >>> states, _ = systems.mass_spring_damper(dt=half).simulate({"force": np.zeros(50)})
        >>> print(states["x"][-1].round(4), (-np.exp(-0.15 * 50 * half)).round(4))
        -0.7153 -0.7153
    """
    return declared(EQUATIONS, "mass-spring-damper", dt, method, dtype)
