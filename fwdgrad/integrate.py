"""From a rate dh/dt = F(h, x, θ) and a step δt to a transition map h ↦ h(t + δt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwdgrad.errors import DeclarationError, did_you_mean

__all__ = ["METHODS", "step_map"]

Rate = Callable[[Any], Any]


def euler(rate: Rate, h: Any, dt: float) -> Any:
    """Explicit Euler: h + δt F(h). Local error O(δt²), global error O(δt)."""
    return h + dt * rate(h)


METHODS: dict[str, Callable[[Rate, Any, float], Any]] = {"euler": euler}
"""Every integrator, by name."""


def step_map(method: str) -> Callable[[Rate, Any, float], Any]:
    """The integrator called `method`.

    Raises:
        DeclarationError: there is none of that name.
    """
    if method not in METHODS:
        raise DeclarationError(f"method={method!r} is not an integrator. {did_you_mean(method, METHODS)}")
    return METHODS[method]
