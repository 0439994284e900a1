"""Rank-one influence: G̃ = v wᵀ with mean G, by random signs. UORO and NoBackTrack."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError, nearly
from fwdgrad.influence.base import EUCLIDEAN, Layout, Leaves, NoiseSpec, Row, drop_zero, metric_of, squared_norm
from fwdgrad.support.trees import cut

__all__ = ["RankOne", "RankOneState"]


class RankOneState(NamedTuple):
    """The two factors; ‖w‖², which the next reduction needs; and the running estimate that scale="probe" keeps."""

    v: Any
    w: Leaves
    w_squared: Any
    squares: Any
    """Estimates of ‖b_i‖², shape (n,); for scale="probe" only, else shape (0,)."""


@dataclass(frozen=True)
class RankOne:
    """G̃ = v wᵀ. Memory n + p numbers.

    A G̃ + B = (A v) wᵀ + Σ_i e_i b_iᵀ, with b_i the rows of B, is reduced to rank one by independent signs ε:

        v ← ρ̄ A v + ρ∘ε,      w ← w/ρ̄ + Bᵀ(ε/ρ),      ρ̄ = √(‖w‖/‖A v‖)

    whose mean over ε is A G̃ + B for any ρ > 0 that ε enters at most through an even function (NoBackTrack paper,
    eqs. 7–8 and Algorithm 1; UORO paper, Prop. 1 and eqs. 12–15). The choice of ρ is a choice of variance:

    - "common": one number, ρ = √(‖Bᵀε‖/‖ε‖). One backward product. UORO.
    - "unit": one for each state variable, ρ_i = √‖b_i‖, which is the least variance. Needs the rows of B: one backward
      product for each of their colours (see `fwdgrad.structure`), n of them if a parameter feeds every state variable.
      NoBackTrack.
    - "mixed": ρ_i = √‖b_i‖ over the leaves whose rows take few colours; the other leaves get one backward product.
    - "probe": ratios of the ρ_i from a running estimate of ‖b_i‖² over past steps; (B z)_i² has that mean for random
      signs z. Their common size as in "common". One forward and one backward product, for any system.

    Norms of parameter-shaped things, ‖w‖, ‖b_i‖ and ‖Bᵀε‖, are those of the linearization's metric: Euclidean, or
    ‖w‖² = wᵀ(J + Λ)⁻¹w under an information filter (NoBackTrack paper, Algorithm 2, "reduction step"), whatever the
    units of the parameters. (The running estimate of "probe" is Euclidean always.)

    Args:
        scale: one of these.
        signs: "signs" (least variance) or "normal" (standard Gaussian, for Brownian limits).
        memory: for "probe": weight of the past in the running estimate, between 0 and 1.

    Unbiased for fixed θ: E G̃ = G at every step. While θ is learned this holds in the limit of small learning rates.
    """

    scale: str = "common"
    signs: str = "signs"
    memory: float = 0.95

    def __post_init__(self) -> None:
        for label, value, allowed in (
            ("scale", self.scale, ("common", "unit", "mixed", "probe")),
            ("signs", self.signs, ("signs", "normal")),
        ):
            if value not in allowed:
                raise DeclarationError(
                    f"RankOne({label}=…): expected one of {allowed}, got {value!r}." + nearly(value, allowed)
                )
        if not (isinstance(self.memory, (int, float)) and 0 <= self.memory < 1):
            raise DeclarationError(f"RankOne(memory=…): expected a number in [0, 1), got {self.memory!r}.")

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> RankOneState:
        """Zeros."""
        w = {k: np.zeros(shape, layout.dtype) for k, shape in layout.leaves.items()}
        squares = np.zeros(layout.size if self.scale == "probe" else 0, layout.dtype)
        return RankOneState(np.zeros(layout.size, layout.dtype), w, np.zeros((), layout.dtype), squares)

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """ε, one number per state variable; for "probe", also a random sign for every index of every axis of a leaf."""
        signs = NoiseSpec(self.signs, (layout.size,))
        if self.scale != "probe":
            return (signs,)
        return (signs, *(NoiseSpec("signs", (max(sum(s), 1),)) for s in layout.leaves.values()))

    def pull(self, state: RankOneState, row: Row, layout: Layout) -> Leaves:
        """(c·v) wᵀ."""
        along = row(state.v)
        return {k: along * w for k, w in state.w.items()}

    def advance(self, state: RankOneState, lin: Any, noise: tuple[Any, ...]) -> RankOneState:
        """The reduction above."""
        signs, *probes = noise
        carried = lin.jvp(state.v)
        metric = metric_of(lin)
        # the metric may have changed since w was made
        old_squared = state.w_squared if metric is EUCLIDEAN else metric.squared_norm(state.w)
        up, down = drop_zero(old_squared, np.vdot(carried, carried))
        rho, fresh = _SCALES[self.scale](state, lin, signs)
        # a leaf without rows, which F uses where its derivative is zero, has none in `fresh`
        w = {k: down * old + fresh[k] if k in fresh else down * old for k, old in state.w.items()}
        squares = self._probed(state, lin, probes) if probes else state.squares
        return RankOneState(up * carried + rho * signs, w, squared_norm(w), squares)

    def _probed(self, state: RankOneState, lin: Any, probes: list[Any]) -> Any:
        """The running estimate of ‖b_i‖² after this step.

        z is a product of one sign for each index of each axis; its entries are pairwise uncorrelated, which is all that
        E (B z)_i² = ‖b_i‖² needs, and takes O(√p) random numbers in place of p.
        """
        directions = {k: _signs_for(p, w.shape) for p, (k, w) in zip(probes, state.w.items(), strict=True)}
        zero = np.zeros(state.v.shape, state.v.dtype)
        seen = lin.jvp(zero, directions)
        fresh = seen * seen
        return np.where(state.squares > 0, self.memory * state.squares + (1.0 - self.memory) * fresh, fresh)

    def magnitude(self, state: RankOneState) -> Any:
        """‖v‖² + ‖w‖²."""
        return np.vdot(state.v, state.v) + state.w_squared

    def dense(self, state: RankOneState, layout: Layout) -> Leaves:
        """v wᵀ."""
        n = state.v.shape[0]
        return {k: np.reshape(state.v, (n,) + (1,) * np.ndim(w)) * w for k, w in state.w.items()}


def _common(state: RankOneState, lin: Any, signs: Any) -> tuple[Any, Leaves]:
    """One scale for all: ρ, and Bᵀ(ε/ρ)."""
    _, fresh = lin.vjp(signs)
    rho, inverse = drop_zero(metric_of(lin).squared_norm(fresh), np.vdot(signs, signs))
    return rho, {k: inverse * f for k, f in fresh.items()}


def _unit(state: RankOneState, lin: Any, signs: Any) -> tuple[Any, Leaves]:
    """One scale per state variable, from all rows of B."""
    rows = lin.rows()
    squares = _row_norms(rows, lin).astype(signs.dtype)  # of no rows at all, they would be plain zeros
    rho, inverse = drop_zero(squares, np.ones(squares.shape, squares.dtype))
    return rho, rows.combine(signs * inverse)


def _row_norms(rows: Any, lin: Any) -> Any:
    """‖b_i‖², shape (n,)."""
    metric = metric_of(lin)
    return rows.squared_norms() if metric is EUCLIDEAN else rows.squared_norms(metric)


def _mixed(state: RankOneState, lin: Any, signs: Any) -> tuple[Any, Leaves]:
    """One scale per state variable, from the rows of the sparse leaves; the dense leaves in one product."""
    rows = lin.rows(sparse_only=True)
    rho, inverse = _positive(_row_norms(rows, lin).astype(signs.dtype))
    _, fresh = lin.vjp(signs * inverse)
    return rho, {**fresh, **rows.combine(signs * inverse)}


def _probe(state: RankOneState, lin: Any, signs: Any) -> tuple[Any, Leaves]:
    """One scale per state variable: ratios from past steps, the size from this one."""
    ratio, inverse = _positive(state.squares)
    _, fresh = lin.vjp(signs * inverse)
    # the past says how the rows compare; how large they are now, this step does (an even function of its signs)
    scaled = ratio * signs
    common, down = drop_zero(metric_of(lin).squared_norm(fresh), np.vdot(scaled, scaled))
    return common * ratio, {k: down * f for k, f in fresh.items()}


def _positive(squares: Any) -> tuple[Any, Any]:
    """ρ_i and 1/ρ_i from partial knowledge of ‖b_i‖²: where nothing is known, the mean of the others, or 1."""
    some = squares > 0
    count = np.sum(np.where(some, 1.0, 0.0))
    mean = np.sum(squares) / np.maximum(count, 1.0)
    filled = np.where(some, squares, np.where(count > 0, mean, 1.0).astype(squares.dtype))
    rho = np.sqrt(np.sqrt(filled))
    return rho, 1.0 / rho


def _signs_for(signs: Any, shape: tuple[int, ...]) -> Any:
    """An array of ±1 of a leaf's shape: the product of one sign for each index of each axis."""
    if not shape:
        return np.reshape(signs, ())
    along = [tuple(length if k == axis else 1 for k in range(len(shape))) for axis, length in enumerate(shape)]
    return reduce(operator.mul, cut(signs, along))


_SCALES = {"common": _common, "unit": _unit, "mixed": _mixed, "probe": _probe}
