"""Dormand and Prince's pair of orders 5 and 4, for systems that are not stiff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwdgrad.integrate.adaptive import Pair

__all__ = ["DOPRI5"]

STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""What each stage after the first takes of the rates at those before; the last one is the result of order 5."""
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""What the result of order 5 differs from that of order 4 by."""


def attempt(rate: Callable[[Any], Any], h: Any, dt: Any) -> tuple[Any, Any]:
    """A step, and an estimate of its error: seven rates.

    Source: J. R. Dormand and P. J. Prince, A family of embedded Runge–Kutta formulae, J. Comp. Appl. Math. 6 (1980).
    """
    rates = [rate(h)]
    after = h
    for weights in STAGES:
        after = h + dt * _combined(weights, rates)
        rates.append(rate(after))
    return after, dt * _combined(ERROR, rates)


def _combined(weights: tuple[float, ...], rates: list[Any]) -> Any:
    terms = [w * r for w, r in zip(weights, rates, strict=True) if w]
    return sum(terms[1:], start=terms[0])


DOPRI5 = Pair(attempt, order=5, stiff=False)
"""The explicit pair."""
