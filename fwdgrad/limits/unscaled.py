"""The rank-one reduction without rescaling, which has no limit of small steps: what the scales are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fwdgrad.influence import Layout, NoiseSpec, RankOne
from fwdgrad.influence.base import Leaves, Row, squared_norm
from fwdgrad.influence.rank_one import RankOneState

__all__ = ["Unscaled"]


@dataclass(frozen=True)
class Unscaled:
    """G̃ = v wᵀ by v ← A v + ε, w ← w + Bᵀε: the reduction of `RankOne` with ρ = ρ̄ = 1.

    Its mean is exact as well (NoBackTrack paper, Prop. 1). With B of size δt, v moves by O(1) a step however small δt
    is, and w by O(δt): v has no limit, and w goes to 0. Their product has one all the same, with more variance than is
    needed: a constant factor in ρ drops out of it. For tests and studies, not for learning.

    Args:
        signs: "signs" or "normal", the distribution of the noise.
    """

    signs: str = "signs"

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> RankOneState:
        """Zeros."""
        return RankOne(signs=self.signs).init(layout, start)

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """ε, one number per state variable."""
        return (NoiseSpec(self.signs, (layout.size,)),)

    def pull(self, state: RankOneState, row: Row, layout: Layout) -> Leaves:
        """(c·v) wᵀ."""
        along = row(state.v)
        return {k: along * w for k, w in state.w.items()}

    def advance(self, state: RankOneState, lin: Any, noise: tuple[Any, ...]) -> RankOneState:
        """One product forward, one backward."""
        _, fresh = lin.vjp(noise[0])
        w = {k: old + fresh[k] if k in fresh else old for k, old in state.w.items()}
        return RankOneState(lin.jvp(state.v) + noise[0], w, squared_norm(w), state.squares)

    def magnitude(self, state: RankOneState) -> Any:
        """‖v‖² + ‖w‖²."""
        return RankOne().magnitude(state)

    def dense(self, state: RankOneState, layout: Layout) -> Leaves:
        """v wᵀ."""
        return RankOne().dense(state, layout)
