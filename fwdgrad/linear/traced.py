"""A model whose derivatives come from traced programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.linear.base import (
    EUCLIDEAN,
    Leaves,
    MaterialisedJacobians,
    Metric,
    ProductTerm,
    Row,
    Rows,
)
from fwdgrad.linear.product import TracedProduct
from fwdgrad.program import Linearized, map_rows
from fwdgrad.program import operations as ops
from fwdgrad.structure import MOST, Owners, Paths, Patterns
from fwdgrad.structure.accumulation import Accumulation, Terms
from fwdgrad.support.trees import flatten
from fwdgrad.system import System
from fwdgrad.system.tracing import traced

__all__ = ["ColouredRows", "TracedLinearization", "TracedModel", "TracedObservation"]


FEW, SHORT = 3, 100
"""Products with a program that are written one beside the other, whatever it is; and operations of all of them."""


class TracedModel:
    """A system by its traced programs."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.traced = traced(system)
        number, trainable = self.traced.number, system.trainable
        live_f, live_y = self.traced.transition.live_inputs(), self.traced.output.live_inputs()
        self.leaves = tuple(k for k in trainable if number[k] in live_f)
        self.readout = tuple(k for k in trainable if number[k] in live_y)
        self.x_bounds, self.y_bounds = self.traced.x_bounds, self.traced.y_bounds

    @property
    def patterns(self) -> Patterns:
        """Where A and B can be non-zero."""
        return self.traced.patterns

    @property
    def paths(self) -> Paths:
        """Which learned parameters reach the loss."""
        return self.traced.paths

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the two programs."""
        return {"F": self.traced.transition.fingerprint(), "Y": self.traced.output.fingerprint()}

    def linearize(self, h: Any, x: Any, params: Leaves) -> TracedLinearization:
        """The transition at (h, x, θ)."""
        arguments = self.traced.arguments(h, x, params)
        return TracedLinearization(self, Linearized(self.traced.transition, arguments))

    def observe(self, h: Any, x: Any, y: Any, params: Leaves) -> TracedObservation:
        """Prediction and loss at h'."""
        return TracedObservation(self, h, x, y, params)

    def advance(self, h: Any, x: Any, params: Leaves) -> tuple[Any, Any]:
        """(h', ŷ)."""
        programs = self.traced
        (after,) = programs.transition(*programs.arguments(h, x, params))
        return after, programs.output(*programs.arguments(after, x, params))[0]


class TracedLinearization(MaterialisedJacobians):
    """One step, linearised through the transition's program."""

    def __init__(self, model: TracedModel, linearized: Linearized) -> None:
        self._model, self._linearized = model, linearized
        self.value = linearized.value[0]
        self.leaves = model.leaves

    @property
    def patterns(self) -> Patterns:
        """Where A and B can be non-zero."""
        return self._model.patterns.only(self.leaves)

    def jvp(self, direction: Any, leaves: Leaves | None = None) -> Any:
        """A·direction + B·leaves."""
        tangents = {0: direction} | {self._model.traced.number[k]: v for k, v in (leaves or {}).items()}
        return self._linearized.jvp(tangents)[0]

    def vjp(self, cotangent: Any) -> tuple[Any, Leaves]:
        """(c·A, c·B)."""
        names, number = self.leaves, self._model.traced.number
        state, *leaves = self._linearized.vjp([cotangent], [0, *(number[k] for k in names)])
        return state, dict(zip(names, leaves, strict=True))

    def jacobians(self) -> tuple[Any, Leaves]:
        """A row by row, n products backward to the state; B from its rows, by one product a colour.

        Where the colours of a long program are as many as its rows, they save nothing, and A and B are one loop.
        """
        colours = sum(family.count for family in self.patterns.row_families)
        length = colours * len(self._linearized.program.instructions)
        if colours >= self.value.shape[0] and colours > FEW and length > SHORT:
            return super().jacobians()

        (state,) = map_rows(lambda c: self._linearized.vjp([c], [0]), self._unit_rows())
        B, params = self.rows().dense(), self._model.system.params
        nothing = {k: np.zeros((state.shape[0], *params[k].shape), state.dtype) for k in self.leaves if k not in B}
        return state, {k: B[k] if k in B else nothing[k] for k in self.leaves}

    def rows(self, sparse_only: bool = False) -> ColouredRows:
        """The rows of B, by one backward product for each colour of each family of leaves."""
        return ColouredRows(self.value.shape[0], self._products(sparse_only))

    def pull(self, cotangent: Any) -> tuple[Row, Leaves]:
        """The row c·A, and c·B. Of the product backward only what is used ends up in the program."""
        row, leaves = self.vjp(cotangent)
        return _Through(self, cotangent, row), leaves

    def _products(self, sparse_only: bool) -> dict[str, list[tuple[Any, Owners | None]]]:
        """For each leaf its rows, one array per colour with its owners, or all rows in full (owners None)."""
        number, dtype = self._model.traced.number, self.value.dtype
        products: dict[str, list[tuple[Any, Owners | None]]] = {}
        for family in self.patterns.row_families:
            if family.count <= MOST:
                for colour in range(family.count):
                    mine = {k: o[colour] for k, o in family.leaves.items() if o[colour] is not None}
                    cotangent = family.mask(colour).astype(dtype)
                    made = self._linearized.vjp([cotangent], [number[k] for k in mine])
                    for (leaf, owners), product in zip(mine.items(), made, strict=True):
                        products.setdefault(leaf, []).append((product, owners))
            elif not sparse_only:
                for leaf, rows in self._all_rows(tuple(family.leaves)).items():
                    products[leaf] = [(rows, None)]
        return products

    def _all_rows(self, names: tuple[str, ...]) -> Leaves:
        """Rows of B one by one, arrays (n, *leaf shape)."""
        numbers = [self._model.traced.number[k] for k in names]
        made = map_rows(lambda c: self._linearized.vjp([c], numbers), self._unit_rows())
        return dict(zip(names, made, strict=True))

    def _unit_rows(self) -> np.ndarray:
        return np.eye(self.value.shape[0], dtype=self.value.dtype)

    def entries(self) -> tuple[Any, Leaves]:
        """By one forward product for each colour of the columns of A, and the coloured rows of B."""
        return self._all_state_entries(), self.parameter_entries()

    def state_entries(self, numbers: np.ndarray) -> Any:
        """Put together from the parts of F beside its products, if that takes few terms; else from columns."""
        patterns = self.patterns
        row, column = (a.astype(np.int64)[numbers] for a in patterns.transition.state.nonzero())
        parts = self._model.traced.accumulation
        table = None
        if parts is not None and int(patterns.column_colours.max(initial=-1)) > int(parts.colours.max(initial=-1)) + 1:
            table = parts.table(row, column)
        if parts is None or table is None:
            return self._all_state_entries()[numbers]
        return self._accumulated(parts, *table)

    def _accumulated(self, parts: Accumulation, places: np.ndarray, tables: tuple[Terms, ...]) -> Any:
        """∂f/∂h + Σ D W ∂a/∂h, at the entries of the tables."""
        lin, dtype, cuts, moved = self._linearized, self.value.dtype, parts.cuts, self._moved(parts)

        def picked(products: list[Any], colours: np.ndarray, place: np.ndarray) -> Any:
            flat = [np.reshape(product, (-1,)) for product in products]
            return np.concatenate(flat)[colours * flat[0].shape[0] + place]

        row, column = parts.direct.nonzero()
        here = np.flatnonzero(places >= 0)
        total = np.zeros(len(places), dtype)
        if len(here):
            value = picked([ends[0] for ends, _ in moved], parts.colours[column], row)[places[here]]
            total = value if len(here) == len(places) else _sum_at(value, here, len(places))
        for number, (cut, terms) in enumerate(zip(cuts, tables, strict=True)):
            if not len(terms.entry):
                continue
            row, column = cut.before.nonzero()
            before = picked([at[number] for _, at in moved], parts.colours[column], row)[terms.before]
            row, column = cut.after.nonzero()
            signs = [(cut.colours == c).astype(dtype) for c in range(int(cut.colours.max(initial=-1)) + 1)]
            back = [lin.vjp([mask], [cut.product.result])[0] for mask in signs]
            after = picked(back, cut.colours[row], column)[terms.after]
            matrix = lin.at(lin.program.inputs[self._model.traced.number[cut.leaf]])
            value = after * np.reshape(matrix, (-1,))[terms.weight] * before
            once = len(terms.entry) == len(places) and np.array_equal(terms.entry, np.arange(len(places)))
            total = total + (value if once else _sum_at(value, terms.entry, len(places)))
        return total

    def _moved(self, parts: Accumulation) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """For each colour of columns ∂f/∂h and all ∂a/∂h, times the columns' sum."""
        lin, dtype = self._linearized, self.value.dtype
        still, factors = {cut.product.result for cut in parts.cuts}, [cut.factor for cut in parts.cuts]
        masks = [(parts.colours == c).astype(dtype) for c in range(int(parts.colours.max(initial=-1)) + 1)]
        return [lin.around({0: mask}, still, factors) for mask in masks]

    def column_sizes(self) -> Any:
        """By how far each state variable moves what matrices are multiplied with, whose columns are taken as alike."""
        parts, alike = self._model.traced.accumulation, super().column_sizes()
        if parts is None or not any(cut.before.nnz for cut in parts.cuts):
            return alike
        moved, n, total = self._moved(parts), self.value.shape[0], None
        for number, cut in enumerate(parts.cuts):
            row, column = cut.before.nonzero()
            if len(row):
                flat = [np.reshape(at[number], (-1,)) for _, at in moved]
                seen = np.concatenate(flat)[parts.colours[column] * flat[0].shape[0] + row]
                part = _sum_at(seen * seen, column.astype(np.int64), n)
                total = part if total is None else total + part
        assert total is not None
        mean = np.sum(total) / n
        return np.where(mean > 0, total + 0.01 * mean, alike)

    def _all_state_entries(self) -> Any:
        """By one forward product for each colour of the columns of A."""
        n, dtype = self.value.shape[0], self.value.dtype
        patterns = self.patterns
        colours = patterns.column_colours
        masks = np.array([colours == c for c in range(int(colours.max(initial=-1)) + 1)]).astype(dtype)
        row, column = patterns.transition.state.nonzero()
        if not len(row):
            state: Any = np.zeros(0, dtype)
        elif len(masks) <= MOST:
            state = np.concatenate([self.jvp(mask) for mask in masks])[colours[column] * n + row]
        else:
            (products,) = map_rows(lambda mask: [self.jvp(mask)], masks)
            state = products[colours[column], row]
        return state

    def parameter_entries(self) -> Leaves:
        """From the coloured rows of B."""
        n, patterns = self.value.shape[0], self.patterns
        made = {}
        families = {leaf: family for family in patterns.row_families for leaf in family.leaves}
        for leaf, parts in self._products(sparse_only=False).items():
            i, j = patterns.transition.leaves[leaf].nonzero()
            if parts[0][1] is None:
                made[leaf] = np.reshape(parts[0][0], (n, -1))[i, j]
                continue
            present = [c for c, owners in enumerate(families[leaf].leaves[leaf]) if owners is not None]
            place = np.searchsorted(present, families[leaf].colours[i])
            flat = np.concatenate([np.ravel(product) for product, _ in parts])
            made[leaf] = flat[place * parts[0][0].size + j]
        return made

    def products(self) -> dict[str, ProductTerm]:
        """The leaves that the program uses in one product only."""
        patterns, lin = self.patterns, self._linearized
        return {k: TracedProduct(lin, use, patterns.results[k]) for k, use in patterns.products.items()}


class ColouredRows:
    """Rows of B, several to a product: within one colour every entry of a leaf belongs to one row.

    Args:
        size: n, the number of rows.
        products: for each leaf and colour Σ_i b_i over the rows of the colour, and which row each entry belongs to;
            or all rows of the leaf, (n, *leaf shape), and None.
    """

    def __init__(self, size: int, products: dict[str, list[tuple[Any, Owners | None]]]) -> None:
        self._size, self._products = size, products
        self.leaves = tuple(products)

    def squared_norms(self, metric: Metric = EUCLIDEAN) -> Any:
        """‖b_i‖²: what the entries of each row contribute, summed; row by row if the metric mixes rows."""
        if not separates(self._products, metric.blocks()):
            basis = np.eye(self._size, dtype=next(iter(self._products.values()))[0][0].dtype)
            return _norms_of_rows(self, basis, metric)
        total: Any = np.zeros(self._size)
        first = True
        for number in range(max(map(len, self._products.values()), default=0)):
            parts = {k: parts[number] for k, parts in self._products.items() if number < len(parts)}
            terms = metric.terms({k: product for k, (product, _) in parts.items()})
            for k, (_, owners) in parts.items():
                part = self._grouped(terms[k], owners)
                total, first = part if first else total + part, False
        return total

    def _grouped(self, values: Any, owners: Owners | None) -> Any:
        """Sum of the entries that belong to each row, shape (n,)."""
        if owners is None:
            return np.sum(values, axis=tuple(range(1, values.ndim)))
        if owners.axis is None:
            entries = np.flatnonzero(owners.table >= 0)
            index = (("operand",),)
            return ops.scatter_add(
                np.ravel(values)[entries], owners.table.ravel()[entries], index=index, shape=(self._size,)
            )
        sums = np.sum(values, axis=tuple(k for k in range(values.ndim) if k != owners.axis))
        if sums.shape[0] == self._size:
            return sums
        place = (("slice", owners.offset, owners.offset + sums.shape[0], None),)
        return ops.scatter_add(sums, index=place, shape=(self._size,))

    def combine(self, weights: Any) -> Leaves:
        """Σ_i weights_i b_i: every entry times the weight of the row it belongs to."""
        made: Leaves = {}
        for leaf, parts in self._products.items():
            for product, owners in parts:
                if owners is None:
                    made[leaf] = np.tensordot(weights, product, axes=1)
                else:
                    part = product * self._spread(weights, owners)
                    made[leaf] = made[leaf] + part if leaf in made else part
        return made

    def dense(self) -> Leaves:
        """The rows in full, arrays (n, *leaf shape)."""
        made: Leaves = {}
        for leaf, parts in self._products.items():
            for product, owners in parts:
                part = product if owners is None else np.where(self._mine(owners), product, 0.0)
                made[leaf] = made[leaf] + part if leaf in made else part
        return made

    def _mine(self, owners: Owners) -> Any:
        """Whether an entry belongs to a row, in a shape that broadcasts to (n, *leaf shape)."""
        shape = owners.table.shape
        number = np.reshape(np.arange(self._size), (-1, *(1 for _ in shape)))
        if owners.axis is None:
            return number == owners.table
        length = shape[owners.axis]
        mine = owners.offset + np.arange(length)
        return number == np.reshape(mine, tuple(length if k == owners.axis else 1 for k in range(len(shape))))

    @staticmethod
    def _spread(weights: Any, owners: Owners) -> Any:
        """The weight of each entry's row, in a shape that broadcasts to the leaf's."""
        shape = owners.table.shape
        if owners.axis is None:
            return np.where(owners.table >= 0, np.take(weights, np.maximum(owners.table, 0)), 0.0)
        length = shape[owners.axis]
        mine = weights[owners.offset : owners.offset + length]
        return np.reshape(mine, tuple(length if k == owners.axis else 1 for k in range(len(shape))))


def separates(products: dict[str, list[tuple[Any, Owners | None]]], blocks: dict[str, np.ndarray]) -> bool:
    """Whether a metric can be applied to rows that stand several to a product, as if each stood alone.

    It can if no block of the metric has entries of two rows in one product, and no row has parts of one block in two.

    Args:
        products: see `ColouredRows`; the products of all leaves with the same number are taken together.
        blocks: see `Metric`; leaves that are left out have no two entries that meet.
    """
    seen: set[tuple[int, int]] = set()
    for number in range(max(map(len, products.values()), default=0)):
        pairs: set[tuple[int, int]] = set()
        for k, parts in products.items():
            if number >= len(parts) or k not in blocks or np.all(blocks[k] < 0):
                continue
            owners = parts[number][1]
            if owners is None:
                return False
            here = (owners.table >= 0) & (blocks[k] >= 0)
            both = np.unique(np.stack([blocks[k][here], owners.table[here]]), axis=1)
            pairs |= {(int(block), int(row)) for block, row in both.T}
        if len({block for block, _ in pairs}) < len(pairs) or pairs & seen:
            return False
        seen |= pairs
    return True


def _norms_of_rows(rows: Rows, basis: np.ndarray, metric: Metric) -> Any:
    """‖b_i‖², each row made by itself."""
    return map_rows(lambda row: [metric.squared_norm(rows.combine(row))], basis)[0]


@dataclass(frozen=True, eq=False)
class _Through:
    """The row c·A of a linearization."""

    lin: TracedLinearization
    cotangent: Any
    array: Any

    def __call__(self, direction: Any) -> Any:
        """c·(A direction)."""
        return np.dot(self.cotangent, self.lin.jvp(direction))


def _sum_at(values: Any, places: np.ndarray, size: int) -> Any:
    """Zeros of length `size` with `values` added at `places`."""
    return ops.scatter_add(values, places, index=(("operand",),), shape=(size,))


class TracedObservation:
    """Prediction and loss, through the output's program."""

    def __init__(self, model: TracedModel, h: Any, x: Any, y: Any, params: Leaves) -> None:
        self._model = model
        programs = model.traced
        self._linearized = Linearized(programs.output, programs.arguments(h, x, params))
        self.prediction = self._linearized.value[0]
        self._y = y
        (self.loss,) = programs.loss(self.prediction, *flatten(y))

    def gradient(self) -> tuple[Any, Leaves]:
        """c and the direct term."""
        model = self._model
        slope = model.system.loss.gradient(self.prediction, self._y)
        if slope is None:
            one = np.ones((), self.prediction.dtype)
            (slope,) = Linearized(model.traced.loss, [self.prediction, *flatten(self._y)]).vjp([one], [0])
        return self.pull(slope if slope.dtype == self.prediction.dtype else slope.astype(self.prediction.dtype))

    def pull(self, cotangent: Any) -> tuple[Any, Leaves]:
        """∂(u·ŷ)/∂h' and ∂(u·ŷ)/∂θ."""
        model = self._model
        state, *leaves = self._linearized.vjp([cotangent], [0, *(model.traced.number[k] for k in model.readout)])
        return state, dict(zip(model.readout, leaves, strict=True))
