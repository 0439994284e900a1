"""RMSprop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwdgrad.optimizers.base import Arrays, BySamples, cast, check_grads, check_params, decay, positive
from fwdgrad.optimizers.rates import Rates, check_leaves, checked_rate, rates_at
from fwdgrad.support.arguments import suggests

__all__ = ["RMSprop", "RMSpropState"]


class RMSpropState(NamedTuple):
    """State of `RMSprop`.

    Attributes:
        t: number of updates made, a float64 scalar.
        samples: number of samples learned from, likewise.
        v: moving averages of the squared gradients, each with the shape and dtype of its parameter.
    """

    t: NDArray[Any]
    samples: NDArray[Any]
    v: Arrays


@suggests
@dataclass(frozen=True)
class RMSprop(BySamples):
    """RMSprop: each coordinate divided by the root mean square of its recent gradients.

        v ← β v + (1 − β) g²
        θ ← θ − η_t g / (√v + ε)

    Source: Tieleman and Hinton, "Lecture 6.5: RMSprop", Coursera, 2012. v begins at 0 and is not corrected for it, so
    the first steps are longer than later ones, the first by 1/√(1 − β); `Adam` with β₁ = 0 corrects for it.

    Cost for p parameters: one pass that reads g and v and writes v and the update; memory p.

    Args:
        rate: η, a finite number > 0 or a function of the number t = 1, 2, … of samples learned from
            (see `fwdgrad.optimizers.schedules`); or one of these for each learned leaf, as a dict by name or a list in
            order of declaration.
        beta: β, in [0, 1).
        eps: ε, a finite number > 0.

    Raises:
        DeclarationError: a field is not as above; at ``init``, a parameter is not a real floating-point array, has no
            rate, or eps is zero in its dtype; at ``update``, the gradients have other names than the parameters.
        UnknownNameError: at ``init``, a rate is for a leaf that is not there.
        ShapeError: at ``update``, a gradient has another shape than its parameter.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.optimizers import RMSprop
        >>> rms = RMSprop(rate=0.1, beta=0.75)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> updates, state = rms.update({"w": np.array([5.0, -0.02])}, rms.init(params), params)
        >>> updates["w"].round(5)
        array([-0.2,  0.2])
    """

    rate: Rates
    beta: float = 0.9
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "rate", checked_rate(self.rate, "RMSprop(rate)"))
        object.__setattr__(self, "beta", decay("RMSprop(beta)", self.beta, "give e.g. 0.9, the default"))
        object.__setattr__(self, "eps", positive("RMSprop(eps)", self.eps, "give e.g. 1e-8, the default"))

    def init(self, params: Arrays) -> RMSpropState:
        """Return the state before the first update."""
        check_params("RMSprop", params, smallest_eps=self.eps)
        check_leaves("RMSprop", self.rate, params)
        return RMSpropState(np.zeros(()), np.zeros(()), {k: np.zeros_like(p) for k, p in params.items()})

    def update(self, grads: Arrays, state: RMSpropState, params: Arrays) -> tuple[Arrays, RMSpropState]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        check_grads("RMSprop", grads, params)
        t, samples = state.t + 1.0, state.samples + 1.0
        rates = rates_at(self.rate, params, samples, t)
        updates, v = {}, {}
        for k, p in params.items():
            g = cast(grads[k], p.dtype)
            v[k] = self.beta * state.v[k] + (1.0 - self.beta) * (g * g)
            updates[k] = -cast(rates[k], p.dtype) * g / (np.sqrt(v[k]) + self.eps)
        return updates, RMSpropState(t, samples, v)
