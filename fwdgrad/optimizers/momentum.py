"""Gradient descent with momentum: the heavy ball, and Nesterov's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwdgrad.optimizers.base import (
    Arrays,
    BySamples,
    cast,
    check_grads,
    check_params,
    decay,
    declaration_error,
    describe,
)
from fwdgrad.optimizers.rates import Rates, check_leaves, checked_rate, rates_at
from fwdgrad.support.arguments import suggests

__all__ = ["Momentum", "MomentumState"]


class MomentumState(NamedTuple):
    """State of `Momentum`.

    Attributes:
        t: number of updates made, a float64 scalar.
        samples: number of samples learned from, likewise.
        v: velocities, each with the shape and dtype of its parameter.
    """

    t: NDArray[Any]
    samples: NDArray[Any]
    v: Arrays


@suggests
@dataclass(frozen=True)
class Momentum(BySamples):
    """Gradient descent along a sum of past gradients that fades.

        v ← μ v + g,   θ ← θ − η_t v            the heavy ball
        v ← μ v + g,   θ ← θ − η_t (g + μ v)    with `nesterov`

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Computational Mathematics
    and Mathematical Physics 4, 1964; Nesterov's form as in Sutskever, Martens, Dahl and Hinton, "On the importance of
    initialization and momentum in deep learning", ICML 2013. At a constant gradient a step has the length η g/(1 − μ).

    Cost for p parameters: one pass that reads g and v and writes v and the update; memory p.

    Args:
        rate: η, a finite number > 0 or a function of the number t = 1, 2, … of samples learned from
            (see `fwdgrad.optimizers.schedules`); or one of these for each learned leaf, as a dict by name or a list in
            order of declaration.
        momentum: μ, in [0, 1); 0 is `SGD`.
        nesterov: look ahead.

    Raises:
        DeclarationError: a field is not as above; at ``init``, a parameter is not a real floating-point array or has
            no rate; at ``update``, the gradients have other names than the parameters.
        UnknownNameError: at ``init``, a rate is for a leaf that is not there.
        ShapeError: at ``update``, a gradient has another shape than its parameter.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.optimizers import Momentum
        >>> ball = Momentum(rate=0.1, momentum=0.5)
        >>> params = {"w": np.array([1.0])}
        >>> updates, state = ball.update({"w": np.array([2.0])}, ball.init(params), params)
        >>> updates, state = ball.update({"w": np.array([2.0])}, state, params)
        >>> updates["w"]
        array([-0.3])
    """

    rate: Rates
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "rate", checked_rate(self.rate, "Momentum(rate)"))
        object.__setattr__(self, "momentum", decay("Momentum(momentum)", self.momentum, "give e.g. 0.9, the default"))
        if not isinstance(self.nesterov, bool):
            raise declaration_error(
                "Momentum(nesterov)", "True or False", describe(self.nesterov), "leave it out for the heavy ball"
            )

    def init(self, params: Arrays) -> MomentumState:
        """Return the state before the first update."""
        check_params("Momentum", params)
        check_leaves("Momentum", self.rate, params)
        return MomentumState(np.zeros(()), np.zeros(()), {k: np.zeros_like(p) for k, p in params.items()})

    def update(self, grads: Arrays, state: MomentumState, params: Arrays) -> tuple[Arrays, MomentumState]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        check_grads("Momentum", grads, params)
        t, samples = state.t + 1.0, state.samples + 1.0
        rates = rates_at(self.rate, params, samples, t)
        updates, v = {}, {}
        for k, p in params.items():
            g = cast(grads[k], p.dtype)
            v[k] = self.momentum * state.v[k] + g
            step = g + self.momentum * v[k] if self.nesterov else v[k]
            updates[k] = -cast(rates[k], p.dtype) * step
        return updates, MomentumState(t, samples, v)
