"""Influence on a sparse pattern: exact where the pattern is closed (sparse RTRL), an approximation elsewhere (SnAp)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, Row, squared_norm
from fwdgrad.program import operations as ops
from fwdgrad.structure import Patterns
from fwdgrad.structure.closure import closed_pattern, reached_pattern

__all__ = ["Masked", "MaskedState"]


class MaskedState(NamedTuple):
    """The entries of G on the pattern, one vector per leaf, column by column."""

    G: Leaves


class _Leaf(NamedTuple):
    """Where the entries of one leaf's block of G stand, and how A G + B is computed on them."""

    row: np.ndarray
    """Row of each entry."""
    column: np.ndarray
    """Column of each entry: entries are sorted by column, then row."""
    width: int
    fresh: np.ndarray
    """Place in G of each entry of B, in the order of B's pattern."""
    target: np.ndarray
    a: np.ndarray
    g: np.ndarray
    """The terms of A G: entry `target` of G gets entry `a` of A times entry `g` of G."""


@dataclass(frozen=True)
class Masked:
    """G on the entries of a pattern M, dropped elsewhere: G ← M∘(A G + B).

    Args:
        order: None for the closed pattern, the smallest M that contains the pattern of B and is mapped into itself by
            the pattern of A: nothing is ever dropped, and this *is* RTRL (exact for fixed θ). k ≥ 1 for the pattern of
            k steps, M = pattern(Σ_{j<k} Aʲ B): SnAp-k (Menick et al. 2021), biased unless that pattern is closed.

    Memory: the entries of M; time: the terms of A G on M, plus one forward product per colour of A's columns and one
    backward product per colour of B's rows. O(p) for diagonal recurrences. Windows of one step only.
    """

    random: ClassVar[bool] = False
    single_step: ClassVar[str] = (
        "the pattern is that of a single step, not of a window of {window}. Use window=1, or Hybrid."
    )

    order: int | None = None

    def __post_init__(self) -> None:
        order = self.order
        if order is not None and (isinstance(order, bool) or not isinstance(order, int) or order < 1):
            raise DeclarationError(f"Masked(order=…): expected an integer of at least 1 or None, got {self.order!r}.")

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> MaskedState:
        """Zeros."""
        plan = _plan(_patterns(layout.patterns), self.order)
        return MaskedState({k: np.zeros(len(leaf.row), layout.dtype) for k, leaf in plan.items()})

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """None."""
        return ()

    def pull(self, state: MaskedState, row: Row, layout: Layout) -> Leaves:
        """c·G: every entry times the c of its row, summed over each column."""
        plan, c = _plan(_patterns(layout.patterns), self.order), row.array
        made = {}
        for k, leaf in plan.items():
            terms = c[leaf.row] * state.G[k]
            if not (len(leaf.column) == leaf.width and np.array_equal(leaf.column, np.arange(leaf.width))):
                terms = _sum_at(terms, leaf.column, leaf.width)
            made[k] = np.reshape(terms, layout.leaves[k])
        return made

    def advance(self, state: MaskedState, lin: Any, noise: tuple[Any, ...]) -> MaskedState:
        """A G + B on the pattern."""
        plan = _plan(_patterns(lin.patterns), self.order)
        A, B = lin.entries()
        made = {}
        for k, leaf in plan.items():
            size = len(leaf.row)
            through = A[leaf.a] * state.G[k][leaf.g]
            if not (len(leaf.target) == size and np.array_equal(leaf.target, np.arange(size))):
                through = _sum_at(through, leaf.target, size)
            fresh = B[k] if np.array_equal(leaf.fresh, np.arange(size)) else _sum_at(B[k], leaf.fresh, size)
            made[k] = through + fresh
        return MaskedState(made)

    def push(self, state: MaskedState, leaves: Leaves, layout: Layout) -> Any:
        """Σ G v over the leaves: every entry times the v of its column, summed over each row."""
        plan = _plan(_patterns(layout.patterns), self.order)
        terms = [state.G[k] * np.ravel(v)[plan[k].column] for k, v in leaves.items()]
        return _sum_at(np.concatenate(terms), np.concatenate([plan[k].row for k in leaves]), layout.size)

    def magnitude(self, state: MaskedState) -> Any:
        """Sum of squares."""
        return squared_norm(state.G)

    def dense(self, state: MaskedState, layout: Layout) -> Leaves:
        """The entries at their places, zeros elsewhere."""
        plan = _plan(_patterns(layout.patterns), self.order)
        made = {k: np.zeros((layout.size, *shape), layout.dtype) for k, shape in layout.leaves.items()}
        for k, leaf in plan.items():
            table = np.zeros((layout.size, leaf.width), layout.dtype)
            table[leaf.row, leaf.column] = state.G[k]
            made[k] = table.reshape(layout.size, *layout.leaves[k])
        return made


def _patterns(patterns: Any) -> Patterns:
    if patterns is None:
        raise DeclarationError(
            "A masked influence needs to know which parameter feeds which state variable, and the system's functions\n"
            "cannot be traced. Use RTRL() or UORO(), or make them traceable."
        )
    return patterns


def _sum_at(values: Any, places: np.ndarray, size: int) -> Any:
    """Zeros of length `size` with `values` added at `places`."""
    return ops.scatter_add(values, places, index=(("operand",),), shape=(size,))


@lru_cache(maxsize=16)
def _plan(patterns: Patterns, order: int | None) -> dict[str, _Leaf]:
    """The tables for every leaf."""
    S = patterns.transition.state
    made = {}
    for name in patterns.influential:
        B = patterns.transition.leaves[name]
        M = closed_pattern(S, B) if order is None else reached_pattern(S, B, order)
        made[name] = _tables(S, B, M)
    return made


def _tables(S: sp.csr_array, B: sp.csr_array, M: sp.csr_array) -> _Leaf:
    n, width = M.shape
    by_column = sp.csc_array(M)
    by_column.sort_indices()
    row = by_column.indices.astype(np.int64)
    column = np.repeat(np.arange(width), np.diff(by_column.indptr))
    place = column * n + row  # increasing

    def position(i: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where entries (i, k) stand in M, and whether they do."""
        key = k * n + i
        found = np.minimum(np.searchsorted(place, key), len(place) - 1)
        return found, place[found] == key if len(place) else np.zeros(len(key), bool)

    i, k = B.nonzero()
    fresh, _ = position(i.astype(np.int64), k.astype(np.int64))
    # every entry (j, k) of G reaches the rows i of column j of S
    columns = sp.csr_array(S.T)
    columns.sort_indices()
    entry_of_a = sp.csr_array((np.arange(1, S.nnz + 1), S.indices, S.indptr), shape=S.shape).T.tocsr()
    entry_of_a.sort_indices()
    counts = np.diff(entry_of_a.indptr)[row]
    source = np.repeat(np.arange(len(row)), counts)
    first = np.repeat(entry_of_a.indptr[row], counts)
    step = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    where = first + step
    target, kept = position(entry_of_a.indices[where].astype(np.int64), column[source])
    order = np.argsort(target[kept], kind="stable")
    return _Leaf(
        row, column, width, fresh, target[kept][order], (entry_of_a.data[where][kept] - 1)[order], source[kept][order]
    )
