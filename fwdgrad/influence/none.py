"""No influence: what happened before the window is forgotten (truncation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, Row

__all__ = ["NoInfluence", "NoInfluenceState"]


class NoInfluenceState(NamedTuple):
    """Nothing."""


@dataclass(frozen=True)
class NoInfluence:
    """G̃ = 0: gradients see the current window only. Biased; no memory, no cost.

    With a window of T steps this is T-truncated backpropagation through time.
    """

    random: ClassVar[bool] = False
    forgets: ClassVar[bool] = True

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> NoInfluenceState:
        """Nothing."""
        return NoInfluenceState()

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """None."""
        return ()

    def pull(self, state: NoInfluenceState, row: Row, layout: Layout) -> Leaves:
        """Nothing: an absent leaf is zero."""
        return {}

    def advance(self, state: NoInfluenceState, lin: Any, noise: tuple[Any, ...]) -> NoInfluenceState:
        """Nothing."""
        return state

    def magnitude(self, state: NoInfluenceState) -> Any:
        """0."""
        return 0.0

    def dense(self, state: NoInfluenceState, layout: Layout) -> Leaves:
        """Zeros."""
        return {k: np.zeros((layout.size, *shape), layout.dtype) for k, shape in layout.leaves.items()}
