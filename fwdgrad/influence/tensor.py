"""Tensor influence: for a matrix that enters through a product, G̃ = Re v ⊗ a ⊗ b with mean G. Less than the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, Row
from fwdgrad.influence.products import SINGLE_STEP, factor_sizes, known_products, outer
from fwdgrad.influence.reduction import Complex, roots_of_unity, scales, times
from fwdgrad.support.trees import flatten

__all__ = ["TensorProduct", "TensorProductState"]


class TensorProductState(NamedTuple):
    """v, shape (n,), which all matrices share; for each matrix a, shape (m,), and b, shape (r,). All complex."""

    v: Complex
    a: dict[str, Complex]
    b: dict[str, Complex]


@dataclass(frozen=True)
class TensorProduct:
    """G̃ = Re v ⊗ a ⊗ b for every matrix Ŵ (m×r) that enters F through one product z = Ŵ â, and in no other way.

    Then ∂h'/∂Ŵ = Σ_i e_i ⊗ D_i ⊗ â with D = ∂h'/∂z, a sum of tensors of order 3. Random signs ν, one for each state
    variable, make one term of it, ν ⊗ νD ⊗ â; a random cube root of unity ω merges that with the past, (A v) ⊗ a ⊗ b:

        v ← α_v A v + ω β_v ν,      a ← α_a a + ω β_a νD,      b ← α_b b + ω β_b â

    The mean over ν and ω is A G̃ + B, since E ω = E ω² = 0 and ω³ = 1 (see `fwdgrad.influence.reduction`; the past could
    have a root of its own, but only their ratio enters the product). The scales have the products α_v α_a α_b =
    β_v β_a β_b = 1. They give the factors of each term equal norms, which is the least variance; a term with a zero
    factor is dropped. Norms are Euclidean, whatever the metric. ν, ω and v serve all matrices at once: G̃ of each of
    them has the mean of its own.

    Memory 2(n + Σ (m + r)) numbers: less than the Σ m·r parameters themselves. Time per step: two forward products,
    one backward product that stops at z, and O(m r) for the gradient of each matrix.

    Merging three factors makes more noise than merging two: see `docs/beyond.md` for how much, and when that pays.

    Matrices enter as for `Kronecker`; one that is used twice, or in any other way, is refused: see `Split`. So are
    windows of more than one step, over which every matrix is used once a step.

    Unbiased for fixed θ.
    """

    single_step: ClassVar[str] = SINGLE_STEP

    def takes(self, layout: Layout) -> tuple[str, ...]:
        """The leaves that can be kept in this form.

        Raises:
            DeclarationError: it cannot be known, because the functions cannot be traced.
        """
        return tuple(known_products(layout.patterns, "TensorNoBackTrack").products)

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> TensorProductState:
        """Zeros.

        Raises:
            DeclarationError: a leaf does not enter through one product only.
        """
        sizes = factor_sizes(layout, "TensorNoBackTrack")
        return TensorProductState(
            _zeros(layout.size, layout.dtype),
            {k: _zeros(m, layout.dtype) for k, (m, _) in sizes.items()},
            {k: _zeros(r, layout.dtype) for k, (_, r) in sizes.items()},
        )

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """ν, one sign per state variable, and ω."""
        return NoiseSpec("signs", (layout.size,)), NoiseSpec("cube roots", ())

    def pull(self, state: TensorProductState, row: Row, layout: Layout) -> Leaves:
        """Re (c·v) a ⊗ b."""
        axes = _axes(layout)
        along = Complex(row(state.v.real), row(state.v.imag))
        return {k: _real_outer(times(along, a), state.b[k], axes[k]) for k, a in state.a.items()}

    def advance(self, state: TensorProductState, lin: Any, noise: tuple[Any, ...]) -> TensorProductState:
        """The reduction above."""
        (signs, number), terms = noise, lin.products()
        root = roots_of_unity(3, number)
        old = state._replace(v=Complex(lin.jvp(state.v.real), lin.jvp(state.v.imag)))
        new = TensorProductState(
            signs, {k: terms[k].vjp(signs) for k in state.a}, {k: terms[k].factor for k in state.b}
        )
        past, now = _scales(old), _scales(new)

        def merged(alpha: Any, x: Any, beta: Any, y: Any) -> Complex:
            x, y = times(alpha, x), times(times(beta, root), y)
            return Complex(x.real + y.real, x.imag + y.imag)

        return TensorProductState(
            merged(past.v, old.v, now.v, new.v),
            {k: merged(past.a[k], old.a[k], now.a[k], new.a[k]) for k in state.a},
            {k: merged(past.b[k], old.b[k], now.b[k], new.b[k]) for k in state.b},
        )

    def magnitude(self, state: TensorProductState) -> Any:
        """‖v‖² + Σ ‖a‖² + ‖b‖²."""
        return sum(np.dot(leaf, leaf) for leaf in flatten(state))

    def dense(self, state: TensorProductState, layout: Layout) -> Leaves:
        """Re v ⊗ a ⊗ b, the axes in the leaf's order."""
        axes = _axes(layout)
        v = Complex(np.expand_dims(state.v.real, -1), np.expand_dims(state.v.imag, -1))
        made = {k: np.zeros((layout.size, *shape), layout.dtype) for k, shape in layout.leaves.items()}
        for k, a in state.a.items():
            made[k] = _real_outer(times(v, a), state.b[k], axes[k])
        return made


def _scales(term: TensorProductState) -> TensorProductState:
    """A scale for every factor of v ⊗ a ⊗ b: equal norms; v meets all matrices together, Σ ‖a ⊗ b‖²."""
    a, b = ({k: sum(np.dot(x, x) for x in flatten(f)) for k, f in factors.items()} for factors in term[1:])
    weight = np.sqrt(sum(a[k] * b[k] for k in a))
    v, rest, _ = scales([sum(np.dot(x, x) for x in flatten(term.v)), weight, weight])
    pairs = {k: scales([a[k], b[k]]) for k in a}
    return TensorProductState(
        v, {k: rest * s for k, (s, _) in pairs.items()}, {k: rest * s for k, (_, s) in pairs.items()}
    )


def _real_outer(rows: Complex, u: Complex, axis: int) -> Any:
    """The real part of rows ⊗ u."""
    return outer(rows.real, u.real, axis) - outer(rows.imag, u.imag, axis)


def _axes(layout: Layout) -> dict[str, int]:
    """Which axis of each matrix is that of b."""
    return {k: p.axis for k, p in known_products(layout.patterns, "TensorNoBackTrack").products.items()}


def _zeros(size: int, dtype: Any) -> Complex:
    return Complex(np.zeros(size, dtype), np.zeros(size, dtype))
