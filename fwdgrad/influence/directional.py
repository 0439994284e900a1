"""Directional influence: the derivative along one random direction of the parameters. Forward gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError, nearly
from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, Row, squared_norm

__all__ = ["Directional", "DirectionalState"]


class DirectionalState(NamedTuple):
    """The direction u, of the parameters' shapes, and v = G u, shape (n,)."""

    u: Leaves
    v: Any


@dataclass(frozen=True)
class Directional:
    """G̃ = v uᵀ, with v = G u the derivative of the state along a random direction u. Memory n + p numbers.

        v ← A v + B u        one forward product; u stays what it is

    so that v = G u at every step, and E G̃ = G E[u uᵀ] = G for independent entries of mean 0 and variance 1 (Baydin et
    al. 2022, "Gradients without backpropagation", with v carried through time; Silver et al. 2022).

    u is drawn once, when a trajectory starts: v knows no other direction. Hence gradients are unbiased as a mean over
    trajectories, each with a direction of its own, and within one trajectory all of them are multiples of u, but for
    the last step, which is exact. With f the exact influence of the past on the gradient, the part of g that is random
    is (f·u) u, of variance (p − 1)‖f‖² for "signs" and (p + 1)‖f‖² for "normal".

    Args:
        directions: "normal" (standard Gaussian) or "signs" (±1).

    Unbiased for fixed θ. Windows of any length.
    """

    directions: str = "normal"

    def __post_init__(self) -> None:
        if self.directions not in ("normal", "signs"):
            raise DeclarationError(
                f"Directional(directions=…): expected one of ('normal', 'signs'), got {self.directions!r}."
                + nearly(self.directions, ("normal", "signs"))
            )

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> DirectionalState:
        """The direction, and v = 0, since G = 0."""
        u = {k: np.reshape(a, shape) for a, (k, shape) in zip(start, layout.leaves.items(), strict=True)}
        return DirectionalState(u, np.zeros(layout.size, layout.dtype))

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """u, once per trajectory."""
        return tuple(NoiseSpec(self.directions, shape or (1,), when="start") for shape in layout.leaves.values())

    def pull(self, state: DirectionalState, row: Row, layout: Layout) -> Leaves:
        """(c·v) u."""
        along = row(state.v)
        return {k: along * u for k, u in state.u.items()}

    def advance(self, state: DirectionalState, lin: Any, noise: tuple[Any, ...]) -> DirectionalState:
        """One product, forward in state and parameters together."""
        return state._replace(v=lin.jvp(state.v, state.u))

    def magnitude(self, state: DirectionalState) -> Any:
        """‖v‖² + ‖u‖²."""
        return np.vdot(state.v, state.v) + squared_norm(state.u)

    def dense(self, state: DirectionalState, layout: Layout) -> Leaves:
        """v uᵀ."""
        return {k: np.reshape(state.v, (-1,) + (1,) * np.ndim(u)) * u for k, u in state.u.items()}
