"""One colouring of rows for several leaves of parameters (`fwdgrad.program.colours`), and what it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fwdgrad.program.dependence import distinct

__all__ = ["MOST", "Family", "Owners", "families"]


class Owners(NamedTuple):
    """To which row each entry of a leaf belongs, within one colour.

    Where the row is ``offset`` plus the position along one axis of the leaf, `axis` says so and products need no table.
    """

    table: np.ndarray
    """Row of each entry, of the leaf's shape; −1 where no row of the colour has it."""
    axis: int | None
    offset: int


@dataclass(frozen=True, eq=False)
class Family:
    """A colouring, with the leaves that it serves."""

    colours: np.ndarray
    """Colour of each row, shape (n,)."""
    leaves: dict[str, tuple[Owners | None, ...]]
    """For each leaf and colour, which row each entry of the product belongs to; None where no row has any.

    Empty if there are more than `MOST` colours: such leaves are dense, and their rows are taken one by one.
    """

    @property
    def count(self) -> int:
        """Number of colours."""
        return int(self.colours.max(initial=0)) + 1

    def mask(self, colour: int) -> np.ndarray:
        """1.0 at the rows of a colour, else 0.0: the cotangent that gives them all."""
        return (self.colours == colour).astype(np.float64)


MOST = 8
"""Leaves whose rows take more colours than this count as dense."""


def families(
    patterns: dict[str, sp.csr_array], shapes: dict[str, tuple[int, ...]], colours: dict[str, np.ndarray]
) -> tuple[Family, ...]:
    """Colourings for the leaves of a Jacobian, shared between leaves where that saves products.

    Args:
        patterns: for each leaf the pattern of its rows, (n, leaf size).
        shapes: shapes of the leaves.
        colours: for each leaf the colours that it would have alone, see `colour_rows`.
    """
    made: list[tuple[np.ndarray, list[str]]] = []
    for leaf in sorted(colours, key=lambda k: -colours[k].max(initial=-1)):
        count = int(colours[leaf].max(initial=-1)) + 1
        for shared, leaves in made:
            if _worth_sharing(count, int(shared.max()) + 1) and _separates(shared, patterns[leaf], colours[leaf]):
                leaves.append(leaf)
                break
        else:
            made.append((_everywhere(colours[leaf]), [leaf]))
    return tuple(_family(c, leaves, patterns, shapes) for c, leaves in made)


def _worth_sharing(own: int, shared: int) -> bool:
    """Whether a leaf is better off with a colouring made for another one: more products of its own, and no others."""
    return shared <= 2 * own and (shared <= MOST or own > MOST)


def _everywhere(colours: np.ndarray) -> np.ndarray:
    """Rows without entries join colour 0, so that a single colour is the all-ones vector."""
    return np.maximum(colours, 0)


def _separates(colours: np.ndarray, pattern: sp.csr_array, own: np.ndarray) -> bool:
    """Whether rows of one colour share no column of the pattern, which the colours `own` do separate."""
    if own.max(initial=-1) <= 0 or np.array_equal(colours[own >= 0], own[own >= 0]):
        return True
    row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    key = colours[row].astype(np.int64) * pattern.shape[1] + pattern.indices
    return len(distinct(key)) == len(key)


def _family(
    colours: np.ndarray, leaves: Sequence[str], patterns: dict[str, sp.csr_array], shapes: dict[str, tuple[int, ...]]
) -> Family:
    count = int(colours.max(initial=0)) + 1
    if count > MOST:
        return Family(colours, dict.fromkeys(leaves, ()))
    owners: dict[str, tuple[Owners | None, ...]] = {}
    for leaf in leaves:
        pattern = patterns[leaf]
        row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        made: list[Owners | None] = []
        for c in range(count):
            mine = colours[row] == c
            if not mine.any():
                made.append(None)
                continue
            table = np.full(pattern.shape[1], -1)
            table[pattern.indices[mine]] = row[mine]
            made.append(_owners(table.reshape(shapes[leaf])))
        owners[leaf] = tuple(made)
    return Family(colours, owners)


def _owners(table: np.ndarray) -> Owners:
    """Recognise a table that counts up along one axis."""
    for axis in range(table.ndim):
        line = np.moveaxis(table, axis, 0).reshape(table.shape[axis], -1)
        offset = int(line[0, 0]) if line.size else 0
        if (
            line.size
            and offset >= 0
            and np.array_equal(line, np.broadcast_to((offset + np.arange(len(line)))[:, None], line.shape))
        ):
            return Owners(table, axis, offset)
    return Owners(table, None, 0)
