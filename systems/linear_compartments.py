"""A drug in the body."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared

__all__ = ["linear_compartments"]

EQUATIONS = """
d gut/dt = dose - absorption*gut                                                       : mg/h
d blood/dt = absorption*gut + inward*tissue - (outward + elimination)*blood            : mg/h
d tissue/dt = outward*blood - inward*tissue                                            : mg/h
gut(0) = 100                          : mg
blood(0) = 0                          : mg
tissue(0) = 0                         : mg
param absorption = 1.2 in (0, inf)    : 1/h
param elimination = 0.25 in (0, inf)  : 1/h
param outward = 0.5 in (0, inf)       : 1/h
param inward = 0.3 in (0, inf)        : 1/h
param volume = 20 in (0, inf)         : l
input dose = 0                        : mg/h
output concentration = blood/volume   : mg/l
"""


def linear_compartments(dt: float = 0.1, method: str = "rk4", *, dtype: npt.DTypeLike = "float64") -> fg.EquationSystem:
    """A drug that is swallowed, gets into the blood, and from there into tissue and back, or out.

        dg/dt = u − k_a g,      db/dt = k_a g + k_in s − (k_out + k_e) b,      ds/dt = k_out b − k_in s

    A linear system with non-negative exchange: what leaves one compartment enters another, or the outside. Source: the
    two-compartment model with first-order absorption of any textbook of pharmacokinetics.

    Args:
        dt: time between two samples, in hours.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        A system with the input {dose}, the state {gut, blood, tissue} of which the concentration in the blood is
        observed, and the positive parameters absorption, elimination, outward, inward and volume.

    Example:
        Nothing is lost but by elimination:

        >>> import numpy as np
        >>> from fwdgrad import systems
        >>> states, _ = systems.linear_compartments().simulate({"dose": np.zeros(240)})
        >>> inside = sum(v[-1] for v in states.values())
        >>> print(round(100 - inside, 2), round(0.25 * 0.1 * states["blood"].sum(), 2))
        86.44 86.47
    """
    return declared(EQUATIONS, "linear-compartments", dt, method, dtype)
