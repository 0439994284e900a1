"""Patterns of a system's Jacobians: which state variable, input and parameter feeds which state variable and output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from fwdgrad.program import Program
from fwdgrad.program.colours import colour_rows
from fwdgrad.program.columns import Columns, distinct_columns
from fwdgrad.program.dependence import Dependence
from fwdgrad.program.rules import trails_of
from fwdgrad.structure.colouring import MOST, Family, families
from fwdgrad.structure.products import Product, ResultPattern, Use, uses_of

__all__ = ["JacobianPatterns", "Patterns", "patterns_of"]


@dataclass(frozen=True, eq=False)
class JacobianPatterns:
    """Patterns of the derivatives of one function, boolean CSR matrices with one row per output.

    Structural: an entry is absent only if that derivative is zero for all values.
    """

    state: sp.csr_array
    """∂/∂h, (outputs, n)."""
    inputs: sp.csr_array
    """Dependence on the entries of x, (outputs, size of x). Integer inputs count where they are used at all."""
    leaves: dict[str, sp.csr_array]
    """∂/∂θ, leaf by leaf, (outputs, leaf size)."""
    constant: dict[str, sp.csr_array]
    """Where ∂/∂θ does not depend on any value: the parameter enters additively."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns of a system: transition F, and output Y as a function of the next state.

    Attributes:
        transition: A, B and the dependence on x.
        output: the same for Y.
        trainable: names of the parameters that are learned.
        shapes: shapes of all parameters.
        without_rule: operations for which every output was taken to depend on every input.
        uses: how each parameter enters the transition.
    """

    transition: JacobianPatterns
    output: JacobianPatterns
    trainable: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    without_rule: tuple[str, ...]
    uses: dict[str, tuple[Use, ...]]
    _parts: dict[tuple[str, ...], Patterns] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """n."""
        return self.transition.state.shape[0]

    @cached_property
    def influential(self) -> tuple[str, ...]:
        """Learned parameters that the transition uses."""
        return tuple(k for k in self.trainable if self.transition.leaves[k].nnz)

    @cached_property
    def parameter_kinds(self) -> Columns:
        """The distinct columns of B, over all leaves with an influence."""
        blocks = [self.transition.leaves[k] for k in self.influential]
        return distinct_columns(blocks or [sp.csr_array((self.size, 0), dtype=bool)])

    @cached_property
    def row_colours(self) -> dict[str, np.ndarray]:
        """For each leaf with an influence, a colour for every row of its part of B; −1 for empty rows."""
        return {k: colour_rows(self.transition.leaves[k]) for k in self.influential}

    @cached_property
    def row_families(self) -> tuple[Family, ...]:
        """Colourings of the rows of B, shared between leaves, for all leaves with an influence."""
        return families({k: self.transition.leaves[k] for k in self.influential}, self.shapes, self.row_colours)

    @property
    def sparse_leaves(self) -> tuple[str, ...]:
        """Influential parameters whose rows take few colours."""
        return tuple(k for family in self.row_families if family.count <= MOST for k in family.leaves)

    @cached_property
    def column_colours(self) -> np.ndarray:
        """A colour for every column of A, such that columns of one colour share no row; −1 for empty columns."""
        return colour_rows(sp.csr_array(self.transition.state.T))

    @cached_property
    def products(self) -> dict[str, Product]:
        """The leaves with an influence that enter the transition through one product z = Ŵ a, and in no other way."""
        only = ((k, self.uses[k]) for k in self.influential)
        return {k: uses[0] for k, uses in only if len(uses) == 1 and isinstance(uses[0], Product)}

    @cached_property
    def results(self) -> dict[str, ResultPattern]:
        """Where ∂h'/∂z can be non-zero, for `products`."""
        leaves = self.transition.leaves
        return {k: ResultPattern(leaves[k], self.shapes[k], product.axis) for k, product in self.products.items()}

    def only(self, leaves: Sequence[str]) -> Patterns:
        """The same if no other parameters than `leaves` were learned."""
        kept = tuple(k for k in self.trainable if k in leaves)
        if set(kept) >= set(self.influential):
            return self
        if kept not in self._parts:
            self._parts[kept] = replace(self, trainable=kept, _parts={})
        return self._parts[kept]


def patterns_of(
    transition: Program,
    output: Program,
    inputs: int,
    shapes: dict[str, tuple[int, ...]],
    trainable: Sequence[str],
) -> Patterns:
    """Analyse the two programs of a system.

    Args:
        transition: F, with inputs h, `inputs` arrays of x, and the parameters in the order of `shapes`.
        output: Y, with the same inputs.
        inputs: number of arrays of x.
        shapes: shapes of all parameters.
        trainable: names of those that are learned.
    """
    first, unknown = _analyse(transition, inputs, shapes)
    second, more = _analyse(output, inputs, shapes)
    without = tuple(dict.fromkeys(unknown + more))
    number = {k: 1 + inputs + place for place, k in enumerate(shapes)}
    return Patterns(first, second, tuple(trainable), dict(shapes), without, uses_of(transition, number))


def _analyse(program: Program, inputs: int, shapes: dict[str, tuple[int, ...]]) -> tuple[JacobianPatterns, list[str]]:
    sizes = [math.prod(v.shape) for v in program.inputs]
    edges = np.cumsum([0, *sizes])
    total = int(edges[-1])
    steady = np.zeros(total, bool)
    steady[edges[1] : edges[1 + inputs]] = True
    live = set(program.live_inputs())
    starts = [Dependence.identity(int(edges[k]), size, total) if k in live else None for k, size in enumerate(sizes)]
    (trail,), unknown = trails_of(program, starts, steady)
    first = 1 + inputs
    cuts = np.array([0, edges[1], *edges[first:]])
    state, given, *leaves = trail.depends.split(cuts)
    _, _, *constant = trail.depends.without(trail.varies).split(cuts)
    return JacobianPatterns(
        state, given, dict(zip(shapes, leaves, strict=True)), dict(zip(shapes, constant, strict=True))
    ), unknown
