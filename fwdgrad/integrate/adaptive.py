"""Steps of the size that a tolerance asks for, between two samples: the control of an embedded pair of methods.

A step is made by two methods of different orders at once. Their difference, measured in units of the tolerance, decides
whether it is accepted, and how long the next one is:

    ‖e‖ = √(mean_i (e_i / (atol_i + rtol max(|h_i|, |h'_i|)))²) ≤ 1,    δt ← δt · min(5, max(0.2, 0.9 ‖e‖^(−1/q)))

with q the higher order of the two estimates that e is a difference of (Hairer, Nørsett & Wanner 1993, II.4).

The steps are a loop with a derivative, `fwdgrad.program.until`, which holds their sizes fixed: ∂h/∂θ is that of the map
that is executed. Tolerances bind the state; the influence is as exact as the steps that this asks for make it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from autograd.tracer import getval, isbox

from fwdgrad.integrate.constrained import Constrained
from fwdgrad.program import until
from fwdgrad.program.array import is_tracer

__all__ = ["Clock", "Pair", "adaptive"]

Rate = Callable[[Any], Any]

SAFETY, LEAST, LARGEST = 0.9, 0.2, 5.0
"""Of the next step: a part of what the error allows, and the least and largest change."""
COLLAPSED = 16
"""A step of fewer units in the last place of the time between samples than this does not advance any more."""
BEGIN = 0.05
"""Of its size that the state changes by in the first step."""


class Pair(NamedTuple):
    """An embedded pair.

    Attributes:
        attempt: (rate, h, δt) ↦ h' and an estimate of its error, with arithmetic alone.
        order: q, the order of the local error that is estimated.
        stiff: whether steps need not follow what decays.
    """

    attempt: Callable[[Rate, Any, Any], tuple[Any, Any]]
    order: int
    stiff: bool


class Clock(NamedTuple):
    """What decides on steps; times are parts of the time between samples."""

    done: Any
    """1 after the last step."""
    accepted: Any
    """1 after a step that was."""
    time: Any
    step: Any
    """The next one."""
    tried: Any
    growth: Any
    """The largest factor for the next but one: 1 after a step that was not accepted."""

    @classmethod
    def of(cls, numbers: Any) -> Clock:
        """A vector of them by name."""
        return cls(*(numbers[k] for k in range(6)))


def adaptive(pair: Pair, rate: Rate, h: Any, dt: Any, rtol: float, atol: Any, most: int) -> Any:
    """h(t + δt), by as many steps as the tolerances ask for; NaN where these cannot be met.

    Args:
        pair: the method.
        rate: f, h ↦ dh/dt.
        h: the state, a vector.
        dt: δt, the time between samples, a number, or an array without axes that may be traced.
        rtol: relative tolerance of each step.
        atol: absolute tolerance, one number or one for each state variable.
        most: steps that are tried at most.

    Cost: what the method's stages cost, in each step that is tried; derivatives see `fwdgrad.program.until`.
    """
    dtype = np.dtype(getattr(_plain(h), "dtype", float))
    smallest = COLLAPSED * float(np.finfo(dtype).eps)

    def whole(z: Any) -> Any:
        return dt * rate(z)

    scaled = rate.times(dt) if isinstance(rate, Constrained) else whole

    def turn(z: Any, numbers: Any) -> tuple[Any, Any]:
        clock = Clock.of(numbers)
        left = 1.0 - clock.time
        last = clock.step >= left
        step = np.where(last, left, clock.step)
        after, error = pair.attempt(scaled, z, step)
        plain, ratio = _plain(after), _plain(error)
        scale = atol + rtol * np.maximum(np.abs(_plain(z)), np.abs(plain))
        ratio = np.sqrt(np.mean((ratio / scale) ** 2))
        accepted = ratio <= 1.0  # not where it is no number
        factor = SAFETY * np.maximum(ratio, 1e-8) ** (-1.0 / pair.order)
        factor = np.where(ratio < np.inf, np.minimum(np.maximum(factor, LEAST), clock.growth), LEAST)
        tried = clock.tried + 1.0
        failed = np.where(accepted, ~last & (tried >= most), (step * factor < smallest) | (tried >= most))
        ends = Clock(
            np.where((accepted & last) | failed, 1.0, 0.0),
            np.where(accepted, 1.0, 0.0),
            np.where(accepted, clock.time + step, clock.time),
            step * factor,
            tried,
            np.where(accepted, LARGEST, 1.0),
        )
        chosen = _chosen(failed, np.nan, _chosen(accepted, after, z))
        return chosen, np.stack([np.asarray(v) if not is_tracer(v) else v for v in ends]).astype(dtype)

    with np.errstate(all="ignore"):
        return until(turn, h, _begun(scaled, h, rtol, atol, dtype), most)


def _begun(scaled: Rate, h: Any, rtol: float, atol: Any, dtype: Any) -> Any:
    """The first clock: Euler's step would change the state by a twentieth, or by a tolerance if that is more."""
    plain = _plain(h)
    scale = atol + rtol * np.abs(plain)
    size, speed = (np.sqrt(np.mean((v / scale) ** 2)) for v in (plain, _plain(scaled(h))))
    step = np.minimum(np.maximum(BEGIN * size, 1.0) / np.maximum(speed, 1e-30), 1.0)
    step = np.where(step > 0, step, 1e-3)  # of a rate that is not finite
    zero = step * 0.0
    return np.stack([zero, zero, zero, step, zero, zero + LARGEST]).astype(dtype)


def _plain(value: Any) -> Any:
    """What autograd differentiates as an array: step sizes are held fixed."""
    while isbox(value):
        value = getval(value)
    return value


def _chosen(condition: Any, value: Any, other: Any) -> Any:
    """One of two, by a condition that is traced or known."""
    if is_tracer(condition):
        return np.where(condition, value, other)
    return value + 0.0 * other if condition else other
