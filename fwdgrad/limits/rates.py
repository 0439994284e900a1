"""Rates per unit of time: an optimizer for samples that are δt apart, which means the same for every δt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.optimizers import SGD, Evidence, InformationFilter, Informed, Setting
from fwdgrad.optimizers.rates import map_rate, rate_at

__all__ = ["InTime", "InformationPerTime", "per_time"]


def per_time(optimizer: Any, dt: float) -> Any:
    """The same optimizer for steps of δt, with what it is told read per unit of time.

    - `SGD(η)`: dθ/dt = −η g, by steps of η δt. A schedule is a function of the time, not of the number of the step.
    - `InformationFilter(…, fisher="exact")`: a loss is a density in time, so that a sample tells δt times what it would
      tell alone: dJ/dt = M − γ J and dθ/dt = −(J + Λ)⁻¹ g. Prior Λ and reported standard deviations mean what they
      always do. Decay γ and inflation α are rates: e^−γδt and e^αδt a step. (The filter takes γ below 1 only; choose
      the unit of time so, or give a schedule with values up to 1.)

    So when δt is halved (twice as many samples of the same signals), θ as a function of the time is unchanged to first
    order in δt.

    Args:
        optimizer: `SGD` or `InformationFilter`.
        dt: δt.

    Raises:
        DeclarationError: it is another one, whose updates are no rate (Adam divides by the size of g, which takes δt
            out again); fisher="outer", whose gᵀg shrinks as δt²; or δt is not a positive number.

    Example:
        >>> import fwdgrad as fg
        >>> from fwdgrad.limits import per_time
        >>> per_time(fg.SGD(0.5), 0.1)
        SGD(rate=0.05)
    """
    if not (isinstance(dt, (int, float)) and 0 < dt < math.inf):
        raise DeclarationError(f"per_time(dt=…): expected a positive number, got {dt!r}.")
    if isinstance(optimizer, SGD):
        return SGD(map_rate(lambda rate: InTime(rate, dt, dt) if callable(rate) else rate * dt, optimizer.rate))
    if isinstance(optimizer, InformationFilter):
        if optimizer.fisher == "outer":
            raise DeclarationError(
                "per_time: InformationFilter(fisher='outer') adds gᵀg, which has no rate in time. Use fisher='exact'."
            )
        return InformationPerTime(optimizer, float(dt))
    raise DeclarationError(f"per_time: expected an fg.SGD or an fg.InformationFilter, got {optimizer!r}.")


@dataclass(frozen=True)
class InTime:
    """A schedule of the step number from one of the time: factor · rate(k δt)."""

    rate: Callable[[Any], Any]
    dt: float
    factor: float = 1.0

    def __call__(self, t: Any) -> Any:
        """The rate at step t."""
        return self.factor * self.rate(self.dt * t)


@dataclass(frozen=True)
class _Decay:
    """1 − e^−γδt, of a rate γ per unit of time."""

    rate: Any
    dt: float

    def __call__(self, t: Any) -> Any:
        return -np.expm1(-self.dt * rate_at(self.rate, self.dt * t))


@dataclass(frozen=True)
class InformationPerTime:
    """An `InformationFilter` for samples that are δt apart; see `per_time`."""

    declared: InformationFilter
    dt: float

    def bind(self, setting: Setting) -> Informed:
        """The filter for a system."""
        decay, inflation = self.declared.decay, self.declared.inflation
        step = replace(
            self.declared,
            decay=_Decay(decay, self.dt) if callable(decay) else -math.expm1(-self.dt * decay),
            inflation=math.expm1(self.dt * inflation),
        )
        return _Bound(step.bind(setting), self.dt)

    def init(self, params: Any) -> Any:
        """The state before the first update, for parameters of which nothing else is known."""
        return self.bind(Setting.of(params)).init(params)

    def update(self, grads: Any, state: Any, params: Any) -> Any:
        """``(updates, new state)``, likewise."""
        return self.bind(Setting.of(params)).update(grads, state, params)


class _Bound:
    """A bound filter that is shown δt times the loss."""

    def __init__(self, inner: Any, dt: float) -> None:
        self._inner, self._dt = inner, dt
        self.noise, self.advice = inner.noise, inner.advice
        self.init, self.unobserved, self.metric = inner.init, inner.unobserved, inner.metric
        self.magnitude, self.variances = inner.magnitude, inner.variances

    def cotangents(self, prediction: Any, target: Any) -> Any:
        """Rows L with LᵀL = δt I."""
        rows = self._inner.cotangents(prediction, target)
        return rows * np.asarray(math.sqrt(self._dt), rows.dtype)

    def update(self, grads: Any, state: Any, params: Any, evidence: Evidence | None = None) -> Any:
        """Those of δt g."""
        scaled = {k: np.asarray(self._dt, g.dtype) * g for k, g in grads.items()}
        return self._inner.update(scaled, state, params, evidence)
