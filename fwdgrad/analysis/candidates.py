"""What every estimator would cost on a system: products with its Jacobians, and what is done with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fwdgrad.analysis.products import Products
from fwdgrad.estimators import RTRL, TBPTT, UORO, Estimator, NoBackTrack, SnAp, SparseRTRL, TensorNoBackTrack
from fwdgrad.structure import MOST, Patterns
from fwdgrad.structure.closure import closed_size, kept_terms

__all__ = ["Candidate", "candidates_for", "size_of"]


@dataclass(frozen=True)
class Candidate:
    """An estimator with what it is predicted to cost and how far it can be trusted.

    Attributes:
        label: what to call it.
        make: the estimator.
        multiply_adds: per step, everything included, with SGD as optimizer.
        nbytes: memory of the influence, in bytes.
        vjps: backward products with the transition's Jacobian per step, the gradient's own included.
        jvps: forward products likewise.
        bias: "none", or where the bias comes from. For fixed θ.
        variance: "none", or what sets it.
    """

    label: str
    make: Callable[[], Estimator]
    multiply_adds: float
    nbytes: float
    vjps: int
    jvps: int
    bias: str
    variance: str


def size_of(patterns: Patterns, leaves: Sequence[str]) -> int:
    """Number of entries of some leaves."""
    return sum(math.prod(patterns.shapes[k]) for k in leaves)


def candidates_for(patterns: Patterns, products: Products, closed: int) -> tuple[Candidate, ...]:
    """Every estimator that a user can ask for by name, exact ones first, then random ones, then biased ones.

    Args:
        patterns: of the system.
        products: their costs.
        closed: entries of the closed influence pattern.
    """
    n, p = patterns.size, size_of(patterns, patterns.influential)
    # the loss and its gradient in h', SGD's two passes over θ, and one to see that all is finite
    ends = products.observed + 3.0 * size_of(patterns, patterns.trainable) + 3 * n
    base = ends + products.backward
    # rank one needs no product with the state's Jacobian from the left: c·(A v) in place of (c A)·v
    narrow = ends + products.parameters + n
    families = list(zip(patterns.row_families, products.rows, strict=True))
    few = [(family, cost) for family, cost in families if family.count <= MOST]
    many = [(family, cost) for family, cost in families if family.count > MOST]
    rows, rows_few = sum(family.count for family, _ in families), sum(family.count for family, _ in few)
    columns = int(patterns.column_colours.max(initial=-1)) + 1
    # all rows of B: one product for each colour, or one for each row; their entries, which are squared and weighted
    coloured = float(sum(family.count * cost for family, cost in few))
    one_by_one = float(sum(n * cost for _, cost in many))
    entries_few = sum(family.count * size_of(patterns, list(family.leaves)) for family, _ in few)
    entries_all = entries_few + n * sum(size_of(patterns, list(family.leaves)) for family, _ in many)
    masked = columns * products.forward + coloured + one_by_one
    # A v and its norm, v and w, ‖w‖², and the pull at G̃; the scales, a fourth root of a ratio each
    reduced, scales = products.forward + 6.0 * p + 6 * n + 25, 12 * n
    by_columns = p < n
    exact = p * products.both if by_columns else n * products.backward + (n + 1.0) * n * p
    # terms of A G: every entry of G times the entries in its column of A
    S = patterns.transition.state
    users = np.bincount(S.indices, minlength=n)
    first = sum(patterns.transition.leaves[k].nnz for k in patterns.influential)
    signs = "random signs"
    return (
        Candidate(
            "RTRL",
            RTRL,
            base + exact + 3.0 * n * p,
            8.0 * n * p,
            1 if by_columns else 1 + n,
            p if by_columns else 0,
            "none",
            "none",
        ),
        Candidate(
            "SparseRTRL",
            SparseRTRL,
            base + masked + 2.0 * closed_size(S, patterns.parameter_kinds, users) + 5.0 * closed,
            8.0 * closed,
            1 + rows,
            columns,
            "none",
            "none",
        ),
        Candidate(
            "NoBackTrack",
            NoBackTrack,
            narrow + reduced + scales + coloured + one_by_one + 3.0 * entries_all,
            8.0 * (n + p),
            1 + rows,
            1,
            "none",
            f"{signs}, one scale per variable",
        ),
        Candidate(
            "NoBackTrack, mixed",
            lambda: NoBackTrack(scale="mixed"),
            narrow + reduced + bool(few) * scales + coloured + 3.0 * entries_few + sum(cost for _, cost in many),
            8.0 * (n + p),
            1 + rows_few + bool(many),
            1,
            "none",
            f"{signs}, scales of sparse leaves",
        ),
        Candidate(
            "UORO, probe-scaled",
            lambda: UORO(scale="probe"),
            narrow + reduced + scales + products.parameters + products.both + p + 5.0 * n,
            8.0 * (2 * n + p),
            2,
            2,
            "none",
            f"{signs}, scales from past steps",
        ),
        Candidate(
            "UORO",
            UORO,
            narrow + reduced + products.parameters + 2.0 * p,
            8.0 * (n + p),
            2,
            1,
            "none",
            f"{signs}, one common scale",
        ),
        *_tensor(patterns, products, narrow),
        Candidate(
            "SnAp-1",
            lambda: SnAp(1),
            base + masked + 2.0 * kept_terms(S, patterns.parameter_kinds) + 5.0 * first,
            8.0 * first,
            1 + rows,
            columns,
            "none" if first == closed else "drops influence that leaves the pattern of ∂F/∂θ",
            "none",
        ),
        Candidate(
            "TBPTT(1)",
            lambda: TBPTT(1),
            ends + products.parameters,
            0.0,
            1,
            0,
            "forgets the past" if p and S.nnz else "none",
            "none",
        ),
    )


def _tensor(patterns: Patterns, products: Products, narrow: float) -> tuple[Candidate, ...]:
    """The one for matrices in products, if there are any; the other leaves as in UORO."""
    matrices = tuple(patterns.products)
    if not matrices:
        return ()
    n, entries, sides = patterns.size, size_of(patterns, matrices), sum(sum(patterns.shapes[k]) for k in matrices)
    p = size_of(patterns, patterns.influential) - entries
    # A v twice; v, a and b scaled, merged and measured; two outer products for the pull at G̃, and one sum
    tensor = 2 * products.forward + products.sensitivities + 4.0 * entries + 14.0 * (n + sides) + 100
    rest = (products.forward + products.others + 8.0 * p + 6 * n + 25) if p else 0.0
    return (
        Candidate(
            "TensorNoBackTrack",
            TensorNoBackTrack,
            narrow + tensor + rest,
            8.0 * (2 * (n + sides) + (n + p if p else 0)),
            3 if p else 2,
            3 if p else 2,
            "none",
            "random signs and cube roots",
        ),
    )
