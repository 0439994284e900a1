"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from dataclasses import dataclass

from fwdgrad.optimizers.adam import Adam, AdamState
from fwdgrad.optimizers.base import Arrays, cast, positive
from fwdgrad.optimizers.rates import rates_at
from fwdgrad.support.arguments import suggests

__all__ = ["AdamW"]


@suggests
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam, with weights that decay by themselves: θ ← θ − η_t λ θ, and Adam's step.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, Algorithm 2, in the form that is
    in use: λ counts per unit of the learning rate. A penalty λ‖θ‖²/2 in the loss is another thing, since Adam would
    divide its gradient by the size of all gradients.

    It decays what is learned of each parameter: of a `positive` one the logarithm, so towards 1; of a `bounded` one the
    logit, so towards the middle. Also parameters whose gradient is 0 decay.

    Cost: that of `Adam`, and one more read of θ.

    Args:
        rate, beta1, beta2, eps: as for `Adam`.
        weight_decay: λ, a finite number ≥ 0; 0 is `Adam`.

    Raises:
        DeclarationError, UnknownNameError, ShapeError: as `Adam` does.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.optimizers import AdamW
        >>> adamw = AdamW(rate=0.1, weight_decay=0.5)
        >>> params = {"w": np.array([1.0, 2.0])}
        >>> updates, state = adamw.update({"w": np.array([5.0, 0.0])}, adamw.init(params), params)
        >>> updates["w"].round(6)
        array([-0.15, -0.1 ])
    """

    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        decay = positive("AdamW(weight_decay)", self.weight_decay, "give e.g. 0.01, the default", or_zero=True)
        object.__setattr__(self, "weight_decay", decay)

    def update(self, grads: Arrays, state: AdamState, params: Arrays) -> tuple[Arrays, AdamState]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        updates, state = super().update(grads, state, params)
        rates = rates_at(self.rate, params, state.samples, state.t)
        return {k: u - cast(rates[k] * self.weight_decay, u.dtype) * params[k] for k, u in updates.items()}, state
