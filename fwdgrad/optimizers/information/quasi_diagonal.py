"""The quasi-diagonal form: the diagonal, and in each unit the row of its bias."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.optimizers.base import Arrays
from fwdgrad.optimizers.information.matrix import Discount, Form, one_by_one, scaled
from fwdgrad.optimizers.information.units import Group, Places, UnitsLike, checked_units, units_for
from fwdgrad.optimizers.informed import Noise, Setting
from fwdgrad.program import operations as ops

__all__ = ["QuasiDiagonal", "QuasiDiagonalState"]


@dataclass(frozen=True)
class QuasiDiagonal:
    """The diagonal S_ii and the rows S_0i of the biases 0 of all units are those of the full matrix. Memory 2p, O(p).

        q_i = (g_i − g_0 S_0i/S_00) / (S_ii − S_0i²/S_00),      q_0 = (g_0 − Σ_i S_0i q_i) / S_00

    (NoBackTrack paper, Algorithm 2 with the reduction of Ollivier 2015a, "Riemannian metrics for neural networks I",
    §2.3.) It is the solution with the matrix that has these entries and S_ij = S_0i S_0j/S_00 elsewhere in a unit. What
    is kept is its factorisation, a = S_00, c_i = S_0i/S_00 and s_i = S_ii − S_0i²/S_00, with

        a' = a + u_0²,   s_i' = s_i + (u_i − c_i u_0)² a/a',   c_i' = c_i + (u_i − c_i u_0) u_0/a'

    for every vector u: sums of positive numbers, so a and s_i never reach 0.

    Trajectories do not change under affine changes of the activities that enter a unit along with its bias.

    Args:
        units: None for those that the analyzer finds, or given by hand: a dict for each group of units, leaf → axis of
            the leaf that counts the units.
        biases: leaves that hold biases, besides those that the analyzer finds: parameters that enter additively, with
            a constant coefficient. A unit without a bias has a diagonal; if none has one, there is a warning.

    Example:
        >>> from fwdgrad.optimizers import QuasiDiagonal
        >>> QuasiDiagonal(units=[{"W": 0, "b": 0}], biases=["b"])
        QuasiDiagonal(units=((('W', 0), ('b', 0)),), biases=('b',))
    """

    units: UnitsLike = None
    biases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checked_units("QuasiDiagonal", self.units))
        biases = (self.biases,) if isinstance(self.biases, str) else tuple(self.biases)
        object.__setattr__(self, "biases", biases)

    def bind(self, setting: Setting, prior: dict[str, float], rank: int) -> Form:
        """The form for these leaves."""
        groups = units_for("QuasiDiagonal", setting, self.units, self.biases)
        if not any(bias for group in groups for bias in group.bias):
            warnings.warn(
                "QuasiDiagonal: no unit has a bias, so this is the diagonal. The analyzer finds those that enter "
                "additively, with a constant coefficient: b in b + W tanh(h), not in tanh(b + W h).\n"
                'Name yours, QuasiDiagonal(biases=["b", …]), or take "diagonal".',
                stacklevel=2,
            )
        return _QuasiDiagonalForm(setting, prior, groups)


class QuasiDiagonalState(NamedTuple):
    """The factorisation S = L D Lᵀ in each unit, L with ones on the diagonal and c in the column of the bias."""

    bias: tuple[Any, ...]
    """a of each unit, one vector per group of units; 1 where there is no bias."""
    column: Arrays
    """c, for leaves with other entries than biases."""
    pivot: Arrays
    """s, for the same leaves."""


class _Leaf(NamedTuple):
    group: int
    places: Places
    other: np.ndarray | None
    """1.0 where an entry is no bias; None where that is so everywhere."""


class _QuasiDiagonalForm:
    """See `QuasiDiagonal`."""

    noise: Noise = ()

    def __init__(self, setting: Setting, prior: dict[str, float], groups: list[Group]) -> None:
        self._setting, self._prior, self._groups = setting, prior, groups
        self._bias_prior: list[np.ndarray] = []
        self._picks: list[dict[str, tuple[np.ndarray, np.ndarray]]] = []
        self._leaves: dict[str, _Leaf] = {}
        self._only_biases: dict[str, tuple[int, Places]] = {}
        for number, group in enumerate(groups):
            picks: dict[str, list[tuple[int, int]]] = {}
            for unit, bias in enumerate(group.bias):
                if bias is not None:
                    picks.setdefault(bias[0], []).append((bias[1], unit))
            made = {k: (np.array(p)[:, 0], np.array(p)[:, 1]) for k, p in picks.items()}
            self._picks.append(made)
            a = np.ones(group.count, setting.dtype)
            for k, (_, units) in made.items():
                a[units] = prior[k]
            self._bias_prior.append(a)
            for k, owner in group.owner.items():
                places = Places(owner, group.count)
                other = np.ones(owner.shape, setting.dtype)
                if k in made:
                    other.reshape(-1)[made[k][0]] = 0.0
                if other.any() or not other.size:
                    self._leaves[k] = _Leaf(number, places, None if other.all() else other)
                else:
                    self._only_biases[k] = (number, places)

    def _biases(self, leaves: Arrays) -> list[Any]:
        """u_0 of every unit, by group; 0 where there is no bias."""
        made = []
        for group, picks in zip(self._groups, self._picks, strict=True):
            total: Any = None
            for k, (index, units) in picks.items():
                if k not in leaves:
                    continue
                flat = np.ravel(leaves[k])
                if not np.array_equal(index, np.arange(flat.shape[0])):
                    flat = np.take(flat, index)
                if not np.array_equal(units, np.arange(group.count)):
                    flat = ops.scatter_add(flat, units, index=(("operand",),), shape=(group.count,))
                total = flat if total is None else total + flat
            made.append(np.zeros(group.count, self._setting.dtype) if total is None else total)
        return made

    def _residuals(self, state: QuasiDiagonalState, leaves: Arrays, biases: list[Any]) -> Iterator[tuple[str, Any]]:
        """u_i − c_i u_0, leaf by leaf; 0 at biases."""
        for k, leaf in self._leaves.items():
            u = leaves[k] if k in leaves else np.zeros(self._setting.shapes[k], self._setting.dtype)
            e = u - state.column[k] * leaf.places.spread(biases[leaf.group])
            yield k, e if leaf.other is None else e * leaf.other

    def init(self) -> QuasiDiagonalState:
        """S = Λ."""
        dtype, shapes = self._setting.dtype, self._setting.shapes
        return QuasiDiagonalState(
            tuple(a.copy() for a in self._bias_prior),
            {k: np.zeros(shapes[k], dtype) for k in self._leaves},
            {k: np.full(shapes[k], self._prior[k], dtype) for k in self._leaves},
        )

    def update(
        self, state: QuasiDiagonalState, discount: Discount, rows: Arrays, noise: tuple[Any, ...]
    ) -> QuasiDiagonalState:
        """S ← κ S + φ Λ + Σ_k u_k u_kᵀ in its factors."""
        if discount is not None:
            state = self._discounted(state, *discount)
        return one_by_one(self._with, state, rows)

    def _discounted(self, state: QuasiDiagonalState, keep: Any, refresh: Any) -> QuasiDiagonalState:
        """κ S + φ Λ: the part of Λ at the bias is one more vector u = √(φ Λ₀) e₀."""
        kept = [scaled(a, keep) for a in state.bias]
        fresh = [scaled(prior, refresh) for prior in self._bias_prior]
        bias = [a + f for a, f in zip(kept, fresh, strict=True)]
        column, pivot = {}, {}
        for k, leaf in self._leaves.items():
            c, places, number = state.column[k], leaf.places, leaf.group
            ratio = kept[number] / bias[number]
            column[k] = c * places.spread(ratio)
            moved = c * c * places.spread(fresh[number] * ratio)
            prior = scaled(np.asarray(self._prior[k], c.dtype), refresh)
            pivot[k] = scaled(state.pivot[k], keep) + prior + moved
        return QuasiDiagonalState(tuple(bias), column, pivot)

    def _with(self, state: QuasiDiagonalState, u: Arrays) -> QuasiDiagonalState:
        """S + u uᵀ."""
        biases = self._biases(u)
        bias = [a + b * b for a, b in zip(state.bias, biases, strict=True)]
        column, pivot = {}, {}
        for k, e in self._residuals(state, u, biases):
            number, places = self._leaves[k].group, self._leaves[k].places
            column[k] = state.column[k] + e * places.spread(biases[number] / bias[number])
            pivot[k] = state.pivot[k] + e * e * places.spread(state.bias[number] / bias[number], 1.0)
        return QuasiDiagonalState(tuple(bias), column, pivot)

    def solve(self, state: QuasiDiagonalState, leaves: Arrays) -> Arrays:
        """q, the formula above."""
        biases = self._biases(leaves)
        at = [b / a for b, a in zip(biases, state.bias, strict=True)]
        made = {}
        for k, e in self._residuals(state, leaves, biases):
            made[k] = e * (1.0 / state.pivot[k])
            leaf = self._leaves[k]
            if self._picks[leaf.group]:
                at[leaf.group] = at[leaf.group] - leaf.places.sums(state.column[k] * made[k])
        return {k: self._at_biases(k, made.get(k), at) for k in leaves}

    def _at_biases(self, k: str, others: Any, at: list[Any]) -> Any:
        """A leaf with the numbers in `at` in place of its biases."""
        if k in self._only_biases:
            number, places = self._only_biases[k]
            return np.broadcast_to(places.spread(at[number]), self._setting.shapes[k])
        leaf = self._leaves[k]
        return others if leaf.other is None else np.where(leaf.other > 0, others, leaf.places.spread(at[leaf.group]))

    def terms(self, state: QuasiDiagonalState, leaves: Arrays) -> Arrays:
        """w_0²/a and (w_i − c_i w_0)²/s_i."""
        biases = self._biases(leaves)
        at = [b * b / a for b, a in zip(biases, state.bias, strict=True)]
        made = {k: e * e * (1.0 / state.pivot[k]) for k, e in self._residuals(state, leaves, biases)}
        return {k: self._at_biases(k, made.get(k), at) for k in (*made, *self._only_biases)}

    def blocks(self) -> dict[str, np.ndarray]:
        """The number of each entry's unit."""
        starts = np.cumsum([0, *(g.count for g in self._groups)])
        return {
            k: np.where(owner >= 0, owner + start, -1)
            for start, group in zip(starts.tolist(), self._groups, strict=False)
            for k, owner in group.owner.items()
        }

    def variances(self, state: QuasiDiagonalState) -> Arrays:
        """1/s_i, and 1/a + Σ c_i²/s_i at biases."""
        at = [1.0 / a for a in state.bias]
        for k, c in state.column.items():
            leaf = self._leaves[k]
            if self._picks[leaf.group]:
                at[leaf.group] = at[leaf.group] + leaf.places.sums(c * c / state.pivot[k])
        made = {k: 1.0 / s for k, s in state.pivot.items()}
        return {k: self._at_biases(k, made.get(k), at) for k in self._setting.shapes}

    def magnitude(self, state: QuasiDiagonalState) -> Any:
        """The sum of a and s; c is finite where they are, since |c| ≤ √(S_ii/S_00)."""
        return sum(np.sum(x) for x in (*state.bias, *state.pivot.values()))

    def dense(self, state: QuasiDiagonalState) -> np.ndarray:
        """L D Lᵀ."""
        shapes = self._setting.shapes
        number = dict(zip(shapes, np.cumsum([0, *(int(np.prod(s, dtype=int)) for s in shapes.values())]), strict=False))
        size = sum(int(np.prod(s, dtype=int)) for s in shapes.values())
        L, D = np.eye(size), np.ones(size)
        for k, s in state.pivot.items():
            D[number[k] : number[k] + s.size] = np.ravel(s)
        for group, a in zip(self._groups, state.bias, strict=True):
            for unit, bias in enumerate(group.bias):
                if bias is not None:
                    place = number[bias[0]] + bias[1]
                    D[place] = a[unit]
                    for k, owner in group.owner.items():
                        if k in state.column:
                            mine = np.flatnonzero(owner.ravel() == unit)
                            L[number[k] + mine, place] += np.ravel(state.column[k])[mine]
        return L @ np.diag(D) @ L.T
