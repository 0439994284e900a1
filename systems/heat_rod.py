"""A rod that conducts heat, as many cells."""

from __future__ import annotations

import numpy.typing as npt

import fwdgrad as fg

from ._parts import declared, whole

__all__ = ["heat_rod"]

EQUATIONS = """
d T/dt = diff(join(flow, 0)) + heat
flow = k*diff(join(left, T))
T(0) = repeat(0, CELLS)               : K
param k = repeat(0.2, CELLS) in (0, inf)
input left = 0                        : K
input heat = repeat(0, CELLS)         : K per unit of time
"""


def heat_rod(
    cells: int = 20, dt: float = 1.0, method: str = "euler", *, dtype: npt.DTypeLike = "float64"
) -> fg.EquationSystem:
    """A rod that conducts heat: the equation ∂T/∂t = ∂/∂z (k(z) ∂T/∂z) + q on a row of cells.

        dT_i/dt = k_{i+1} (T_{i+1} − T_i) − k_i (T_i − T_{i−1}) + q_i,      i = 1 … n,      k_{n+1} = 0

    Lengths are in cells, so k is in cells² per unit of time. T_0 is the temperature of what touches the left end, an
    input; the right end is insulated. The conductivity k_i is that between the cells i − 1 and i: a parameter feeds two
    state variables, a state variable three. Explicit steps have to be below 1/(2 max k).

    Source: the finite-volume form of Fourier's law.

    Args:
        cells: n, at least 2.
        dt: time between two samples.
        method: the integrator; see `fwdgrad.integrate`.
        dtype: float64 or float32.

    Returns:
        A system with the inputs {left, heat}, a number and an array (n); the state {T}, an array (n), all of it
        observed; and the positive parameter k, an array (n). A step costs O(n).

    Raises:
        DeclarationError: `cells` is not an integer of at least 2.

    Example:
        >>> import fwdgrad as fg
        >>> from fwdgrad import systems
        >>> structure = fg.analyze(systems.heat_rod(cells=1000))
        >>> structure.patterns.transition.state.nnz  # three diagonals
        2998
        >>> structure.choice.name
        'NoBackTrack'
    """
    n = whole("heat_rod", "cells", cells, least=2)
    return declared(EQUATIONS.replace("CELLS", str(n)), "heat-rod", dt, method, dtype)
