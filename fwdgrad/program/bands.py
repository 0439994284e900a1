"""The Jacobian of equations as a band, where each equation has few unknowns: its pattern, an order, and colours.

The pattern is what the equations depend on, so entries are only left out that are zero for all values. Unknowns and
equations are put into the order of Cuthill and McKee (1969), reversed, unless they stand as near to each other already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import reverse_cuthill_mckee

from fwdgrad.program import operations as ops
from fwdgrad.program.colours import colour_rows
from fwdgrad.program.dependence import Dependence
from fwdgrad.program.derivatives import Linearized
from fwdgrad.program.loops import map_rows
from fwdgrad.program.program import Program
from fwdgrad.program.rules import trails_of

__all__ = ["Band", "band_of"]

LEAST = 16
"""Fewer unknowns have a dense Jacobian, which takes less than to look for another."""
NARROW = 4
"""A band is used where it is at most this part of all diagonals wide."""
BESIDE = 8
"""Up to so many colours are products one beside the other, more a loop."""


@dataclass(frozen=True, eq=False)
class Band:
    """Where the Jacobian of n equations in n unknowns may be other than zero, in the order in which that is a band.

    Attributes:
        order: which unknown, and which equation, stands at each place; None for the order they have.
        lower: diagonals below the main one.
        upper: diagonals above it.
        row, column: of each entry, in that order.
    """

    order: np.ndarray | None
    lower: int
    upper: int
    row: np.ndarray
    column: np.ndarray

    def jacobian(self, linearized: Linearized) -> Any:
        """∂(output 0)/∂(input 0) as a band, see `fwdgrad.program.operations.banded`, by a product for each colour."""
        (n,), dtype = linearized.program.inputs[0].shape, linearized.program.inputs[0].dtype
        pattern = sp.csr_array((np.ones(len(self.row), bool), (self.column, self.row)), shape=(n, n))
        colours = colour_rows(pattern)
        masks = np.array([colours == c for c in range(int(colours.max(initial=-1)) + 1)]).astype(dtype)
        if len(masks) <= BESIDE:
            made = np.concatenate([linearized.jvp({0: mask})[0] for mask in masks])
        else:
            (table,) = map_rows(lambda mask: [linearized.jvp({0: mask})[0]], masks)
            made = np.reshape(table, (table.shape[0] * n,))
        width = 2 * self.lower + self.upper + 1
        places = self.column * width + (self.lower + self.upper + self.row - self.column)
        entries = made[colours[self.column] * n + self.row]
        return np.reshape(ops.scatter_add(entries, places, index=(("operand",),), shape=(n * width,)), (n, width))


def band_of(equations: Program) -> Band | None:
    """The band of a program's first output in its first input, vectors of n numbers; None where a matrix is as good."""
    (n,) = equations.inputs[0].shape
    if n < LEAST:
        return None
    starts = [Dependence.identity(0, n, n), *(None for _ in equations.inputs[1:])]
    (trail,), _ = trails_of(equations, starts, np.zeros(n, bool))
    (pattern,) = trail.depends.split(np.array([0, n]))
    row, column = (a.astype(np.int64) for a in pattern.nonzero())
    if not len(row) or len(row) > n * n // NARROW:
        return None
    ways = [np.arange(n)]
    if _width(row, column, ways[0]) > 3:
        both = sp.csr_array(pattern.astype(np.int8) + pattern.T.astype(np.int8))
        ways.append(np.argsort(reverse_cuthill_mckee(both, symmetric_mode=True)))
    place = min(ways, key=lambda way: _width(row, column, way))
    if _width(row, column, place) * NARROW > n:
        return None
    row, column = place[row], place[column]
    order = None if place is ways[0] else np.argsort(place)
    return Band(order, max(int(np.max(row - column)), 0), max(int(np.max(column - row)), 0), row, column)


def _width(row: np.ndarray, column: np.ndarray, place: np.ndarray) -> int:
    """Diagonals that the entries lie on, if unknowns stand at these places."""
    offsets = place[row] - place[column]
    return max(int(offsets.max()), 0) + max(int(-offsets.min()), 0) + 1
