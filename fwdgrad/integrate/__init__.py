"""From a rate dh/dt = F(h, x, θ) and a step δt to a transition map h ↦ h(t + δt).

A method is a function (rate, h, δt) ↦ h' of traceable NumPy calls, so that its derivatives, and with them the influence
of the parameters, are those of the map that is executed. It takes one step of fixed size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwdgrad.errors import DeclarationError, did_you_mean
from fwdgrad.integrate.explicit import euler, heun, rk4
from fwdgrad.integrate.implicit import sdirk2

__all__ = ["DEFAULT", "METHODS", "euler", "heun", "rk4", "sdirk2", "step_map"]

Method = Callable[[Callable[[Any], Any], Any, Any], Any]

METHODS: dict[str, Method] = {method.__name__: method for method in (euler, heun, rk4, sdirk2)}
"""Every integrator, by name."""
DEFAULT = "rk4"
"""Where nothing is said. At the step of the samples, the error of Euler's is rarely below theirs."""


def step_map(method: str) -> Method:
    """The integrator called `method`.

    Raises:
        DeclarationError: there is none of that name.

    Example:
        >>> import numpy as np
        >>> step_map("rk4")(lambda h: -h, np.array([1.0]), 0.1)
        array([0.9048375])
    """
    if method not in METHODS:
        raise DeclarationError(f"method={method!r} is not an integrator. {did_you_mean(method, METHODS)}")
    return METHODS[method]
