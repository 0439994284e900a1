"""Influence on a sparse pattern: exact where the pattern is closed (sparse RTRL), an approximation elsewhere (SnAp)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp

from fwdgrad.errors import DeclarationError
from fwdgrad.influence.base import Dropped, ExplicitRow, Layout, Leaves, NoiseSpec, Row, squared_norm
from fwdgrad.program import operations as ops
from fwdgrad.program.closure import closed_pattern, kept_entries, reached_pattern
from fwdgrad.structure import MOST, Patterns

__all__ = ["Masked", "MaskedState"]


THIN = 8
"""What is dropped is computed entry by entry if that takes at most so many terms for each entry that is kept."""


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
    blocks: tuple[int, int, int] | None
    """(o, r, d) where the entries are o times r columns that are alike, of d rows each, and every row of a column gets
    terms of all d: then indices repeat, and numbers of A and of rows are broadcast in place of looked up."""


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
            terms = _by_row(c, leaf, state.G[k])
            if leaf.blocks is not None:
                terms = np.sum(np.reshape(terms, (-1, leaf.blocks[2])), axis=1)
            elif not (len(leaf.column) == leaf.width and np.array_equal(leaf.column, np.arange(leaf.width))):
                terms = _sum_at(terms, leaf.column, leaf.width)
            made[k] = np.reshape(terms, layout.leaves[k])
        return made

    def advance(self, state: MaskedState, lin: Any, noise: tuple[Any, ...]) -> MaskedState:
        """A G + B on the pattern."""
        plan = _plan(_patterns(lin.patterns), self.order)
        numbers, A = self._kept_entries(lin)
        fresh, made = _placed(plan, lin.parameter_entries()), {}
        for k, leaf in plan.items():
            size = len(leaf.row)
            at = leaf.a if numbers is None else np.searchsorted(numbers, leaf.a)
            if leaf.blocks is not None:
                made[k] = _through_blocks(A, at, state.G[k], leaf.blocks) + fresh[k]
                continue
            through = A[at] * state.G[k][leaf.g]
            if not (len(leaf.target) == size and np.array_equal(leaf.target, np.arange(size))):
                through = _sum_at(through, leaf.target, size)
            made[k] = through + fresh[k]
        return MaskedState(made)

    def _kept_entries(self, lin: Any) -> tuple[np.ndarray | None, Any]:
        """The entries of A that keep influence in the pattern, and their numbers; None for all of them.

        A pattern that is closed takes all that there are.
        """
        if self.order is None:
            return None, lin.entries()[0]
        numbers = _entries_of(_patterns(lin.patterns), self.order)
        return numbers, lin.state_entries(numbers)

    def fresh(self, lin: Any) -> Leaves:
        """B on the pattern."""
        return _placed(_plan(_patterns(lin.patterns), self.order), lin.parameter_entries())

    def combined(self, state: MaskedState, weights: Any, layout: Layout) -> Leaves:
        """Σ_i weights_i G_i, over the rows of G."""
        return self.pull(state, ExplicitRow(weights), layout)

    def row_squares(self, state: MaskedState, lin: Any) -> Any:
        """‖G_i‖² of the rows, shape (n,)."""
        plan, n = _plan(_patterns(lin.patterns), self.order), lin.value.shape[0]
        made = [_summed_by_row(state.G[k] * state.G[k], leaf, n) for k, leaf in plan.items()]
        return sum(made[1:], made[0]) if made else np.zeros(n, lin.value.dtype)

    def dropped(self, state: MaskedState, after: MaskedState, lin: Any) -> Dropped | None:
        """N = A G outside of the pattern, term by term; None if that takes too many numbers, or nothing is dropped.

        - If the pattern keeps, of every entry of A, all terms or none, as it does where each parameter feeds one unit,
          N = Â G with Â the entries of which none is kept: left factors are its columns, right ones the rows of G.
        - If what is dropped has few entries, a thin ring around the pattern, they are computed: N = Σ_i e_i ⊗ N_i.
        """
        patterns, n = _patterns(lin.patterns), lin.value.shape[0]
        plan = _plan(patterns, self.order)
        passing = _passing(patterns, self.order)
        if passing is not None:
            return self._through(state, lin, passing)
        rings = _rings(patterns, self.order)
        if rings is None:
            return None
        A, _ = lin.entries()
        N = {k: _sum_at(A[ring.a] * state.G[k][ring.g], ring.target, len(ring.row)) for k, ring in rings.items()}
        squares = [_sum_at(N[k] * N[k], ring.row, n) for k, ring in rings.items()]

        def right(weights: Any) -> Leaves:
            return {
                k: np.reshape(_sum_at(weights[ring.row] * N[k], ring.column, plan[k].width), patterns.shapes[k])
                for k, ring in rings.items()
            }

        norms = sum(squares[1:], squares[0]) if squares else np.zeros(n, lin.value.dtype)
        return Dropped(lambda x: x, right, np.ones_like(norms), norms)

    def _through(self, state: MaskedState, lin: Any, passing: np.ndarray) -> Dropped:
        """N = Â G for the entries `passing` of A; where they are many, by what A has besides those that are kept."""
        patterns, n = _patterns(lin.patterns), lin.value.shape[0]
        places, layout = patterns.transition.state.nonzero(), Layout.of(lin)
        squares = self.row_squares(state, lin)
        if self.order is not None and int(patterns.column_colours.max(initial=-1)) >= MOST:
            numbers, kept = self._kept_entries(lin)
            row, column = (a.astype(np.int64)[numbers] for a in places)
            return Dropped(
                lambda x: lin.jvp(x) - _sum_at(kept * x[column], row, n),
                lambda y: self.combined(state, y, layout),
                lin.column_sizes(),
                squares,
                relative=True,
            )
        row, column = (a.astype(np.int64)[passing] for a in places)
        values = lin.entries()[0][passing]
        return Dropped(
            lambda x: _sum_at(values * x[column], row, n),
            lambda y: self.combined(state, y, layout),
            _sum_at(values * values, column, n),
            squares,
        )

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


def _placed(plan: dict[str, _Leaf], B: Leaves) -> Leaves:
    """The entries of B at their places in the pattern."""
    made = {}
    for k, leaf in plan.items():
        size = len(leaf.row)
        if np.array_equal(leaf.fresh, np.arange(size)):
            made[k] = B[k]
        elif np.array_equal(np.sort(leaf.fresh), np.arange(size)):
            made[k] = B[k][np.argsort(leaf.fresh)]
        else:
            made[k] = _sum_at(B[k], leaf.fresh, size)
    return made


def _sum_at(values: Any, places: np.ndarray, size: int) -> Any:
    """Zeros of length `size` with `values` added at `places`."""
    return ops.scatter_add(values, places, index=(("operand",),), shape=(size,))


def _by_row(weights: Any, leaf: _Leaf, values: Any) -> Any:
    """Every value times the weight of its row."""
    if leaf.blocks is None:
        return weights[leaf.row] * values
    o, r, d = leaf.blocks
    spread = np.reshape(weights[leaf.row.reshape(o, r, d)[:, 0].ravel()], (o, 1, d))
    return np.reshape(spread * np.reshape(values, (o, r, d)), (-1,))


def _summed_by_row(values: Any, leaf: _Leaf, size: int) -> Any:
    """The sum of the values of every row."""
    if leaf.blocks is None:
        return _sum_at(values, leaf.row, size)
    o, r, d = leaf.blocks
    sums = np.reshape(np.sum(np.reshape(values, (o, r, d)), axis=1), (-1,))
    return _sum_at(sums, leaf.row.reshape(o, r, d)[:, 0].ravel(), size)


def _through_blocks(A: Any, at: np.ndarray, G: Any, blocks: tuple[int, int, int]) -> Any:
    """A G where each column of a block meets the same d × d entries of A, with numbers `at`."""
    o, r, d = blocks
    places, G = at.reshape(o, r, d, d)[:, 0], np.reshape(G, (o, r, d))
    terms = [np.reshape(A[places[:, :, j].ravel()], (o, 1, d)) * G[:, :, j : j + 1] for j in range(d)]
    return np.reshape(sum(terms[1:], terms[0]), (-1,))


def _blocks_of(
    width: int, row: np.ndarray, target: np.ndarray, a: np.ndarray, g: np.ndarray
) -> tuple[int, int, int] | None:
    """(o, r, d) as in `_Leaf`; None if entries do not stand so, or no two columns are alike."""
    size = len(row)
    d = size // max(width, 1)
    if not d or size != d * width or len(a) != size * d or not np.array_equal(target, np.repeat(np.arange(size), d)):
        return None
    if not np.array_equal(g.reshape(width, d, d), np.broadcast_to(np.arange(size).reshape(width, 1, d), (width, d, d))):
        return None
    kinds = np.concatenate([row.reshape(width, d), a.reshape(width, d * d)], axis=1)
    changes = np.flatnonzero(np.any(kinds[1:] != kinds[:-1], axis=1)) + 1
    r = int(np.gcd.reduce(changes, initial=width))
    return (width // r, r, d) if r > 1 else None


@lru_cache(maxsize=16)
def _plan(patterns: Patterns, order: int | None) -> dict[str, _Leaf]:
    """The tables for every leaf."""
    transition = patterns.transition
    return {
        name: _tables(transition.state, transition.leaves[name], _kept(patterns, name, order))
        for name in patterns.influential
    }


def _kept(patterns: Patterns, name: str, order: int | None) -> sp.csr_array:
    """The pattern on which the influence of a leaf is kept."""
    S, B = patterns.transition.state, patterns.transition.leaves[name]
    return sp.csr_array(closed_pattern(S, B) if order is None else reached_pattern(S, B, order))


@lru_cache(maxsize=16)
def _entries_of(patterns: Patterns, order: int) -> np.ndarray:
    """Numbers of the entries of A that are needed."""
    return kept_entries(patterns.transition.state, [_kept(patterns, k, order) for k in patterns.influential])


@lru_cache(maxsize=16)
def _passing(patterns: Patterns, order: int | None) -> np.ndarray | None:
    """Numbers of the entries of A of which no term stays in the pattern, if of the others all do; else None."""
    row, column = (a.astype(np.int64) for a in patterns.transition.state.nonzero())
    kept, terms = np.zeros(len(row), int), np.zeros(len(row), int)
    for leaf in _plan(patterns, order).values():
        kept += np.bincount(leaf.a, minlength=len(row))
        terms += np.bincount(leaf.row, minlength=patterns.size)[column]
    if np.any((kept > 0) & (kept < terms)):
        return None
    return np.flatnonzero((kept == 0) & (terms > 0))


@lru_cache(maxsize=16)
def _rings(patterns: Patterns, order: int | None) -> dict[str, _Leaf] | None:
    """Tables of the entries just outside of the pattern of every leaf; None if they take too many terms."""
    S, made = patterns.transition.state, {}
    users = np.bincount(S.indices, minlength=patterns.size)
    for name in patterns.influential:
        M = _kept(patterns, name, order)
        if users @ np.diff(M.indptr) > THIN * (M.nnz + patterns.size):
            return None
        reached = sp.csr_array(S, dtype=np.int64) @ sp.csr_array(M, dtype=np.int64)
        ring = sp.csr_array(reached.astype(bool) > reached.multiply(M).astype(bool))
        made[name] = _tables(S, patterns.transition.leaves[name], M, ring)
    return made


def _tables(S: sp.csr_array, B: sp.csr_array, M: sp.csr_array, T: sp.csr_array | None = None) -> _Leaf:
    """How A G + B is computed at the entries of T, M unless given, of G at the entries of M."""
    n, width = M.shape
    row, column = _by_column(M)
    i, k = (row, column) if T is None else _by_column(T)
    place = k * n + i  # increasing

    def position(i: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where entries (i, k) stand in T, and whether they do."""
        key = k * n + i
        found = np.minimum(np.searchsorted(place, key), len(place) - 1)
        return found, place[found] == key if len(place) else np.zeros(len(key), bool)

    fresh, _ = position(*(a.astype(np.int64) for a in B.nonzero()))
    # every entry (j, k) of G reaches the rows i of column j of S
    entry_of_a = sp.csr_array((np.arange(1, S.nnz + 1), S.indices, S.indptr), shape=S.shape).T.tocsr()
    entry_of_a.sort_indices()
    counts = np.diff(entry_of_a.indptr)[row]
    source = np.repeat(np.arange(len(row)), counts)
    first = np.repeat(entry_of_a.indptr[row], counts)
    step = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    where = first + step
    target, kept = position(entry_of_a.indices[where].astype(np.int64), column[source])
    order = np.argsort(target[kept], kind="stable")
    sums = target[kept][order], (entry_of_a.data[where][kept] - 1)[order], source[kept][order]
    return _Leaf(i, k, width, fresh, *sums, _blocks_of(width, i, *sums) if T is None else None)


def _by_column(pattern: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries, sorted by column, then row."""
    by_column = sp.csc_array(pattern)
    by_column.sort_indices()
    return by_column.indices.astype(np.int64), np.repeat(np.arange(pattern.shape[1]), np.diff(by_column.indptr))
