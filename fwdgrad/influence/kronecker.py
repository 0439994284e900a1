"""Kronecker influence: for a matrix that enters through a product, G̃ = u ⊗ H with mean G. KF-RTRL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, Row, drop_zero, squared_norm
from fwdgrad.influence.products import SINGLE_STEP, factor_sizes, known_products, outer
from fwdgrad.program import map_rows

__all__ = ["Kronecker", "KroneckerState"]


class KroneckerState(NamedTuple):
    """For each matrix its two factors: u, shape (r,), and H, shape (n, m)."""

    u: Leaves
    H: Leaves


@dataclass(frozen=True)
class Kronecker:
    """G̃ = u ⊗ H for every matrix Ŵ (m×r) that enters F through one product z = Ŵ a, and in no other way.

    Then ∂h'/∂Ŵ = D ⊗ a with D = ∂h'/∂z exactly, and A G̃ + B = u ⊗ (A H) + a ⊗ D is a sum of two terms. A random
    sign c, one for each matrix and step, makes one of them (Mujika, Meier & Steger 2018, "Approximating real-time
    recurrent learning with random Kronecker factors", §3):

        u ← p₁ u + c p₂ a,      H ← A H / p₁ + c D / p₂,      p₁ = √(‖A H‖/‖u‖),  p₂ = √(‖D‖/‖a‖)

    whose mean over c is A G̃ + B. (The paper gives each term a sign; only their product enters G̃.) A term with a zero
    factor is dropped.

    Matrices enter as W @ a, a @ W, np.dot, np.einsum, through their transpose, or as a column R[:, x] or row R[x], of
    which a is a unit vector. One that is used twice, or in any other way, is refused: see `Split`. So are windows of
    more than one step, over which every matrix is used once a step.

    Memory r + n·m numbers for each matrix. Time per step: min(n, Σm) forward products and O(n² Σm) for A H, one
    backward product for each colour of the rows of D (n if D is dense). Less noise than rank one, since D is not
    reduced, for about n times UORO's cost.

    Unbiased for fixed θ.
    """

    single_step: ClassVar[str] = SINGLE_STEP

    def takes(self, layout: Layout) -> tuple[str, ...]:
        """The leaves that can be kept in this form.

        Raises:
            DeclarationError: it cannot be known, because the functions cannot be traced.
        """
        return tuple(known_products(layout.patterns, "KFRTRL").products)

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> KroneckerState:
        """Zeros.

        Raises:
            DeclarationError: a leaf does not enter through one product only.
        """
        n, dtype, sizes = layout.size, layout.dtype, factor_sizes(layout, "KFRTRL")
        return KroneckerState(
            {k: np.zeros(r, dtype) for k, (_, r) in sizes.items()},
            {k: np.zeros((n, m), dtype) for k, (m, _) in sizes.items()},
        )

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """c, one sign per leaf."""
        return (NoiseSpec("signs", (len(layout.leaves),)),)

    def pull(self, state: KroneckerState, row: Row, layout: Layout) -> Leaves:
        """u ⊗ (c·H)."""
        c, products = row.array, known_products(layout.patterns, "KFRTRL").products
        return {k: outer(np.dot(c, H), state.u[k], products[k].axis) for k, H in state.H.items()}

    def advance(self, state: KroneckerState, lin: Any, noise: tuple[Any, ...]) -> KroneckerState:
        """The reduction above."""
        (signs,), terms, carried = noise, lin.products(), _through(lin, state.H)
        u, H = {}, {}
        for number, (k, old) in enumerate(state.u.items()):
            a, D, through, c = terms[k].factor, terms[k].jacobian(), carried[k], signs[number]
            up, down = drop_zero(_square(through), _square(old))
            more, less = drop_zero(_square(D), _square(a))
            u[k] = up * old + (c * more) * a
            H[k] = down * through + (c * less) * D
        return KroneckerState(u, H)

    def magnitude(self, state: KroneckerState) -> Any:
        """Σ ‖u‖² + ‖H‖²."""
        return squared_norm(state.u) + squared_norm(state.H)

    def dense(self, state: KroneckerState, layout: Layout) -> Leaves:
        """u ⊗ H, the axes in the leaf's order."""
        products = known_products(layout.patterns, "KFRTRL").products
        made = {k: np.zeros((layout.size, *shape), layout.dtype) for k, shape in layout.leaves.items()}
        for k, H in state.H.items():
            made[k] = outer(H, state.u[k], products[k].axis)
        return made


def _square(x: Any) -> Any:
    flat = np.ravel(x)
    return np.dot(flat, flat)


def _through(lin: Any, H: Leaves) -> Leaves:
    """A H for every leaf: column by column, or by way of A if that takes fewer forward products."""
    n, dtype = lin.value.shape[0], lin.value.dtype
    widths = [h.shape[1] for h in H.values()]
    if n <= sum(widths):
        (columns,) = map_rows(lambda row: [lin.jvp(row)], np.eye(n, dtype=dtype))
        return {k: np.dot(np.transpose(columns), h) for k, h in H.items()}
    table = np.concatenate([np.transpose(h) for h in H.values()])
    (columns,) = map_rows(lambda row: [lin.jvp(row)], table)
    ends = np.cumsum(widths)
    return {k: np.transpose(columns[end - w : end]) for k, w, end in zip(H, widths, ends.tolist(), strict=True)}
