"""The linearised step: what algorithms see of a system's derivatives, and nothing else of it.

A `Model` linearises a system's transition and observes its output. A `Linearization` offers products with A = ∂h'/∂h
and B = ∂h'/∂θ. Both serve one step as well as a window of steps, and every engine.

Shapes: state vectors (n,), parameter-shaped things a dict leaf → array of the leaf's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.program import map_rows
from fwdgrad.structure import Paths, Patterns
from fwdgrad.support.types import Leaves
from fwdgrad.system import System

__all__ = [
    "EUCLIDEAN",
    "DenseRows",
    "ExplicitRow",
    "Leaves",
    "Linearization",
    "MaterialisedJacobians",
    "Metric",
    "Model",
    "Observation",
    "ProductTerm",
    "Row",
    "Rows",
    "known",
    "restricted",
]


class Metric(Protocol):
    """How long parameter-shaped things are: ‖w‖² = wᵀ M w for a positive definite matrix M."""

    def squared_norm(self, leaves: Leaves) -> Any:
        """‖w‖², a scalar; a leaf left out is zero."""

    def terms(self, leaves: Leaves) -> Leaves:
        """What each entry contributes to ‖w‖², entry by entry; ‖w‖² is the sum over all entries."""

    def blocks(self) -> dict[str, np.ndarray]:
        """A number for each entry of each leaf: entries with different numbers do not meet in M.

        −1 for an entry that meets no other. A leaf left out has no entries that do.
        """


class Euclidean:
    """M = Id."""

    def squared_norm(self, leaves: Leaves) -> Any:
        """Sum of squares."""
        total: Any = 0.0
        for leaf in leaves.values():
            total = total + np.vdot(leaf, leaf)
        return total

    def terms(self, leaves: Leaves) -> Leaves:
        """Squares."""
        return {k: leaf * leaf for k, leaf in leaves.items()}

    def blocks(self) -> dict[str, np.ndarray]:
        """Nothing meets."""
        return {}


EUCLIDEAN = Euclidean()


class Linearization(Protocol):
    """A map h ↦ h', of one step or of a window, linearised at a point: A = ∂h'/∂h, B = ∂h'/∂θ, as products.

    Leaves are the parameters that are learned and that the transition uses. Only `jacobians` materialises anything.
    """

    value: Any
    """h', shape (n,)."""
    leaves: tuple[str, ...]
    """The leaves that B has columns for."""
    metric: Metric
    """How long rows of B, and other parameter-shaped things, are: Euclidean unless the optimizer has a metric."""

    def only(self, leaves: Sequence[str]) -> Linearization:
        """The same with fewer leaves: columns of B are left out, here and in everything below."""

    def jvp(self, direction: Any, leaves: Leaves | None = None) -> Any:
        """A·direction + B·leaves, shape (n,). Without `leaves`, A·direction."""

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """(c·A, c·B) for a cotangent c of shape (n,)."""

    def pull(self, cotangent: Any) -> tuple[Row, Leaves]:
        """The row c·A as a linear form, of which only what is asked for is computed, and c·B."""

    @property
    def patterns(self) -> Patterns | None:
        """Where A and B of a single step can be non-zero, if that is known."""

    def rows(self, sparse_only: bool = False) -> Rows:
        """The rows b_i = ∂h'_i/∂θ of B, i = 1 … n; with `sparse_only`, without the leaves that have dense rows."""

    def entries(self) -> tuple[Any, Leaves]:
        """The entries of A and B at `patterns`, in the order in which the patterns store them."""

    def state_entries(self, numbers: np.ndarray) -> Any:
        """Some of the entries of A at `patterns`, by their numbers in the order in which the patterns store them."""

    def parameter_entries(self) -> Leaves:
        """The entries of B at `patterns`."""

    def column_sizes(self) -> Any:
        """Positive numbers that compare the squared lengths of the columns of A, roughly, shape (n,)."""

    def jacobians(self) -> tuple[Any, Leaves]:
        """A as an array (n, n) and B as arrays (n, *leaf shape). Cost: n vector-Jacobian products."""

    def products(self) -> dict[str, ProductTerm]:
        """For each leaf that enters through one product z = Ŵ a and in no other way: a `ProductTerm`.

        Raises:
            DeclarationError: products cannot be told apart from the rest of the map.
        """


class ProductTerm(Protocol):
    """The part B = D ⊗ a of a matrix Ŵ that enters through z = Ŵ a, with D = ∂h'/∂z."""

    axis: int
    """The axis of the matrix that is summed over: 1 for W @ a, 0 for a @ W."""

    @property
    def factor(self) -> Any:
        """a, shape (r,)."""

    def vjp(self, cotangent: Any) -> Any:
        """c·D, shape (m,), for a cotangent c of shape (n,). Cost: one backward product, down to z."""

    def jacobian(self) -> Any:
        """D, shape (n, m). Cost: one backward product, down to z, for each colour of its rows."""


class Rows(Protocol):
    """The rows b_i of B, evaluated once."""

    leaves: tuple[str, ...]
    """The leaves they are rows of."""

    def squared_norms(self, metric: Metric = EUCLIDEAN) -> Any:
        """‖b_i‖², shape (n,)."""

    def combine(self, weights: Any) -> Leaves:
        """Σ_i weights_i b_i."""


class DenseRows:
    """Rows stored in full: O(n p) numbers."""

    def __init__(self, rows: Leaves) -> None:
        self.rows = rows
        self.leaves = tuple(rows)

    def squared_norms(self, metric: Metric = EUCLIDEAN) -> Any:
        """Row by row, summed over the leaves."""
        if metric is not EUCLIDEAN:
            return norms_one_by_one(self.rows, metric)
        return sum(np.sum(np.reshape(r * r, (r.shape[0], -1)), axis=1) for r in self.rows.values())

    def combine(self, weights: Any) -> Leaves:
        """One vector-matrix product per leaf."""
        return {k: np.tensordot(weights, r, axes=1) for k, r in self.rows.items()}


def norms_one_by_one(rows: Leaves, metric: Metric) -> Any:
    """‖w‖² for each w, shape (count,); arrays (count, *leaf shape)."""
    names = list(rows)
    if not names:
        return np.zeros(0)

    return map_rows(lambda *row: [metric.squared_norm(dict(zip(names, row, strict=True)))], *rows.values())[0]


class Row(Protocol):
    """A linear form on states, c."""

    def __call__(self, direction: Any) -> Any:
        """c·direction, for a direction of shape (n,)."""

    @property
    def array(self) -> Any:
        """Its coordinates, shape (n,)."""


@dataclass(frozen=True, eq=False)
class ExplicitRow:
    """A row given by its coordinates."""

    array: Any

    def __call__(self, direction: Any) -> Any:
        """Their product."""
        return np.dot(self.array, direction)


class Observation(Protocol):
    """Prediction and loss at a state h', with their gradient."""

    prediction: Any
    loss: Any

    def gradient(self) -> tuple[Any, Leaves]:
        """c = ∂ℓ/∂h', shape (n,), and the direct term ∂ℓ/∂θ at fixed h', for every learned leaf that Y uses."""

    def pull(self, cotangent: Any) -> tuple[Any, Leaves]:
        """The same for a row u·ŷ of the prediction, u of its shape, in place of the loss."""


class Model(Protocol):
    """A system as algorithms see it."""

    system: System
    leaves: tuple[str, ...]
    """Learned parameters that the transition uses: those with an influence on the state."""
    x_bounds: list[int | None]
    """For each array of x: how many values it can take, if it is used as an index."""
    y_bounds: list[int | None]
    """The same for y."""

    @property
    def patterns(self) -> Patterns | None:
        """Where A and B can be non-zero, if the functions can be traced."""

    @property
    def paths(self) -> Paths:
        """Which learned parameters reach the loss, as far as it can be known."""

    def fingerprints(self) -> dict[str, str]:
        """What identifies the functions F and Y, as far as it can be known."""

    def linearize(self, h: Any, x: Any, params: Leaves) -> Linearization:
        """The transition at (h, x, θ)."""

    def observe(self, h: Any, x: Any, y: Any, params: Leaves) -> Observation:
        """Prediction from the next state h' and loss against y."""

    def advance(self, h: Any, x: Any, params: Leaves) -> tuple[Any, Any]:
        """(h', ŷ) without derivatives."""


def known(patterns: Patterns | None) -> Patterns:
    """The patterns, which some algorithms need.

    Raises:
        DeclarationError: they are not known, because the functions cannot be traced.
    """
    if patterns is None:
        raise DeclarationError(
            "This estimator needs to know which parameter feeds which state variable, and the system's functions\n"
            "cannot be traced. Use UORO(), or make them traceable: fg.check(system) says what stands in the way."
        )
    return patterns


def restricted(patterns: Patterns | None, leaves: Sequence[str]) -> Patterns | None:
    """Those of some leaves, if they are known."""
    return None if patterns is None else patterns.only(leaves)


class MaterialisedJacobians:
    """`jacobians` and `rows` from the products, for linearizations of any kind."""

    value: Any
    leaves: tuple[str, ...]
    metric: Metric = EUCLIDEAN

    def only(self, leaves: Sequence[str]) -> Self:
        """The same with fewer leaves."""
        made = copy(self)
        made.leaves = tuple(k for k in self.leaves if k in leaves)
        return made

    def measured(self, metric: Metric) -> Self:
        """The same with another metric."""
        made = copy(self)
        made.metric = metric
        return made

    @property
    def patterns(self) -> Patterns | None:
        """Where A and B of a single step can be non-zero, if that is known."""
        raise NotImplementedError

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """(c·A, c·B)."""
        raise NotImplementedError

    def pull(self, cotangent: Any) -> tuple[Row, Leaves]:
        """The row c·A by its coordinates, and c·B: one product backward."""
        row, leaves = self.vjp(cotangent)
        return ExplicitRow(row), leaves

    def jacobians(self) -> tuple[Any, Leaves]:
        """A and B, row by row: n vector-Jacobian products."""
        names: list[str] = []

        def row(cotangent: Any) -> list[Any]:
            state, leaves = self.vjp(cotangent)
            names[:] = list(leaves)
            return [state, *leaves.values()]

        state, *leaves = map_rows(row, np.eye(self.value.shape[0], dtype=self.value.dtype))
        return state, dict(zip(names, leaves, strict=True))

    def rows(self, sparse_only: bool = False) -> Rows:
        """The rows of B in full."""
        B = self.jacobians()[1]
        if sparse_only:
            kept = known(self.patterns).sparse_leaves
            B = {k: b for k, b in B.items() if k in kept}
        return DenseRows(B)

    def entries(self) -> tuple[Any, Leaves]:
        """Picked from A and B in full."""
        patterns = known(self.patterns)
        A, B = self.jacobians()
        row, column = patterns.transition.state.nonzero()
        made = {}
        for k, b in B.items():
            i, j = patterns.transition.leaves[k].nonzero()
            made[k] = np.reshape(b, (b.shape[0], -1))[i, j]
        return A[row, column], made

    def state_entries(self, numbers: np.ndarray) -> Any:
        """Picked from all of them."""
        return self.entries()[0][numbers]

    def parameter_entries(self) -> Leaves:
        """Those of `entries`."""
        return self.entries()[1]

    def column_sizes(self) -> Any:
        """All alike."""
        return np.ones(self.value.shape[0], self.value.dtype)
