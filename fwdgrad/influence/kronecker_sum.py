"""Several Kronecker products with optimal mixing: G̃ = Σ_j u_j ⊗ H_j for matrices that share their factor. OK-RTRL."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, Row, squared_norm
from fwdgrad.influence.mixing import mixture
from fwdgrad.influence.products import SINGLE_STEP, factor_sizes, known_products
from fwdgrad.program import map_rows
from fwdgrad.structure import Patterns
from fwdgrad.support.trees import cut

__all__ = ["Group", "KroneckerSum", "KroneckerSumState", "groups_of"]


class KroneckerSumState(NamedTuple):
    """For each group of matrices its factors, under the name of the first: u, (r, length of a), and H, (n, r, m).

    m is the length of all products of the group, one after the other. A group whose a has no more than r numbers has
    the unit vectors for u, which are not kept, and H is its influence in full.
    """

    u: Leaves
    H: Leaves


class Group(NamedTuple):
    """Matrices that are used in products with the same vector."""

    leaves: tuple[str, ...]
    ends: tuple[int, ...]
    """Where the part of each of them ends in H."""
    length: int
    """Of the vector."""


@dataclass(frozen=True)
class KroneckerSum:
    """G̃ = Σ_j u_j ⊗ H_j, j = 1 … r, for matrices Ŵ that enter F through one product z = Ŵ a each, and in no other way.

    Then ∂h'/∂Ŵ = D ⊗ a with D = ∂h'/∂z exactly, and A G̃ + B = Σ_j u_j ⊗ (A H_j) + a ⊗ D is a sum of r + 1 terms. The
    least noisy unbiased estimate by r of them is kept (Benzing et al. 2019, "Optimal Kronecker-Sum Approximation of
    Real Time Recurrent Learning"; see `fwdgrad.influence.mixing`): large components stay as they are, random signs
    merge the small ones. With r = 1 this is `Kronecker` with the best of all scales.

    Matrices with the same a, such as the three recurrent ones of a gated unit, are one matrix, with the products one
    below the other. Where a has no more than r numbers, a symbol's unit vector for one, nothing is reduced, and the
    influence is exact. Matrices enter as for `Kronecker`. Norms are Euclidean whatever the metric.

    Args:
        rank: r.

    Memory r (length of a + n·m) numbers for each group. Time per step: min(n, r m) forward products, O(r n² m) for A H,
    one backward product for each colour of the rows of D, and O(r² n m) for mixing.

    Unbiased for fixed θ.
    """

    rank: int = 4

    single_step = SINGLE_STEP

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, (int, np.integer)) or self.rank < 1:
            raise DeclarationError(f"KroneckerSum(rank=…): expected an integer of at least 1, got {self.rank!r}.")
        object.__setattr__(self, "rank", int(self.rank))

    def takes(self, layout: Layout) -> tuple[str, ...]:
        """The leaves that can be kept in this form.

        Raises:
            DeclarationError: it cannot be known, because the functions cannot be traced.
        """
        return tuple(known_products(layout.patterns, "OK").products)

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> KroneckerSumState:
        """Zeros.

        Raises:
            DeclarationError: a leaf does not enter through one product only.
        """
        factor_sizes(layout, "OK")
        groups, dtype = groups_of(known_products(layout.patterns, "OK")), layout.dtype
        return KroneckerSumState(
            {g.leaves[0]: np.zeros((self.rank, g.length), dtype) for g in self._reduced(groups)},
            {g.leaves[0]: np.zeros((layout.size, self._kept(g), g.ends[-1]), dtype) for g in groups},
        )

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """ε: r + 1 signs for each group that is reduced."""
        count = len(self._reduced(groups_of(known_products(layout.patterns, "OK"))))
        return (NoiseSpec("signs", (count, self.rank + 1)),) if count else ()

    def pull(self, state: KroneckerSumState, row: Row, layout: Layout) -> Leaves:
        """Σ_j u_j ⊗ (c·H_j)."""
        c, patterns = row.array, known_products(layout.patterns, "OK")
        return self._opened(state, {k: np.tensordot(c, H, axes=1) for k, H in state.H.items()}, patterns)

    def advance(self, state: KroneckerSumState, lin: Any, noise: tuple[Any, ...]) -> KroneckerSumState:
        """The reduction above."""
        terms, carried = lin.products(), _through(lin, state.H)
        u: Leaves = {}
        H: Leaves = {}
        for group in groups_of(known_products(lin.patterns, "OK")):
            k = group.leaves[0]
            a, D = terms[k].factor, np.concatenate([terms[leaf].jacobian() for leaf in group.leaves], axis=1)
            if k not in state.u:
                H[k] = carried[k] + np.expand_dims(D, 1) * np.reshape(a, (-1, 1))
                continue
            all_terms = np.concatenate([np.expand_dims(D, 1), carried[k]], axis=1)
            left = [a, *(state.u[k][j] for j in range(self.rank))]
            right = [all_terms[:, j] for j in range(self.rank + 1)]
            made, weights = mixture(left, right, noise[0][len(u)])
            u[k], H[k] = np.stack(made), np.matmul(np.transpose(weights), all_terms)
        return KroneckerSumState(u, H)

    def magnitude(self, state: KroneckerSumState) -> Any:
        """Σ ‖u‖² + ‖H‖²."""
        return squared_norm(state.u) + squared_norm(state.H)

    def dense(self, state: KroneckerSumState, layout: Layout) -> Leaves:
        """Σ_j u_j ⊗ H_j, the axes in the leaf's order."""
        patterns = known_products(layout.patterns, "OK")
        rows = [self._opened(state, {k: H[i] for k, H in state.H.items()}, patterns) for i in range(layout.size)]
        return {k: np.stack([row[k] for row in rows]) for k in layout.leaves}

    def _kept(self, group: Group) -> int:
        return min(self.rank, group.length)

    def _reduced(self, groups: tuple[Group, ...]) -> list[Group]:
        return [g for g in groups if g.length > self.rank]

    def _opened(self, state: KroneckerSumState, rows: Leaves, patterns: Patterns) -> Leaves:
        """Σ_j u_j ⊗ rows_j, leaf by leaf, for rows (r, m) of each group."""
        made = {}
        for group in groups_of(patterns):
            k = group.leaves[0]
            for leaf, start, end in zip(group.leaves, (0, *group.ends[:-1]), group.ends, strict=True):
                part = rows[k][:, start:end]
                whole = np.dot(np.transpose(part), state.u[k]) if k in state.u else np.transpose(part)
                made[leaf] = whole if patterns.products[leaf].axis == 1 else np.transpose(whole)
        return made


@lru_cache(maxsize=16)
def groups_of(patterns: Patterns) -> tuple[Group, ...]:
    """The matrices, by the vector that they are multiplied with."""
    found: dict[Any, list[str]] = {}
    for leaf, product in patterns.products.items():
        length = patterns.shapes[leaf][product.axis]
        found.setdefault((product.factor, product.selects, length), []).append(leaf)
    made = []
    for (_, _, length), leaves in found.items():
        widths = [patterns.shapes[k][1 - patterns.products[k].axis] for k in leaves]
        made.append(Group(tuple(leaves), tuple(int(end) for end in np.cumsum(widths)), length))
    return tuple(made)


def _through(lin: Any, H: Leaves) -> Leaves:
    """A H_j for every group: column by column, or by way of A if that takes fewer forward products."""
    n, dtype = lin.value.shape[0], lin.value.dtype
    if n <= sum(h.shape[1] * h.shape[2] for h in H.values()):
        (columns,) = map_rows(lambda row: [lin.jvp(row)], np.eye(n, dtype=dtype))
        A = np.transpose(columns)
        return {k: np.tensordot(A, h, axes=1) for k, h in H.items()}
    table = np.concatenate([np.transpose(np.reshape(h, (n, -1))) for h in H.values()])
    (columns,) = map_rows(lambda row: [lin.jvp(row)], table)
    return dict(zip(H, cut(np.transpose(columns), [h.shape[1:] for h in H.values()], axis=1), strict=True))
