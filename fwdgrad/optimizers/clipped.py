"""Gradients cut to a largest norm, before any other optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.optimizers.base import Arrays, cast, check_grads, declaration_error, describe, positive
from fwdgrad.support.arguments import suggests

__all__ = ["Clipped"]


@suggests
@dataclass(frozen=True)
class Clipped:
    """An optimizer whose gradients are cut to a largest norm: g ← g · min(1, c/‖g‖), ‖g‖ over all leaves.

    The direction is kept, so a single sample moves the parameters a bounded way whatever its gradient is. The expected
    gradient is not: where samples are cut, even an unbiased estimate is biased after it.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
    Algorithm 1.

    Cost for p parameters: one more pass over the gradients.

    Args:
        optimizer: what makes updates of the gradients, such as ``Adam()``; no filter.
        norm: c, a finite number > 0.

    Raises:
        DeclarationError: `optimizer` is not an optimizer, or is a filter; the norm is not as above; at ``init`` and
            ``update``, as the optimizer does.

    Example:
        >>> import numpy as np
        >>> from fwdgrad.optimizers import SGD, Clipped
        >>> clipped = Clipped(SGD(1.0), norm=5.0)
        >>> params = {"a": np.array([1.0]), "b": np.array([2.0])}
        >>> clipped.update({"a": np.array([30.0]), "b": np.array([40.0])}, clipped.init(params), params)[0]
        {'a': array([-3.]), 'b': array([-4.])}
    """

    optimizer: Any
    norm: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        inner = self.optimizer
        if isinstance(inner, type) or not (hasattr(inner, "init") and hasattr(inner, "update")):
            raise declaration_error("Clipped(optimizer)", "an optimizer", describe(inner), "give e.g. Adam(1e-3)")
        if hasattr(inner, "bind"):
            raise declaration_error(
                "Clipped(optimizer)", "an optimizer that is given gradients alone", describe(inner),
                "leave Clipped out: a filter weighs samples by their noise; a StudentT loss makes it robust",
            )  # fmt: skip
        object.__setattr__(self, "norm", positive("Clipped(norm)", self.norm, "give e.g. 1, the default"))

    def init(self, params: Arrays) -> Any:
        """Return the state before the first update: the optimizer's."""
        return self.optimizer.init(params)

    def count(self, state: Any, samples: Any) -> Any:
        """Return the state after samples that come without an update of their own (see `Optimizer`)."""
        count = getattr(self.optimizer, "count", None)
        return state if count is None else count(state, samples)

    def update(self, grads: Arrays, state: Any, params: Arrays) -> tuple[Arrays, Any]:
        """Return ``(updates, new state)``, each update with the shape and dtype of its parameter."""
        check_grads("Clipped", grads, params)
        norm = np.sqrt(sum(np.sum(np.square(g.astype(np.float64))) for g in grads.values()))
        scale = np.where(np.isfinite(norm), self.norm / np.maximum(norm, self.norm), np.nan)  # never 0 without a word
        return self.optimizer.update({k: g * cast(scale, g.dtype) for k, g in grads.items()}, state, params)
