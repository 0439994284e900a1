"""Two tanks of water."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["cascaded_tank"]

EQUATIONS = """
d upper/dt = k2*pump - k1*root_upper
d lower/dt = k3*root_upper - k4*root_lower
root_upper = sqrt(max(upper, 1e-6))
root_lower = sqrt(max(lower, 1e-6))
upper(0) = 4                          : cm
lower(0) = 4                          : cm
param k1 = 0.06 in (0, inf)
param k2 = 0.05 in (0, inf)
param k3 = 0.06 in (0, inf)
param k4 = 0.05 in (0, inf)
input pump = 2                        : V
output lower                          : cm
"""


def cascaded_tank(dt: float = 4.0, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """Two tanks of water, one above the other: a pump fills the upper one, which drains into the lower one.

        dh₁/dt = k₂ u − k₁ √h₁,      dh₂/dt = k₃ √h₁ − k₄ √h₂

    Only the lower level is observed. Source: Torricelli's law; the benchmark of Schoukens et al. 2016 ("Cascaded tanks
    benchmark combining soft and hard nonlinearities"), without its overflow, with declared values of our own. Roots are
    those of 10⁻⁶ at least, because the slope of √h has no bound.

    Args:
        dt: time between two samples, in seconds.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        A system with the input {pump}, the state {upper, lower} of which the lower level is observed, and the positive
        parameters k1 to k4.

    Example:
        At rest the levels are (k₂ u/k₁)² and (k₂ k₃ u/(k₁ k₄))².

        >>> import numpy as np
        >>> from fwdgrad import systems
        >>> states, _ = systems.cascaded_tank().simulate({"pump": np.full(500, 2.4)})
        >>> print(states["upper"][-1].round(4), states["lower"][-1].round(4))
        4.0 5.76
    """
    return declared(EQUATIONS, "cascaded-tank", dt, method, dtype)
