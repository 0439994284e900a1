"""Single entries of ∂F/∂h where F uses matrices in products: gathered, in place of whole columns.

With z_k = W_k a_k(h) and all else fixed, h' = f(h, z_1, …), so

    A = ∂f/∂h + Σ_k D_k W_k ∂a_k/∂h,      D_k = ∂f/∂z_k

where ∂f/∂h, D_k and ∂a_k/∂h are sparse if F does nothing else that mixes units: a few products with the pointwise rest
of F give all their entries. An entry of A then takes a term for each path through a product: of W a(h) one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fwdgrad.program import Program, Variable
from fwdgrad.program.colours import colour_rows
from fwdgrad.program.dependence import Dependence
from fwdgrad.program.rules import trails_of
from fwdgrad.structure.colouring import MOST
from fwdgrad.structure.products import Product, uses_of

__all__ = ["Accumulation", "Cut", "Terms", "accumulation_of"]

TERMS = 4
"""Terms for each entry, on average, that are still fewer than whole columns."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A product z = W a at which F is cut.

    Attributes:
        leaf: the matrix.
        product: how it is used.
        factor: a.
        after: pattern of D = ∂f/∂z, (n, m), and `colours` of its rows.
        before: pattern of ∂a/∂h, (r, n).
    """

    leaf: str
    product: Product
    factor: Variable
    after: sp.csr_array
    colours: np.ndarray
    before: sp.csr_array


class Terms(NamedTuple):
    """The terms of one cut: entry number, and places among the entries of D, of W, and of ∂a/∂h."""

    entry: np.ndarray
    after: np.ndarray
    weight: np.ndarray
    before: np.ndarray


@dataclass(frozen=True, eq=False)
class Accumulation:
    """How entries of A are put together.

    Attributes:
        cuts: the products.
        direct: pattern of ∂f/∂h, (n, n).
        colours: of the columns of `direct` and of all ∂a/∂h together: columns of one colour share no row.
    """

    cuts: tuple[Cut, ...]
    direct: sp.csr_array
    colours: np.ndarray
    _tables: dict[bytes, tuple[np.ndarray, tuple[Terms, ...]] | None] = field(default_factory=dict)

    def table(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, tuple[Terms, ...]] | None:
        """For entries (row, column) of A: the place of each in `direct`, −1 for none, and the terms of each cut.

        None if there are too many terms.
        """
        key = row.tobytes() + column.tobytes()
        if key not in self._tables:
            made = tuple(_terms(cut, row, column) for cut in self.cuts)
            few = sum(len(terms.entry) for terms in made) <= TERMS * len(self.cuts) * max(len(row), 1)
            self._tables[key] = (_places(self.direct, row, column), made) if few else None
        return self._tables[key]


def accumulation_of(program: Program, number: dict[str, int]) -> Accumulation | None:
    """How entries of A are put together, for a transition; None if products do not help.

    Args:
        program: F, whose first input is h.
        number: of the input of each parameter.
    """
    found = [
        (leaf, use)
        for leaf, uses in uses_of(program, number).items()
        for use in uses
        if isinstance(use, Product) and not use.selects and isinstance(use.factor, Variable)
    ]
    if not found:
        return None
    results = [use.result for _, use in found]
    instructions = tuple(i for i in program.instructions if i.outputs[0] not in set(results))
    outputs = (*program.outputs, *(use.factor for _, use in found))
    cut = Program(program.name, (*program.inputs, *results), instructions, outputs)
    n, sizes = program.inputs[0].shape[0], [math.prod(z.shape) for z in results]
    edges = np.cumsum([0, n, *sizes])
    total = int(edges[-1])
    rest = [None] * (len(program.inputs) - 1)
    own = [Dependence.identity(int(edges[k]), size, total) for k, size in enumerate([n, *sizes])]
    trails, unknown = trails_of(cut, [own[0], *rest, *own[1:]], np.zeros(total, bool))
    if unknown:
        return None
    direct, *after = trails[0].depends.split(edges)
    cuts, stacked = [], [direct]
    for (leaf, use), D, trail in zip(found, after, trails[1:], strict=True):
        before, *others = trail.depends.split(edges)
        if any(o.nnz for o in others):  # a product of a product
            return None
        assert isinstance(use.factor, Variable)
        cuts.append(Cut(leaf, use, use.factor, D, colour_rows(D), before))
        stacked.append(before)
    colours = colour_rows(sp.csr_array(sp.vstack(stacked).T))
    if max(int(c.max(initial=-1)) for c in (colours, *(cut.colours for cut in cuts))) >= MOST:
        return None
    return Accumulation(tuple(cuts), direct, colours)


def _places(pattern: sp.csr_array, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Where entries stand in the order of a pattern, −1 for those that do not."""
    if not row.size:  # of which SciPy would make an array of other dimensions
        return np.zeros(0, np.int64)
    known = sp.csr_array((np.arange(1, pattern.nnz + 1), pattern.nonzero()), shape=pattern.shape)
    return np.asarray(known[row, column]).ravel().astype(np.int64) - 1


def _terms(cut: Cut, row: np.ndarray, column: np.ndarray) -> Terms:
    """D[i, p] W[p, q] ∂a_q/∂h_j for each entry (i, j), over all p and q."""
    D = cut.after
    place = sp.csc_array((np.arange(1, cut.before.nnz + 1), cut.before.nonzero()), shape=cut.before.shape)
    place.sort_indices()
    rows, columns = np.diff(D.indptr)[row], np.diff(place.indptr)[column]
    counts = rows * columns
    entry = np.repeat(np.arange(len(row)), counts)
    step = np.arange(len(entry)) - np.repeat(np.cumsum(counts) - counts, counts)
    first, second = np.divmod(step, np.maximum(columns[entry], 1))
    i, j = row[entry], column[entry]
    after, where = D.indptr[i] + first, place.indptr[j] + second
    p, q = D.indices[after].astype(np.int64), place.indices[where].astype(np.int64)
    m, r = cut.after.shape[1], cut.before.shape[0]
    weight = p * r + q if cut.product.axis == 1 else q * m + p
    return Terms(entry, after.astype(np.int64), weight, place.data[where].astype(np.int64) - 1)
