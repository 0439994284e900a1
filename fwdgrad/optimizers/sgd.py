"""Stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwdgrad.optimizers.base import Arrays, BySamples, cast, check_grads, check_params
from fwdgrad.optimizers.rates import Rates, check_leaves, checked_rate, rates_at
from fwdgrad.support.arguments import suggests

__all__ = ["SGD", "SGDState"]


class SGDState(NamedTuple):
    """State of `SGD`: t, the number of updates made, and of samples learned from (float64 scalars)."""

    t: NDArray[Any]
    samples: NDArray[Any]


@suggests
@dataclass(frozen=True)
class SGD(BySamples):
    """Stochastic gradient descent, θ ← θ − η_t g.

    Source: Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22, 1951.

    Cost for p parameters: one pass that reads g and writes the update; no memory but t.

    Args:
        rate: η, a finite number > 0 or a function of the number t = 1, 2, … of samples learned from
            (see `fwdgrad.optimizers.schedules`); or one of these for each learned leaf, as a dict by name or a list in
            order of declaration.

    Raises:
        DeclarationError: the rate is something else; at ``init``, a parameter is not a real floating-point array or has
            no rate; at ``update``, the gradients have other names than the parameters.
        UnknownNameError: at ``init``, a rate is for a leaf that is not there.
        ShapeError: at ``update``, a gradient has another shape than its parameter.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.optimizers import SGD
        >>> sgd = SGD(rate=0.5)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> updates, state = sgd.update({"w": np.array([1.0, -3.0])}, sgd.init(params), params)
        >>> updates["w"]
        array([-0.5,  1.5])
        >>> float(state.t)
        1.0
    """

    rate: Rates

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "rate", checked_rate(self.rate, "SGD(rate)"))

    def init(self, params: Arrays) -> SGDState:
        """Return the state before the first update."""
        check_params("SGD", params)
        check_leaves("SGD", self.rate, params)
        return SGDState(np.zeros(()), np.zeros(()))

    def update(self, grads: Arrays, state: SGDState, params: Arrays) -> tuple[Arrays, SGDState]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        check_grads("SGD", grads, params)
        t, samples = state.t + 1.0, state.samples + 1.0
        rates = rates_at(self.rate, params, samples, t)
        updates = {k: -cast(rates[k], p.dtype) * cast(grads[k], p.dtype) for k, p in params.items()}
        return updates, SGDState(t, samples)
