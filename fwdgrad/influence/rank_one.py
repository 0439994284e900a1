"""Rank-one influence: G̃ = v wᵀ with mean G, by random signs. UORO and NoBackTrack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, drop_zero, squared_norm

__all__ = ["RankOne", "RankOneState"]


class RankOneState(NamedTuple):
    """The two factors, and ‖w‖², which the next reduction needs."""

    v: Any
    w: Leaves
    w_squared: Any


@dataclass(frozen=True)
class RankOne:
    """G̃ = v wᵀ. Memory n + p numbers.

    A G̃ + B = (A v) wᵀ + Σ_i e_i b_iᵀ, with b_i the rows of B, is reduced to rank one by independent signs ε:

        v ← ρ̄ A v + ρ∘ε,      w ← w/ρ̄ + Bᵀ(ε/ρ),      ρ̄ = √(‖w‖/‖A v‖)

    whose mean over ε is A G̃ + B for any ρ > 0 that ε enters at most through an even function (NoBackTrack paper,
    eqs. 7–8 and Algorithm 1; UORO paper, Prop. 1 and eqs. 12–15).

    Args:
        scale: "common": one number, ρ = √(‖Bᵀε‖/‖ε‖), one vector-Jacobian product (UORO). "unit": one for each state
            variable, ρ_i = √‖b_i‖, which has the least variance and needs the rows of B (NoBackTrack).
        signs: "signs" (least variance) or "normal" (standard Gaussian, for Brownian limits).

    Unbiased for fixed θ: E G̃ = G at every step. While θ is learned this holds in the limit of small learning rates.
    """

    scale: str = "common"
    signs: str = "signs"

    def __post_init__(self) -> None:
        for label, value, allowed in (
            ("scale", self.scale, ("common", "unit")),
            ("signs", self.signs, ("signs", "normal")),
        ):
            if value not in allowed:
                raise DeclarationError(f"RankOne({label}=…): expected one of {allowed}, got {value!r}.")

    def init(self, layout: Layout) -> RankOneState:
        """Zeros."""
        w = {k: np.zeros(shape, layout.dtype) for k, shape in layout.leaves.items()}
        return RankOneState(np.zeros(layout.size, layout.dtype), w, np.zeros((), layout.dtype))

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """ε, one number per state variable."""
        return (NoiseSpec(self.signs, (layout.size,)),)

    def pull(self, state: RankOneState, cotangent: Any) -> Leaves:
        """(c·v) wᵀ."""
        along = np.dot(cotangent, state.v)
        return {k: along * w for k, w in state.w.items()}

    def advance(self, state: RankOneState, lin: Any, noise: tuple[Any, ...]) -> RankOneState:
        """The reduction above. One forward product, and one backward product or the rows of B."""
        (signs,) = noise
        carried = lin.jvp(state.v)
        up, down = drop_zero(state.w_squared, np.vdot(carried, carried))
        if self.scale == "common":
            _, fresh = lin.vjp(signs)
            rho, inverse = drop_zero(squared_norm(fresh), np.vdot(signs, signs))
            fresh = {k: inverse * f for k, f in fresh.items()}
        else:
            rows = lin.rows()
            squares = rows.squared_norms()
            rho, inverse = drop_zero(squares, np.ones(squares.shape, squares.dtype))
            fresh = rows.combine(signs * inverse)
        w = {k: down * state.w[k] + f for k, f in fresh.items()}
        return RankOneState(up * carried + rho * signs, w, squared_norm(w))

    def magnitude(self, state: RankOneState) -> Any:
        """‖v‖² + ‖w‖²."""
        return np.vdot(state.v, state.v) + state.w_squared

    def dense(self, state: RankOneState) -> Leaves:
        """v wᵀ."""
        n = state.v.shape[0]
        return {k: np.reshape(state.v, (n,) + (1,) * np.ndim(w)) * w for k, w in state.w.items()}
