"""Which entries of an array depend on which sources, element by element.

A `Dependence` of an array of N entries on S sources is a boolean matrix (N, S), stored as its distinct rows and, for
each entry, the number of its row. Arrays have far fewer distinct rows than entries (every entry of W @ a depends on the
same a), so copying, broadcasting and indexing cost O(N), and only unions touch the rows.

The rows are compressed by hand: most systems are small, and a `scipy.sparse` matrix costs more to construct than to
unite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

__all__ = ["Dependence", "SourceRows", "distinct", "ranges", "stacked"]

SMALL = 200_000
"""Unions of at most this many numbers are made by sorting them; larger ones by a sparse product, row by row."""


def distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct values of an integer array, in increasing order."""
    if len(keys) < 2 or bool(np.all(keys[1:] > keys[:-1])):  # keys are often made in order
        return keys
    keys = np.sort(keys)
    keep = np.empty(len(keys), bool)
    keep[0] = True
    np.not_equal(keys[1:], keys[:-1], out=keep[1:])
    return keys[keep]


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, …, for lengths[0] numbers, then the same from starts[1], and so on."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)


@dataclass(frozen=True, eq=False)
class SourceRows:
    """A boolean matrix (K, S): row k holds sources[pointer[k] : pointer[k + 1]], in increasing order."""

    pointer: np.ndarray
    sources: np.ndarray
    width: int
    """S."""

    @property
    def count(self) -> int:
        """K."""
        return len(self.pointer) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Sources of each row."""
        return np.diff(self.pointer)

    @staticmethod
    def of_keys(keys: np.ndarray, count: int, width: int) -> SourceRows:
        """From row · S + source, for every entry, in increasing order."""
        row, source = np.divmod(keys, width) if width else (keys, keys)
        pointer = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=count), out=pointer[1:])
        return SourceRows(pointer, source, width)

    @cached_property
    def keys(self) -> np.ndarray:
        """Row · S + source, for every entry."""
        return np.repeat(np.arange(self.count) * self.width, self.lengths) + self.sources

    def gather(self, numbers: np.ndarray) -> SourceRows:
        """These rows, in this order."""
        starts = self.pointer[numbers]
        lengths = self.pointer[1:][numbers] - starts
        pointer = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(lengths, out=pointer[1:])
        return SourceRows(pointer, self.sources[ranges(starts, lengths)], self.width)

    def merged(self, numbers: np.ndarray) -> SourceRows:
        """One row: the union of these."""
        found = np.zeros(self.width, bool)
        found[self.gather(numbers).sources] = True
        sources = np.flatnonzero(found)
        return SourceRows(np.array([0, len(sources)]), sources, self.width)

    def holds(self, other: SourceRows) -> bool:
        """Whether the first row has all sources that any row of `other` has."""
        found = np.zeros(self.width, bool)
        found[self.sources[: self.pointer[1]]] = True
        return bool(found[other.sources].all())

    def union(self, other: SourceRows) -> SourceRows:
        """Row by row."""
        return SourceRows.of_keys(distinct(np.concatenate([self.keys, other.keys])), self.count, self.width)

    def csr(self) -> sp.csr_array:
        """As a `scipy.sparse` matrix."""
        return sp.csr_array(
            (np.ones(len(self.sources), bool), self.sources, self.pointer), shape=(self.count, self.width)
        )


@dataclass(frozen=True, eq=False)
class Dependence:
    """A boolean matrix by distinct rows.

    Attributes:
        index: number of the row of each entry of the array, shape (N,).
        rows: the distinct rows (and perhaps some that no entry has).
    """

    index: np.ndarray
    rows: SourceRows

    @staticmethod
    def nothing(entries: int, sources: int) -> Dependence:
        """No entry depends on anything."""
        return Dependence(
            np.zeros(entries, np.int64), SourceRows(np.zeros(2, np.int64), np.zeros(0, np.int64), sources)
        )

    @staticmethod
    def identity(first: int, entries: int, sources: int) -> Dependence:
        """Entry k depends on source first + k."""
        numbers = np.arange(entries + 1)
        return Dependence(numbers[:-1], SourceRows(numbers, first + numbers[:-1], sources))

    @property
    def empty(self) -> bool:
        """Whether nothing depends on anything."""
        return not len(self.rows.sources)

    @property
    def sources(self) -> int:
        """S."""
        return self.rows.width

    def same(self, other: Dependence) -> bool:
        """Whether entries depend on the same sources here and there."""
        if self is other:
            return True
        mine, theirs = self.rows.gather(self.index), other.rows.gather(other.index)
        return np.array_equal(mine.pointer, theirs.pointer) and np.array_equal(mine.sources, theirs.sources)

    def split(self, edges: np.ndarray) -> list[sp.csr_array]:
        """The boolean matrix (N, S) itself, cut between columns: one CSR matrix for each interval between `edges`."""
        full = self.rows.gather(self.index)
        count, starts = full.count, full.pointer[:-1]
        # sources stand in order within a row, so each interval is one stretch of each row
        places = np.searchsorted(full.keys, (np.arange(count) * full.width)[:, None] + np.asarray(edges)[None, :])
        made = []
        for k in range(len(edges) - 1):
            lengths = places[:, k + 1] - places[:, k]
            pointer = np.zeros(count + 1, np.int64)
            np.cumsum(lengths, out=pointer[1:])
            whole = int(pointer[-1]) == len(full.sources)
            columns = full.sources if whole else full.sources[ranges(starts + (places[:, k] - starts), lengths)]
            shape = (count, int(edges[k + 1] - edges[k]))
            part = sp.csr_array((np.ones(len(columns), bool), columns - edges[k], pointer), shape=shape)
            part.has_canonical_format = True
            made.append(part)
        return made

    def without(self, other: Dependence) -> Dependence:
        """What entries depend on here and not in `other`."""
        if other is self:
            return Dependence.nothing(len(self.index), self.sources)
        full = self.rows.gather(self.index)
        theirs = other.rows.gather(other.index).keys
        if not len(theirs):
            return self
        place = np.minimum(np.searchsorted(theirs, full.keys), len(theirs) - 1)
        kept = full.keys[theirs[place] != full.keys]
        return Dependence(np.arange(full.count), SourceRows.of_keys(kept, full.count, full.width))

    def take(self, entries: np.ndarray) -> Dependence:
        """The dependence of an array made of these entries."""
        return Dependence(self.index[entries], self.rows)

    def where(self, keep: np.ndarray) -> Dependence:
        """Entries where `keep` is false depend on nothing."""
        if keep.all() or self.empty:
            return self
        pointer = np.append(self.rows.pointer, self.rows.pointer[-1])  # one more row, without sources
        return Dependence(
            np.where(keep, self.index, self.rows.count), SourceRows(pointer, self.rows.sources, self.rows.width)
        )

    def columns(self, keep: np.ndarray) -> Dependence:
        """Only the sources where `keep` is true."""
        kept = keep[self.rows.sources]
        before = np.concatenate([[0], np.cumsum(kept)])
        return Dependence(self.index, SourceRows(before[self.rows.pointer], self.rows.sources[kept], self.rows.width))

    def union(self, other: Dependence) -> Dependence:
        """Entry k depends on what entry k of either depends on."""
        if self.empty or other is self:
            return other
        if other.empty:
            return self
        for one, rest in ((self, other), (other, self)):
            if one.rows.count == 1 and one.rows.holds(rest.rows):
                return one
        mine, theirs, entries = self.rows.count, other.rows.count, len(self.index)
        if mine == theirs and mine <= 2 * entries and np.array_equal(self.index, other.index):
            return self if self.rows is other.rows else Dependence(self.index, self.rows.union(other.rows))
        # number the pairs of rows that occur
        pairs = self.index * theirs + other.index
        if mine * theirs <= 4 * entries:
            found = np.zeros(mine * theirs, bool)
            found[pairs] = True
            used, index = np.flatnonzero(found), (np.cumsum(found) - 1)[pairs]
        else:
            used, index = np.unique(pairs, return_inverse=True)
        left, right = np.divmod(used, theirs)
        return Dependence(index, self.rows.gather(left).union(other.rows.gather(right)))

    def merged(self, groups: np.ndarray, count: int) -> Dependence:
        """Entry g of the result depends on what any entry k with groups[k] = g depends on.

        Args:
            groups: for each entry the number of its group, −1 to leave it out.
            count: number of groups.
        """
        kept = groups >= 0
        if kept.all():
            return self.selected(groups, slice(None), count)
        return self.selected(groups[kept], np.flatnonzero(kept), count)

    def selected(self, groups: np.ndarray, entries: np.ndarray | slice, count: int) -> Dependence:
        """Entry g of the result depends on what entries[j] depends on, for every j with groups[j] = g."""
        if self.empty:
            return Dependence.nothing(count, self.sources)
        rows = self.rows
        group, row = np.divmod(distinct(groups * rows.count + self.index[entries]), rows.count)
        each = np.bincount(group, minlength=count)
        if len(row) and np.all(each == each[0]):
            table = row.reshape(count, -1)
            if table.shape[1] == 1:
                return Dependence(table[:, 0], rows)
            if np.all(table == table[0]):  # every group has the same rows: one distinct row
                return Dependence(np.zeros(count, np.int64), rows.merged(table[0]))
        numbers, lengths = np.arange(count), rows.lengths[row]
        total = int(lengths.sum())
        if total <= max(SMALL, 2 * len(row)):
            keys = np.repeat(group * rows.width, lengths) + rows.gather(row).sources
            return Dependence(numbers, SourceRows.of_keys(distinct(keys), count, rows.width))
        pointer = np.concatenate([[0], np.cumsum(each)])
        chooser = sp.csr_array((np.ones(len(row), bool), row, pointer), shape=(count, rows.count))
        product = sp.csr_array(chooser @ rows.csr())
        product.sort_indices()
        return Dependence(
            numbers, SourceRows(product.indptr.astype(np.int64), product.indices.astype(np.int64), rows.width)
        )

    def everything(self, count: int) -> Dependence:
        """Each of `count` entries depends on what any entry here depends on."""
        if self.empty:
            return Dependence.nothing(count, self.sources)
        return Dependence(np.zeros(count, np.int64), self.rows.merged(distinct(self.index)))


def stacked(parts: Sequence[Dependence]) -> Dependence:
    """The dependence of the entries of several arrays, one after the other."""
    offsets = np.cumsum([0, *(p.rows.count for p in parts)])
    index = np.concatenate([p.index + o for p, o in zip(parts, offsets, strict=False)])
    if all(p.rows is parts[0].rows for p in parts):
        return Dependence(np.concatenate([p.index for p in parts]), parts[0].rows)
    pointers = [np.zeros(1, np.int64)]
    for p in parts:
        pointers.append(p.rows.pointer[1:] + pointers[-1][-1])
    rows = SourceRows(np.concatenate(pointers), np.concatenate([p.rows.sources for p in parts]), parts[0].sources)
    return Dependence(index, rows)
