"""What estimators cost on a system, in terms of products with its Jacobians: what their rows in a table are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fwdgrad.estimators.base import Estimator
from fwdgrad.linear.costs import Products
from fwdgrad.program.closure import closed_size
from fwdgrad.structure import MOST, Patterns

__all__ = ["SIGNS", "Candidate", "Costs", "size_of"]

SIGNS = "random signs"


@dataclass(frozen=True)
class Candidate:
    """An estimator with what it is predicted to cost and how far it can be trusted.

    Attributes:
        label: what to call it.
        make: the estimator.
        multiply_adds: per step, everything included, with SGD as optimizer; NaN if it does not apply.
        nbytes: memory of the influence and of what is stored of a window, in bytes; ∞ if it grows with the sequence.
        vjps: backward products with the transition's Jacobian per step, the gradient's own included.
        jvps: forward products likewise.
        bias: "none", or where the bias comes from. For fixed θ.
        variance: "none", or what sets it.
        why_not: why it cannot be used on this system; "" if it can.
    """

    label: str
    make: Callable[[], Estimator]
    multiply_adds: float
    nbytes: float
    vjps: float
    jvps: float
    bias: str = "none"
    variance: str = "none"
    why_not: str = ""

    @staticmethod
    def refused(label: str, make: Callable[[], Estimator], why_not: str) -> Candidate:
        """One that cannot be used."""
        return Candidate(label, make, math.nan, math.nan, math.nan, math.nan, "", "", why_not)


def size_of(patterns: Patterns, leaves: Sequence[str]) -> int:
    """Number of entries of some leaves."""
    return sum(math.prod(patterns.shapes[k]) for k in leaves)


@dataclass(frozen=True)
class Costs:
    """What the steps of a system are made of, in multiply-adds.

    Args:
        patterns: of its Jacobians.
        products: what products with them cost.
    """

    patterns: Patterns
    products: Products

    @property
    def size(self) -> int:
        """n, the number of state variables."""
        return self.patterns.size

    @cached_property
    def learned(self) -> int:
        """The number of learned parameters, those included that only Y uses."""
        return size_of(self.patterns, self.patterns.trainable)

    @cached_property
    def influential(self) -> int:
        """p, the number of learned parameters that feed the state."""
        return size_of(self.patterns, self.patterns.influential)

    @cached_property
    def closed(self) -> int:
        """Entries of the closed pattern of the influence matrix."""
        return closed_size(self.patterns.transition.state, self.patterns.parameter_kinds)

    @cached_property
    def ends(self) -> float:
        """The loss and its gradient in h', SGD's two passes over θ, and one to see that all is finite."""
        return self.products.observed + 3.0 * self.learned + 3 * self.size

    @cached_property
    def base(self) -> float:
        """The same, with the loss's gradient in h and θ: what every step with an influence matrix has."""
        return self.ends + self.products.backward

    @cached_property
    def narrow(self) -> float:
        """Likewise without a product with the state's Jacobian from the left: c·(A v) in place of (c A)·v."""
        return self.ends + self.products.parameters + self.size

    @cached_property
    def reduced(self) -> float:
        """A v and its norm, v and w, ‖w‖², and the pull at G̃, of rank one."""
        return self.products.forward + 6.0 * self.influential + 6 * self.size + 25

    @cached_property
    def scales(self) -> float:
        """A scale for each state variable: a fourth root of a ratio."""
        return 12 * self.size

    @cached_property
    def _families(self) -> tuple[list[tuple[int, int, float]], list[tuple[int, int, float]]]:
        """(rows, entries of the leaves, cost of a product) of leaves with few rows, and of the others."""
        found = [
            (family.count, size_of(self.patterns, list(family.leaves)), cost)
            for family, cost in zip(self.patterns.row_families, self.products.rows, strict=True)
        ]
        return [f for f in found if f[0] <= MOST], [f for f in found if f[0] > MOST]

    @property
    def rows(self) -> tuple[int, int]:
        """Backward products that give the rows of ∂F/∂θ: of leaves with few, and of the others."""
        few, many = self._families
        return sum(count for count, _, _ in few), sum(count for count, _, _ in many)

    @property
    def row_products(self) -> tuple[float, float]:
        """Multiply-adds of these: one product for each colour, or one for each row."""
        few, many = self._families
        return float(sum(c * cost for c, _, cost in few)), float(sum(self.size * cost for _, _, cost in many))

    @property
    def row_once(self) -> float:
        """One backward product for each family of leaves with many rows."""
        return float(sum(cost for _, _, cost in self._families[1]))

    @property
    def row_entries(self) -> tuple[int, int]:
        """Entries of these rows."""
        few, many = self._families
        return sum(count * entries for count, entries, _ in few), self.size * sum(entries for _, entries, _ in many)

    @cached_property
    def columns(self) -> int:
        """Forward products that give all columns of ∂F/∂h."""
        return int(self.patterns.column_colours.max(initial=-1)) + 1

    @property
    def kept_columns(self) -> int:
        """The same for those entries that keep influence on the pattern of ∂F/∂θ: none where they are gathered."""
        return self.columns if 2 * self.products.kept > self.columns * self.products.forward else 0

    @cached_property
    def entries(self) -> float:
        """All entries of both Jacobians."""
        return self.columns * self.products.forward + sum(self.row_products)

    @property
    def by_columns(self) -> bool:
        """Whether A G + B is made column by column, as it is with fewer parameters than state variables."""
        return self.influential < self.size

    @cached_property
    def users(self) -> np.ndarray:
        """How many state variables each one feeds."""
        return np.bincount(self.patterns.transition.state.indices, minlength=self.size)
