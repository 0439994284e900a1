"""A nerve cell."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["fitzhugh_nagumo"]

EQUATIONS = """
d v/dt = v - v**3/3 - w + current
d w/dt = epsilon*(v + a - b*w)
v(0) = -1.2
w(0) = -0.6
param a = 0.7
param b = 0.8
param epsilon = 0.08 in (0, inf)
input current = 0.5
output v
"""


def fitzhugh_nagumo(dt: float = 0.2, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """A nerve cell that is at rest, or fires when a current is put in.

        dv/dt = v − v³/3 − w + I,      dw/dt = ε (v + a − b w)

    v is the membrane's voltage, w its recovery. Between currents of about 0.33 and 1.42 it fires again and again.

    Source: FitzHugh 1961, "Impulses and physiological states in theoretical models of nerve membrane".

    Args:
        dt: time between two samples.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        A system with the input {current}, the state {v, w} of which v is observed, and the parameters a, b and epsilon.

    Example:
        >>> import numpy as np
        >>> from fwdgrad import systems
        >>> for current in (0.0, 0.5):
        ...     v = systems.fitzhugh_nagumo().simulate({"current": np.full(1000, current)}).outputs[:, 0]
        ...     print(current, np.count_nonzero((v[:-1] < 1) & (v[1:] >= 1)), "spikes")
        0.0 0 spikes
        0.5 5 spikes
    """
    return declared(EQUATIONS, "fitzhugh-nagumo", dt, method, dtype)
