"""No influence: what happened before the window is forgotten (truncation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.influence.base import Layout, Leaves, NoiseSpec

__all__ = ["NoInfluence", "NoInfluenceState"]


class NoInfluenceState(NamedTuple):
    """The sizes are kept in an empty array per leaf."""

    empty: Leaves


@dataclass(frozen=True)
class NoInfluence:
    """G̃ = 0: gradients see the current window only. Biased; no memory, no cost.

    With a window of T steps this is T-truncated backpropagation through time.
    """

    def init(self, layout: Layout) -> NoInfluenceState:
        """Nothing but the sizes."""
        return NoInfluenceState({k: np.zeros((0, *shape), layout.dtype) for k, shape in layout.leaves.items()})

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """None."""
        return ()

    def pull(self, state: NoInfluenceState, cotangent: Any) -> Leaves:
        """Nothing: an absent leaf is zero."""
        return {}

    def advance(self, state: NoInfluenceState, lin: Any, noise: tuple[Any, ...]) -> NoInfluenceState:
        """Unchanged."""
        return state

    def magnitude(self, state: NoInfluenceState) -> Any:
        """0."""
        return 0.0

    def dense(self, state: NoInfluenceState) -> Leaves:
        """Zeros with one row, which broadcast over the state."""
        return {k: np.zeros((1, *e.shape[1:]), e.dtype) for k, e in state.empty.items()}
