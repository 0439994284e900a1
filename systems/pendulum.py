"""A pendulum."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["pendulum"]

EQUATIONS = """
d angle/dt = velocity                 : rad/s
d velocity/dt = torque - friction*velocity - g/length*sin(angle)   : rad/s²
angle(0) = 1                          : rad
velocity(0) = 0                       : rad/s
param g = 9.81 fixed                  : m/s²
param length = 1 in (0, inf)          : m
param friction = 0.1 in (0, inf)      : 1/s
input torque = 0                      : 1/s²
output angle                          : rad
"""


def pendulum(dt: float = 0.05, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """A pendulum of any amplitude, with friction and a torque.

        d²φ/dt² = u − f dφ/dt − (g/l) sin φ

    u is the torque divided by the moment of inertia. Without friction and torque (dφ/dt)²/2 − (g/l) cos φ stays what it
    is. Source: any textbook of mechanics.

    Args:
        dt: time between two samples, in seconds.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        A system with the input {torque}, the state {angle, velocity} of which the angle is observed, and the positive
        parameters length and friction. g is fixed.

    Example:
        >>> import numpy as np
        >>> from fwdgrad import systems
        >>> angle = systems.pendulum().simulate({"torque": np.zeros(400)}).outputs[:, 0]
        >>> print(np.abs(angle[:40]).max().round(2), np.abs(angle[-40:]).max().round(2))  # it comes to rest
        0.99 0.39
    """
    return declared(EQUATIONS, "pendulum", dt, method, dtype)
