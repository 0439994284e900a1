"""Kennedy and Carpenter's singly diagonally implicit pair of orders 4 and 3, for stiff systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.integrate.adaptive import Pair
from fwdgrad.integrate.constrained import implicit_stage
from fwdgrad.program import scan
from fwdgrad.program.tracer import active_graph

__all__ = ["ESDIRK4"]

GAMMA = 0.25
STAGES = np.array(
    [
        [1 / 4, 0, 0, 0, 0, 0],
        [8611 / 62500, -1743 / 31250, 0, 0, 0, 0],
        [5012029 / 34652500, -654441 / 2922500, 174375 / 388108, 0, 0, 0],
        [15267082809 / 155376265600, -71443401 / 120774400, 730878875 / 902184768, 2285395 / 8070912, 0, 0],
        [82889 / 524892, 0, 15625 / 83664, 69875 / 102672, -2260 / 8211, 0],
    ]
)
"""What the implicit stages take of the increments at those before; each takes γ of its own. The last is the result."""
LOWER = np.array(
    [
        4586570599 / 29645900160, 0, 178811875 / 945068544, 814220225 / 1159782912, -3700637 / 11593932, 61727 / 225920,
    ]
)  # fmt: skip
"""Weights of the result of order 3."""
ERROR = np.append(STAGES[-1][:5], GAMMA) - LOWER


def attempt(rate: Callable[[Any], Any], h: Any, dt: Any) -> tuple[Any, Any]:
    """A step, and an estimate of its error: five implicit stages, each the root of n equations by Newton's method.

    Where it does not converge both are NaN, and the step is not accepted. The result is L-stable and stiffly accurate:
    what decays fast bounds no step.

    Source: C. A. Kennedy and M. H. Carpenter, Additive Runge–Kutta schemes for convection–diffusion–reaction equations,
    Appl. Numer. Math. 44 (2003): the implicit part of ARK4(3)6L[2]SA.
    """
    first = dt * rate(h)
    if active_graph() is None:  # on arrays, and on those of autograd
        made, stage = [first], h
        for weights in STAGES:
            base = h + _combined(weights, made)
            stage = implicit_stage(rate, base, GAMMA * dt, base + GAMMA * made[-1])
            made.append((stage - base) / GAMMA)
        return stage, _combined(ERROR, made)

    def turn(carry: Any, row: Any) -> tuple[Any, Any]:
        increments, before, _ = carry
        base = h + np.dot(row[0].astype(h.dtype), increments)
        stage = implicit_stage(rate, base, GAMMA * dt, base + GAMMA * before)
        now = (stage - base) / GAMMA
        return [increments + row[1].astype(h.dtype)[:, None] * now[None, :], now, stage], []

    (increments, _, stage), _ = scan(turn, [_rows(first), first, h], [STAGES, np.eye(6)[1:]])
    return stage, np.dot(ERROR.astype(h.dtype), increments)


def _rows(first: Any) -> Any:
    """The increments that are known: the first of six."""
    return np.eye(6, dtype=first.dtype)[0][:, None] * first[None, :]


def _combined(weights: Any, increments: list[Any]) -> Any:
    terms = [float(w) * r for w, r in zip(weights, increments, strict=False) if w]
    return sum(terms[1:], start=terms[0])


ESDIRK4 = Pair(attempt, order=4, stiff=True)
"""The implicit pair."""
