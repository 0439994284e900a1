"""AdaGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwdgrad.optimizers.base import Arrays, BySamples, cast, check_grads, check_params, positive
from fwdgrad.optimizers.rates import Rates, check_leaves, checked_rate, rates_at
from fwdgrad.support.arguments import suggests

__all__ = ["AdaGrad", "AdaGradState"]


class AdaGradState(NamedTuple):
    """State of `AdaGrad`.

    Attributes:
        t: number of updates made, a float64 scalar.
        samples: number of samples learned from, likewise.
        s: sums of the squared gradients, each with the shape and dtype of its parameter.
    """

    t: NDArray[Any]
    samples: NDArray[Any]
    s: Arrays


@suggests
@dataclass(frozen=True)
class AdaGrad(BySamples):
    """AdaGrad with diagonal matrices: each coordinate's step is divided by the norm of all its gradients so far.

        s ← s + g²
        θ ← θ − η_t g / (ε + √s)

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    JMLR 12, 2011, Figure 1 (composite mirror descent with φ = 0 and no constraint; ε is δ there).

    Cost for p parameters: one pass that reads g and s and writes s and the update; memory p.

    Args:
        rate: η, a finite number > 0 or a function of the number t = 1, 2, … of samples learned from
            (see `fwdgrad.optimizers.schedules`); or one of these for each learned leaf, as a dict by name or a list in
            order of declaration.
            The division by √s already makes steps fall like 1/√t, so a number is the usual choice.
        eps: ε, a finite number > 0.

    Raises:
        DeclarationError: a field is not as above; at ``init``, a parameter is not a real floating-point array, has no
            rate, or eps is zero in its dtype; at ``update``, the gradients have other names than the parameters.
        UnknownNameError: at ``init``, a rate is for a leaf that is not there.
        ShapeError: at ``update``, a gradient has another shape than its parameter.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.optimizers import AdaGrad
        >>> adagrad = AdaGrad(rate=0.1)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> updates, state = adagrad.update({"w": np.array([5.0, -0.02])}, adagrad.init(params), params)
        >>> updates["w"].round(6)
        array([-0.1,  0.1])
        >>> float(state.t)
        1.0
    """

    rate: Rates
    eps: float = 1e-10

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "rate", checked_rate(self.rate, "AdaGrad(rate)"))
        object.__setattr__(self, "eps", positive("AdaGrad(eps)", self.eps, "give e.g. 1e-10, the default"))

    def init(self, params: Arrays) -> AdaGradState:
        """Return the state before the first update."""
        check_params("AdaGrad", params, smallest_eps=self.eps)
        check_leaves("AdaGrad", self.rate, params)
        return AdaGradState(np.zeros(()), np.zeros(()), {k: np.zeros_like(p) for k, p in params.items()})

    def update(self, grads: Arrays, state: AdaGradState, params: Arrays) -> tuple[Arrays, AdaGradState]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        check_grads("AdaGrad", grads, params)
        t, samples = state.t + 1.0, state.samples + 1.0
        rates = rates_at(self.rate, params, samples, t)
        updates, s = {}, {}
        for k, p in params.items():
            g = cast(grads[k], p.dtype)
            s[k] = state.s[k] + g * g
            updates[k] = -cast(rates[k], p.dtype) * g / (np.sqrt(s[k]) + self.eps)
        return updates, AdaGradState(t, samples, s)
