"""Colouring of rows: rows of one colour share no column, so one product with their sum gives them all.

Curtis, Powell & Reid (1974): if the rows i of one colour have disjoint supports, the entries of Σ_i b_i are the entries
of the b_i, each at its own place. The number of colours is the number of vector-Jacobian products that it takes to get
every row of a Jacobian; colouring columns does the same for Jacobian-vector products.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from fwdgrad.program.columns import distinct_columns

__all__ = ["colour_rows"]


def colour_rows(pattern: sp.csr_array) -> np.ndarray:
    """A colour for every row, such that rows of one colour share no column; −1 for empty rows.

    First fit, in the given order and by decreasing number of conflicts, whichever takes fewer colours. Cost: O(entries)
    of the distinct columns (of which each has a set of the colours taken).
    """
    rows = pattern.shape[0]
    colours = np.full(rows, -1)
    filled = np.flatnonzero(np.diff(pattern.indptr))
    if not len(filled):
        return colours
    per_column = np.bincount(pattern.indices, minlength=pattern.shape[1])
    least = int(per_column.max())
    if least == 1:
        colours[filled] = 0
        return colours
    if least == len(filled):  # a column that every row has: all conflict
        colours[filled] = np.arange(len(filled))
        return colours
    columns = sp.csr_array(distinct_columns([pattern]).pattern)
    best = _first_fit(columns, filled)
    if best.max() + 1 > least:
        crowd = np.bincount(columns.indices, minlength=columns.shape[1])
        conflicts = np.add.reduceat(crowd[columns.indices], columns.indptr[filled])
        other = _first_fit(columns, filled[np.argsort(-conflicts, kind="stable")])
        best = other if other.max() < best.max() else best
    return best


def _first_fit(pattern: sp.csr_array, order: np.ndarray) -> np.ndarray:
    """Each row in turn gets the first colour that no row with a common column has."""
    colours = [-1] * pattern.shape[0]
    taken = [0] * pattern.shape[1]  # colours that a column has, one bit each
    pointer, columns = pattern.indptr.tolist(), pattern.indices.tolist()
    for row in order.tolist():
        mine = columns[pointer[row] : pointer[row + 1]]
        union = 0
        for column in mine:
            union |= taken[column]
        bit = ~union & (union + 1)
        colours[row] = bit.bit_length() - 1
        for column in mine:
            taken[column] |= bit
    return np.array(colours)
