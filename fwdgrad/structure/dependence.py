"""Which entries of an array depend on which sources, element by element.

A `Dependence` of an array of N entries on S sources is a boolean matrix (N, S), stored as its distinct rows and, for
each entry, the number of its row. Arrays have far fewer distinct rows than entries (every entry of W @ a depends on the
same a), so copying, broadcasting and indexing cost O(N), and only unions touch the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

__all__ = ["Dependence"]


@dataclass(frozen=True)
class Dependence:
    """A boolean matrix by distinct rows.

    Attributes:
        index: number of the row of each entry of the array, shape (N,).
        rows: distinct rows, a boolean CSR matrix (K, S).
    """

    index: np.ndarray
    rows: sp.csr_array

    @staticmethod
    def nothing(entries: int, sources: int) -> Dependence:
        """No entry depends on anything."""
        return Dependence(np.zeros(entries, np.intp), sp.csr_array((1, sources), dtype=bool))

    @staticmethod
    def identity(first: int, entries: int, sources: int) -> Dependence:
        """Entry k depends on source first + k."""
        columns = np.arange(first, first + entries)
        rows = sp.csr_array(
            (np.ones(entries, bool), columns, np.arange(entries + 1)), shape=(entries, sources), dtype=bool
        )
        return Dependence(np.arange(entries), rows)

    @property
    def empty(self) -> bool:
        """Whether nothing depends on anything."""
        return self.rows.nnz == 0

    def matrix(self) -> sp.csr_array:
        """The boolean matrix (N, S) itself."""
        return self.rows[self.index]

    def take(self, entries: np.ndarray) -> Dependence:
        """The dependence of an array made of these entries."""
        return Dependence(self.index[entries], self.rows)

    def compact(self) -> Dependence:
        """The same without rows that no entry has."""
        used, index = np.unique(self.index, return_inverse=True)
        return self if len(used) == self.rows.shape[0] else Dependence(index, self.rows[used])

    def where(self, keep: np.ndarray) -> Dependence:
        """Entries where `keep` is false depend on nothing."""
        if keep.all():
            return self
        blank = sp.csr_array((1, self.rows.shape[1]), dtype=bool)
        rows = sp.vstack([self.rows, blank], format="csr")
        return Dependence(np.where(keep, self.index, self.rows.shape[0]), rows).compact()

    def columns(self, keep: np.ndarray) -> Dependence:
        """Only the sources where `keep` is true."""
        rows = self.rows.multiply(keep[None, :].astype(bool))
        return Dependence(self.index, sp.csr_array(rows, dtype=bool))

    def union(self, other: Dependence) -> Dependence:
        """Entry k depends on what entry k of either depends on."""
        if self.empty:
            return other
        if other.empty:
            return self
        if other.rows is self.rows and np.array_equal(other.index, self.index):
            return self
        pairs, index = np.unique(self.index * other.rows.shape[0] + other.index, return_inverse=True)
        left, right = np.divmod(pairs, other.rows.shape[0])
        return Dependence(index, sp.csr_array(self.rows[left] + other.rows[right], dtype=bool))

    def merged(self, groups: np.ndarray, count: int) -> Dependence:
        """Entry g of the result depends on what any entry k with groups[k] = g depends on.

        Args:
            groups: for each entry the number of its group, −1 to leave it out.
            count: number of groups.
        """
        kept = groups >= 0
        return self.selected(groups[kept], np.flatnonzero(kept), count)

    def selected(self, groups: np.ndarray, entries: np.ndarray, count: int) -> Dependence:
        """Entry g of the result depends on what entries[j] depends on, for every j with groups[j] = g."""
        pairs = np.unique(groups.astype(np.int64) * self.rows.shape[0] + self.index[entries])
        group, row = np.divmod(pairs, self.rows.shape[0])
        pointer = np.searchsorted(group, np.arange(count + 1))
        if len(pairs) and np.all(np.diff(pointer) == len(pairs) // count):
            table = row.reshape(count, -1)
            if count > 1 and np.all(table == table[0]):  # every group has the same rows: one distinct row
                union = self.rows[table[0]].sum(axis=0) > 0
                return Dependence(np.zeros(count, np.intp), sp.csr_array(union.reshape(1, -1), dtype=bool))
            if table.shape[1] == 1:
                return Dependence(table[:, 0], self.rows).compact()
        chooser = sp.csr_array((np.ones(len(row), bool), row, pointer), shape=(count, self.rows.shape[0]), dtype=bool)
        return Dependence(np.arange(count), sp.csr_array(chooser @ self.rows, dtype=bool))

    def everything(self, count: int) -> Dependence:
        """Each of `count` entries depends on what any entry here depends on."""
        if self.empty:
            return Dependence.nothing(count, self.rows.shape[1])
        used = np.unique(self.index)
        union = np.asarray(self.rows[used].sum(axis=0)).ravel() > 0
        return Dependence(np.zeros(count, np.intp), sp.csr_array(union.reshape(1, -1), dtype=bool))
