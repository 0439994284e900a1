"""Implicit Runge–Kutta methods, for stiff systems: what decays fast does not bound the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fwdgrad.integrate.constrained import implicit_stage

__all__ = ["sdirk2"]

Rate = Callable[[Any], Any]

GAMMA = 1 - math.sqrt(0.5)
"""The diagonal of both stages. The other root of the order conditions, 1 + √½, has 34 times its error constant."""


def sdirk2(rate: Rate, h: Any, dt: Any) -> Any:
    """The singly diagonally implicit Runge–Kutta method of two stages and order 2, with γ = 1 − √½.

    Its stages are g = h + γ δt f(g) and h' = h + (1 − γ)/γ (g − h) + γ δt f(h'), where g − h = γ δt f(g). The last one
    is the result. It is L-stable: a component that decays at a rate λ is damped at every step, and the more the larger
    λ δt is; explicit methods explode as soon as λ δt exceeds 2 or 3.

    Each stage is the root of an equation, found by Newton's method (`fwdgrad.program.root`); h' is NaN where that does
    not converge, which stops a run at that step with a NonFiniteError. A smaller step converges.

    Args:
        rate: f, h ↦ dh/dt.
        h: the state, a vector.
        dt: δt, a number, or an array without axes that may be traced.

    Cost: per stage four to six evaluations of f and its Jacobian, and as many solutions of n equations, dense or
        a band.

    Source: R. Alexander, Diagonally implicit Runge–Kutta methods for stiff O.D.E.'s, SIAM J. Numer. Anal. 14 (1977).
    """
    scaled = GAMMA * dt
    stage = implicit_stage(rate, h, scaled, h)
    base = h + ((1 - GAMMA) / GAMMA) * (stage - h)
    return implicit_stage(rate, base, scaled, stage)
