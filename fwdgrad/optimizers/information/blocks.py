"""Cholesky factors of diagonal blocks: the full form, and the block form by units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.optimizers.base import Arrays
from fwdgrad.optimizers.information.diagonal import discounted, squares
from fwdgrad.optimizers.information.matrix import Discount, Form, check_size, scaled, unless_far
from fwdgrad.optimizers.information.units import Group, UnitsLike, checked_units, units_for
from fwdgrad.optimizers.informed import Noise, Setting
from fwdgrad.program import operations as ops
from fwdgrad.support.trees import cut

__all__ = ["Block", "BlocksState", "Full"]

LOSS = 1e-2
"""eps √(u S⁻¹ uᵀ), at most, for new data u; θ loses about its square."""


@dataclass(frozen=True)
class Full:
    """S in full: one block for the transition's leaves, one for the readout's. Memory p², time O(p²) per vector u_k.

    With decay or inflation O(p³), since Λ is added anew at every step.

    Args:
        joint: one block for all leaves.

    Trajectories do not change under any invertible linear change of the parameters (and of their prior).
    """

    joint: bool = False

    def bind(self, setting: Setting, prior: dict[str, float], rank: int) -> Form:
        """The form for these leaves."""
        flat = []
        parts = [tuple(setting.shapes)] if self.joint else list(setting.groups.values())
        offset = _offsets(setting)
        for leaves in parts:
            table = np.concatenate([offset[k] + np.arange(math.prod(setting.shapes[k])) for k in leaves])
            flat.append(table[None])
        return _BlocksForm("Full", setting, prior, flat)


@dataclass(frozen=True)
class Block:
    """One block for each unit: the parameters that feed one unit of F, or of Y. Entries of no unit are on a diagonal.

    Memory Σ k² and time O(Σ k²) per vector u_k, for units of k parameters; O(Σ k³) with decay or inflation.

    Args:
        units: None for those that the analyzer finds (`fwdgrad.structure.Units`, for F and for Y), or given by hand: a
            dict for each group of units, leaf → axis of the leaf that counts the units.

    Example:
        >>> from fwdgrad.optimizers import Block
        >>> Block(units=[{"W": 0, "b": 0}, {"V": 0, "c": 0}]).units
        ((('W', 0), ('b', 0)), (('V', 0), ('c', 0)))
    """

    units: UnitsLike = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checked_units("Block", self.units))

    def bind(self, setting: Setting, prior: dict[str, float], rank: int) -> Form:
        """The form for these leaves."""
        groups = units_for("Block", setting, self.units, ())
        offset = _offsets(setting)
        tables = [table for group in groups for table in _tables(group, offset, _total(setting))]
        return _BlocksForm("Block", setting, prior, tables)


class BlocksState(NamedTuple):
    """For each stack of blocks of equal size the upper triangular R with RᵀR = S, shape (blocks, k, k)."""

    factors: tuple[Any, ...]
    rest: Any
    """S of the parameters that are in no block, on the diagonal, shape (rest,)."""


class _BlocksForm:
    """Blocks of S by their Cholesky factors, updated by orthogonal transformations: positive definite by construction.

    Args:
        who: for messages.
        setting: the leaves.
        prior: Λ.
        tables: for each stack, the places of the parameters of each block in the flat vector of all parameters,
            shape (blocks, k); p stands for "none", in blocks with fewer than k.
    """

    noise: Noise = ()

    def __init__(self, who: str, setting: Setting, prior: dict[str, float], tables: list[np.ndarray]) -> None:
        check_size(who, sum(table.size * table.shape[1] for table in tables))
        self._setting, self._tables = setting, tables
        self._size = _total(setting)
        flat = [np.full(math.prod(s), prior[k]) for k, s in setting.shapes.items()]
        whole = np.concatenate([*flat, np.ones(1)])
        taken = np.zeros(self._size + 1, bool)
        for table in tables:
            taken[table.ravel()] = True
        self._rest = np.flatnonzero(~taken[:-1])
        self._priors = [whole[table] for table in tables]
        self._prior = whole[self._rest].astype(setting.dtype)
        order = np.concatenate([*(t.ravel() for t in tables), self._rest])
        position = np.zeros(self._size + 1, np.int64)
        position[order] = np.arange(len(order))
        self._position = position[:-1]

    # ---- between leaves and blocks

    def _flat(self, leaves: Arrays, lead: tuple[int, ...] = ()) -> Any:
        """All leaves as one vector (with leading axes)."""
        parts = []
        for k, shape in self._setting.shapes.items():
            size = math.prod(shape)
            zeros = np.zeros((*lead, size), self._setting.dtype)
            parts.append(np.reshape(leaves[k], (*lead, size)) if k in leaves else zeros)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def _gather(self, flat: Any, table: np.ndarray) -> Any:
        """Entries by block, (blocks, k), or (rank, blocks, k)."""
        if table.size == self._size and np.array_equal(table.ravel(), np.arange(self._size)):
            return np.reshape(flat, (*flat.shape[:-1], *table.shape))
        if (table == self._size).any():
            flat = np.concatenate([flat, np.zeros((*flat.shape[:-1], 1), flat.dtype)], axis=-1)
        return np.take(flat, table, axis=-1)

    def _leaves(self, stacks: list[Any], rest: Any) -> Arrays:
        """The inverse of both."""
        parts = [np.ravel(s) for s in stacks] + ([rest] if len(self._rest) else [])
        flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not np.array_equal(self._position, np.arange(self._size)):
            flat = np.take(flat, self._position)
        shapes = self._setting.shapes
        return dict(zip(shapes, cut(flat, shapes.values()), strict=True))

    # ---- the form

    def init(self) -> BlocksState:
        """R = √Λ."""
        dtype = self._setting.dtype
        factors = [np.sqrt(p)[:, :, None] * np.eye(p.shape[1]) for p in self._priors]
        return BlocksState(tuple(f.astype(dtype) for f in factors), self._prior.copy())

    def update(self, state: BlocksState, discount: Discount, rows: Arrays, noise: tuple[Any, ...]) -> BlocksState:
        """RᵀR ← κ RᵀR + φ Λ + Σ_k u_k u_kᵀ; NaN if u_k says so much more than R that R would be lost to rounding."""
        rank = next(iter(rows.values())).shape[0]
        flat = self._flat(rows, (rank,))
        made = []
        for r, table, prior in zip(state.factors, self._tables, self._priors, strict=True):
            added = np.swapaxes(self._gather(flat, table), 0, 1)
            if discount is not None:
                keep, refresh = discount
                roots = (np.sqrt(prior)[:, :, None] * np.eye(prior.shape[1])).astype(r.dtype)
                r = ops.cholesky_update(scaled(r, np.sqrt(keep)), scaled(roots, np.sqrt(refresh)))
            known = ops.solve_triangular(r, np.swapaxes(added, 1, 2), transposed=True)
            made.append(unless_far(ops.cholesky_update(r, added), known, LOSS))
        rest = state.rest
        if len(self._rest):
            rest = discounted(rest, discount, self._prior) + squares(np.take(flat, self._rest, axis=-1))
        return BlocksState(tuple(made), rest)

    def _whitened(self, state: BlocksState, flat: Any) -> list[Any]:
        """R⁻ᵀ g, shape (blocks, k, 1)."""
        return [
            ops.solve_triangular(r, np.expand_dims(self._gather(flat, table), -1), transposed=True)
            for r, table in zip(state.factors, self._tables, strict=True)
        ]

    def solve(self, state: BlocksState, leaves: Arrays) -> Arrays:
        """R⁻¹ R⁻ᵀ g."""
        flat = self._flat(leaves)
        stacks = [
            ops.solve_triangular(r, half, transposed=False)
            for r, half in zip(state.factors, self._whitened(state, flat), strict=True)
        ]
        rest = np.take(flat, self._rest) / state.rest if len(self._rest) else None
        made = self._leaves(stacks, rest)
        return {k: made[k] for k in leaves}

    def terms(self, state: BlocksState, leaves: Arrays) -> Arrays:
        """w · S⁻¹ w, entry by entry."""
        solved = self.solve(state, leaves)
        return {k: w * solved[k] for k, w in leaves.items()}

    def blocks(self) -> dict[str, np.ndarray]:
        """The number of each entry's block."""
        number, made = 0, np.full(self._size + 1, -1)
        for table in self._tables:
            made[table] = number + np.arange(len(table))[:, None]
            number += len(table)
        offset = _offsets(self._setting)
        shapes = self._setting.shapes
        return {k: made[offset[k] : offset[k] + math.prod(s)].reshape(s) for k, s in shapes.items()}

    def variances(self, state: BlocksState) -> Arrays:
        """The squared norms of the rows of R⁻¹."""
        stacks = []
        for r in state.factors:
            eye = np.broadcast_to(np.eye(r.shape[-1], dtype=r.dtype), r.shape)
            inverse = ops.solve_triangular(r, eye, transposed=False)
            stacks.append(np.sum(inverse * inverse, axis=-1))
        return self._leaves(stacks, 1.0 / state.rest)

    def magnitude(self, state: BlocksState) -> Any:
        """The sum of all entries of the factors, squared."""
        return sum(np.vdot(r, r) for r in state.factors) + np.sum(state.rest)

    def dense(self, state: BlocksState) -> np.ndarray:
        """RᵀR, block by block."""
        made = np.zeros((self._size + 1, self._size + 1))
        for r, table in zip(state.factors, self._tables, strict=True):
            for factor, places in zip(np.asarray(r), table, strict=True):
                real = places < self._size
                made[np.ix_(places[real], places[real])] = (factor.T @ factor)[np.ix_(real, real)]
        made[self._rest, self._rest] = state.rest
        return made[:-1, :-1]


def _total(setting: Setting) -> int:
    return sum(math.prod(s) for s in setting.shapes.values())


def _offsets(setting: Setting) -> dict[str, int]:
    """Where each leaf begins in the flat vector."""
    sizes = [math.prod(s) for s in setting.shapes.values()]
    return dict(zip(setting.shapes, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))


def _tables(group: Group, offset: dict[str, int], nothing: int) -> list[np.ndarray]:
    """For units of equal numbers of parameters, a table of their places."""
    owner = np.concatenate([o.ravel() for o in group.owner.values()])
    place = np.concatenate([offset[k] + np.arange(o.size) for k, o in group.owner.items()])
    order = np.argsort(owner, kind="stable")
    order = order[owner[order] >= 0]
    counts = np.bincount(owner[order], minlength=group.count)
    counts = counts[counts > 0]
    if not len(counts):
        return []
    members = np.split(place[order], np.cumsum(counts)[:-1])
    return [np.array([m for m in members if len(m) == size]) for size in sorted({len(m) for m in members})]
