"""Units: state variables that share parameters; and what else a parameter leaf can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from fwdgrad.program import Program
from fwdgrad.structure.patterns import Patterns
from fwdgrad.structure.products import Product, uses_of

__all__ = ["Units", "product_leaves", "units_of"]


@dataclass(frozen=True, eq=False)
class Units:
    """A grouping of the state variables, with the parameters of each group."""

    count: int
    """Number of units."""
    states: np.ndarray
    """Unit of each state variable, shape (n,)."""
    parameters: dict[str, np.ndarray]
    """Unit of each entry of each leaf, of the leaf's shape; −1 for entries that feed no unit, or several."""
    bias: list[tuple[str, int] | None]
    """For each unit its bias-like parameter (leaf, flat index): it enters additively, with a constant coefficient."""


def units_of(patterns: Patterns) -> Units:
    """Group state variables that share parameters of the sparse leaves.

    Leaves whose rows are dense (a parameter that feeds everything) do not merge units; their entries belong to none.
    """
    n = patterns.size
    sparse = patterns.sparse_leaves
    links = [_links(patterns.transition.leaves[k]) for k in sparse]
    one, other = (np.concatenate([np.zeros(0, np.int64), *(link[k] for link in links)]) for k in (0, 1))
    graph = sp.csr_array((np.ones(len(one)), (one, other)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, states = np.unique(label, return_inverse=True)
    count = int(states.max(initial=-1)) + 1
    parameters: dict[str, np.ndarray] = {}
    bias: list[tuple[str, int] | None] = [None] * count
    for leaf in patterns.influential:
        pattern = patterns.transition.leaves[leaf]
        owner = np.full(pattern.shape[1], -1)
        if leaf in sparse:
            owner[pattern.indices] = np.repeat(states, np.diff(pattern.indptr))
            candidates = patterns.transition.constant[leaf].indices  # row by row
            _, first = np.unique(owner[candidates], return_index=True)
            for k in candidates[np.sort(first)].tolist():
                bias[owner[k]] = bias[owner[k]] or (leaf, k)
        parameters[leaf] = owner.reshape(patterns.shapes[leaf])
    return Units(count, states, parameters, bias)


def _links(pattern: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows that share a column; enough of them to connect all rows of each column."""
    columns = sp.csc_array(pattern)
    same = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
    chained = same[1:] == same[:-1]
    return columns.indices[:-1][chained], columns.indices[1:][chained]


def product_leaves(transition: Program, number: dict[str, int]) -> tuple[str, ...]:
    """Matrices that enter the transition only through matrix-vector products, W @ a, a @ W or R[:, x]."""
    uses = uses_of(transition, number)
    return tuple(k for k in number if uses[k] and all(isinstance(use, Product) for use in uses[k]))
