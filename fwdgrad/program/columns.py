"""Columns of a pattern that are alike: parameters that feed the same state variables are treated once.

A unit's parameters all feed that unit, so a pattern with a million columns often has a thousand different ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

__all__ = ["Columns", "distinct_columns"]


class Columns(NamedTuple):
    """The different columns of a pattern."""

    kind: np.ndarray
    """Number of the distinct column that each column equals, shape (columns,)."""
    pattern: sp.csc_array
    """The distinct columns, (rows, kinds)."""

    @property
    def copies(self) -> np.ndarray:
        """How many columns are of each kind."""
        return np.bincount(self.kind, minlength=self.pattern.shape[1])


def distinct_columns(patterns: Sequence[sp.csr_array]) -> Columns:
    """The distinct columns of patterns that stand side by side. O(entries), and a sort of the columns."""
    blocks = [sp.csc_array(p) for p in patterns]
    columns = blocks[0] if len(blocks) == 1 else sp.csc_array(sp.hstack(blocks, format="csc"))
    columns.sort_indices()
    count = columns.shape[1]
    # columns are compared by the sum of random numbers, one for each row
    weight = np.random.default_rng(0).integers(1, 2**63, columns.shape[0], dtype=np.uint64)
    lengths = np.diff(columns.indptr)
    sums = np.zeros(count, np.uint64)
    filled = lengths > 0
    if filled.any():
        sums[filled] = np.add.reduceat(weight[columns.indices], columns.indptr[:-1][filled])
    _, first, kind = np.unique(sums, return_index=True, return_inverse=True)
    first, kind = np.asarray(first), np.asarray(kind).reshape(-1)
    # and equal sums must mean equal columns: checked, entry by entry
    like = first[kind]
    if np.array_equal(lengths, lengths[like]):
        theirs = np.repeat(columns.indptr[like] - columns.indptr[:-1], lengths) + np.arange(columns.nnz)
        if np.array_equal(columns.indices, columns.indices[theirs]):
            return Columns(kind, columns[:, first])
    return Columns(np.arange(count), columns)
