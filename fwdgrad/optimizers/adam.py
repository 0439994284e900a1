"""Adam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwdgrad.optimizers.base import Arrays, BySamples, cast, check_grads, check_params, decay, positive
from fwdgrad.optimizers.rates import Rates, check_leaves, checked_rate, rates_at
from fwdgrad.support.arguments import suggests

__all__ = ["Adam", "AdamState"]


class AdamState(NamedTuple):
    """State of `Adam`.

    Attributes:
        t: number of updates made, a float64 scalar.
        samples: number of samples learned from, likewise.
        m: moving averages of the gradients, each with the shape and dtype of its parameter.
        v: moving averages of the squared gradients, likewise.
    """

    t: NDArray[Any]
    samples: NDArray[Any]
    m: Arrays
    v: Arrays


@suggests
@dataclass(frozen=True)
class Adam(BySamples):
    """Adam: steps along an average gradient, each coordinate divided by the root mean square of its gradients.

        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        θ ← θ − η_t m̂ / (√v̂ + ε),   m̂ = m / (1 − β₁ᵗ),   v̂ = v / (1 − β₂ᵗ)

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1. The bias corrections
    are folded into two scalars, which changes nothing but the rounding: with r = √(1 − β₂ᵗ) the step is
    −(η_t r / (1 − β₁ᵗ)) m / (√v + ε r).

    Cost for p parameters: one pass that reads g, m, v and writes m, v and the update; memory 2p.

    Args:
        rate: η, a finite number > 0 or a function of the number t = 1, 2, … of samples learned from
            (see `fwdgrad.optimizers.schedules`); or one of these for each learned leaf, as a dict by name or a list in
            order of declaration.
        beta1: β₁, in [0, 1).
        beta2: β₂, in [0, 1).
        eps: ε, a finite number > 0.

    Raises:
        DeclarationError: a field is not as above; at ``init``, a parameter is not a real floating-point array, has no
            rate, or eps is zero in its dtype; at ``update``, the gradients have other names than the parameters.
        UnknownNameError: at ``init``, a rate is for a leaf that is not there.
        ShapeError: at ``update``, a gradient has another shape than its parameter.

    Example:
        The first step has length η in every coordinate, but for ε:

        >>> import numpy as np
        >>> from fwdgrad.optimizers import Adam
        >>> adam = Adam(rate=0.1)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> updates, state = adam.update({"w": np.array([5.0, -0.02])}, adam.init(params), params)
        >>> updates["w"].round(6)
        array([-0.1,  0.1])
        >>> float(state.t)
        1.0
    """

    rate: Rates = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        who = type(self).__name__
        object.__setattr__(self, "rate", checked_rate(self.rate, f"{who}(rate)"))
        object.__setattr__(self, "beta1", decay(f"{who}(beta1)", self.beta1, "give e.g. 0.9, the default"))
        object.__setattr__(self, "beta2", decay(f"{who}(beta2)", self.beta2, "give e.g. 0.999, the default"))
        object.__setattr__(self, "eps", positive(f"{who}(eps)", self.eps, "give e.g. 1e-8, the default"))

    def init(self, params: Arrays) -> AdamState:
        """Return the state before the first update."""
        who = type(self).__name__
        check_params(who, params, smallest_eps=self.eps * math.sqrt(1.0 - self.beta2))
        check_leaves(who, self.rate, params)
        zeros = [{k: np.zeros_like(p) for k, p in params.items()} for _ in range(2)]
        return AdamState(np.zeros(()), np.zeros(()), *zeros)

    def update(self, grads: Arrays, state: AdamState, params: Arrays) -> tuple[Arrays, AdamState]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        check_grads(type(self).__name__, grads, params)
        t, samples = state.t + 1.0, state.samples + 1.0
        r = np.sqrt(1.0 - self.beta2**t)
        rates = rates_at(self.rate, params, samples, t)
        correction = 1.0 - self.beta1**t
        eps = self.eps * r
        updates, m, v = {}, {}, {}
        for k, p in params.items():
            g = cast(grads[k], p.dtype)
            m[k] = self.beta1 * state.m[k] + (1.0 - self.beta1) * g
            v[k] = self.beta2 * state.v[k] + (1.0 - self.beta2) * (g * g)
            step = rates[k] * r / correction
            updates[k] = -cast(step, p.dtype) * m[k] / (np.sqrt(v[k]) + cast(eps, p.dtype))
        return updates, AdamState(t, samples, m, v)
