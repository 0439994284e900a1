"""Explicit Runge–Kutta methods. Their steps are bounded by the fastest rate of the system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["euler", "heun", "rk4"]

Rate = Callable[[Any], Any]


def euler(rate: Rate, h: Any, dt: Any) -> Any:
    """Explicit Euler, of order 1: h + δt f(h).

    Args:
        rate: f, h ↦ dh/dt.
        h: the state, a vector.
        dt: δt, a number, or an array without axes that may be traced.
    """
    return h + dt * rate(h)


def heun(rate: Rate, h: Any, dt: Any) -> Any:
    """Heun's method, of order 2: the mean of the rates at both ends of an Euler step. Arguments as in `euler`."""
    first = rate(h)
    second = rate(h + dt * first)
    return h + (dt / 2) * (first + second)


def rk4(rate: Rate, h: Any, dt: Any) -> Any:
    """The classical Runge–Kutta method, of order 4: four rates a step. Arguments as in `euler`."""
    first = rate(h)
    second = rate(h + (dt / 2) * first)
    third = rate(h + (dt / 2) * second)
    fourth = rate(h + dt * third)
    return h + (dt / 6) * (first + 2 * (second + third) + fourth)
