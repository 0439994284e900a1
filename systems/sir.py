"""An epidemic."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["sir"]

EQUATIONS = """
d S/dt = -infections                  : persons/day
d I/dt = infections - recoveries      : persons/day
d R/dt = recoveries                   : persons/day
infections = beta*S*I/N
recoveries = gamma*I
S(0) = 762
I(0) = 1
R(0) = 0
param beta = 1.7 in (0, inf)          : 1/day
param gamma = 0.45 in (0, inf)        : 1/day
param N = 763 fixed                   : persons
output I                              : persons
"""


def sir(dt: float = 0.25, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """An epidemic among N persons: susceptible, infected, recovered.

        dS/dt = −β S I / N,      dI/dt = β S I / N − γ I,      dR/dt = γ I

    S + I + R stays N, and ln S + β R / (γ N) stays what it is. The declared values are near those of the influenza in
    an English boarding school in 1978.

    Source: Kermack and McKendrick 1927, "A contribution to the mathematical theory of epidemics".

    Args:
        dt: time between two samples, in days.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        An autonomous system with the state {S, I, R} of which I is observed, and the positive parameters beta and
        gamma. N is fixed.

    Example:
        >>> from fwdgrad import systems
        >>> infected = systems.sir().simulate(steps=60).outputs[:, 0]
        >>> print(infected.argmax() * 0.25, round(infected.max()))  # the day of the peak
        6.0 293
    """
    return declared(EQUATIONS, "sir", dt, method, dtype)
