"""A relaxation oscillator."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared, number

__all__ = ["van_der_pol"]

EQUATIONS = """
d x/dt = v
d v/dt = mu*(1 - x**2)*v - x
x(0) = 2
v(0) = 0
param mu = 1 in (0, inf)
"""


def van_der_pol(
    mu: float = 1.0, dt: float = 0.05, method: str = "rk4", *, dtype: npt.DTypeLike = "float64"
) -> fg.EquationSystem:
    """A relaxation oscillator: damped where it is large, driven where it is small.

        d²x/dt² = μ (1 − x²) dx/dt − x

    For large μ it is stiff: x creeps for a time of about 0.8 μ and then jumps within 1/μ. Explicit integrators would
    need steps below 1/μ all the time; ``method="sdirk2"`` does not (`examples/van_der_pol.py`, μ = 1000).

    Source: van der Pol 1926, "On relaxation-oscillations".

    Args:
        mu: μ, the declared value, above 0.
        dt: time between two samples.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        An autonomous system with the state {x, v}, both observed, and the positive parameter mu.

    Raises:
        DeclarationError: `mu` is not a number above 0.

    Example:
        The period for μ = 1 is 6.6633.

        >>> from fwdgrad import systems
        >>> x, _ = systems.van_der_pol(dt=0.066633).simulate(steps=500).outputs.T
        >>> print(abs(x[499] - x[399]) < 1e-3, abs(x[499] - x[429]) < 1e-3)
        True False
    """
    value = number("van_der_pol", "mu", mu)
    return declared(EQUATIONS.replace("mu = 1 ", f"mu = {value!r} "), "van-der-pol", dt, method, dtype)
