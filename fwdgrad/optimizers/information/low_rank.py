"""A random low-rank form plus a diagonal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.optimizers.base import Arrays, declaration_error, describe, is_number
from fwdgrad.optimizers.information.diagonal import discounted, squares
from fwdgrad.optimizers.information.matrix import Discount, Form, scaled
from fwdgrad.optimizers.informed import Noise, Setting
from fwdgrad.program import operations as ops

__all__ = ["LowRank", "LowRankState"]


@dataclass(frozen=True)
class LowRank:
    """S = Λ + β diag(J) + VᵀV with r random rows V: E VᵀV = (1 − β) J. Memory (r + 1) p, time O(r² p).

        V_k ← √κ V_k + √((1 − β)/r) Σ_j ε_kj u_j,      ε independent random signs

    J = Σ u uᵀ is a sum of rank-one terms, which signs reduce as they do an influence matrix (the open question of
    Ollivier's slides). The diagonal part has weight β, which the rows of V have not: what is wrong with a mean over few
    rows is mostly off the diagonal, and shrinking that towards 0 keeps S well conditioned. On the diagonal E S = Λ + J;
    off it, E S = (1 − β) J. Solved by Woodbury's identity and a Cholesky factor of r×r. Transition and readout apart.

    Args:
        rank: r, the number of rows.
        shrink: β in (0, 1].

    Windows of one step only.
    """

    rank: int = 8
    shrink: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise declaration_error("LowRank(rank)", "an integer ≥ 1", describe(self.rank), "give e.g. 8")
        if not (is_number(self.shrink) and 0 < self.shrink <= 1):
            raise declaration_error("LowRank(shrink)", "a number in (0, 1]", describe(self.shrink), "give e.g. 0.5")
        object.__setattr__(self, "shrink", float(self.shrink))

    def bind(self, setting: Setting, prior: dict[str, float], rank: int) -> Form:
        """The form for these leaves.

        Raises:
            DeclarationError: updates are made at the end of windows.
        """
        if not setting.single:
            raise declaration_error(
                "LowRank", "a window of one step: its signs are drawn at every step", "a longer window", "use window=1"
            )
        return _LowRankForm(self, setting, prior, rank)


class LowRankState(NamedTuple):
    """The diagonal, and the rows V, (r, *leaf shape)."""

    diagonal: Arrays
    rows: Arrays


class _LowRankForm:
    """See `LowRank`."""

    def __init__(self, declared: LowRank, setting: Setting, prior: dict[str, float], vectors: int) -> None:
        self._declared, self._setting, self._prior = declared, setting, prior
        self._groups = tuple(setting.groups.values())
        self.noise: Noise = tuple(("signs", (declared.rank, vectors)) for _ in self._groups)

    def init(self) -> LowRankState:
        """S = Λ."""
        dtype, shapes = self._setting.dtype, self._setting.shapes
        return LowRankState(
            {k: np.full(s, self._prior[k], dtype) for k, s in shapes.items()},
            {k: np.zeros((self._declared.rank, *s), dtype) for k, s in shapes.items()},
        )

    def update(self, state: LowRankState, discount: Discount, rows: Arrays, noise: tuple[Any, ...]) -> LowRankState:
        """The recursion above."""
        if len(noise) != len(self._groups):
            raise declaration_error("LowRank", "random signs, which a Learner draws", "none", "use it in a fg.Learner")
        beta, rank = self._declared.shrink, self._declared.rank
        weight = math.sqrt((1.0 - beta) / rank)
        diagonal = {
            k: discounted(s, discount, self._prior[k]) + beta * squares(rows[k]) for k, s in state.diagonal.items()
        }
        made = dict(state.rows)
        for leaves, signs in zip(self._groups, noise, strict=True):
            for k in leaves:
                kept = state.rows[k] if discount is None else scaled(state.rows[k], np.sqrt(discount[0]))
                made[k] = kept + weight * np.tensordot(signs, rows[k], axes=1)
        return LowRankState(diagonal, made)

    def _whitened(self, state: LowRankState, names: tuple[str, ...]) -> tuple[Arrays, Any]:
        """W = V D^{-1/2}, (r, size) leaf by leaf, and the factor of Id + W Wᵀ."""
        rank = self._declared.rank
        white = {k: np.reshape(state.rows[k] / np.sqrt(state.diagonal[k]), (rank, -1)) for k in names}
        eye = np.eye(rank, dtype=self._setting.dtype)
        return white, ops.cholesky_update(eye, np.transpose(np.concatenate([*white.values()], axis=1)))

    def solve(self, state: LowRankState, leaves: Arrays) -> Arrays:
        """D^{-1/2} (Id − Wᵀ (Id + W Wᵀ)⁻¹ W) D^{-1/2} g."""
        made: Arrays = {}
        for names in self._groups:
            here = [k for k in names if k in leaves]
            if not here:
                continue
            white, factor = self._whitened(state, names)
            roots = {k: np.sqrt(state.diagonal[k]) for k in here}
            g = {k: np.reshape(leaves[k] / roots[k], (-1,)) for k in here}
            seen: Any = sum(np.dot(white[k], g[k]) for k in here)
            half = ops.solve_triangular(factor, np.expand_dims(seen, -1), transposed=True)
            inner = np.reshape(ops.solve_triangular(factor, half, transposed=False), (-1,))
            for k in here:
                q = np.reshape(g[k] - np.dot(inner, white[k]), self._setting.shapes[k])
                made[k] = q / roots[k]
        return {k: made[k] for k in leaves}

    def terms(self, state: LowRankState, leaves: Arrays) -> Arrays:
        """w · S⁻¹ w, entry by entry."""
        solved = self.solve(state, leaves)
        return {k: w * solved[k] for k, w in leaves.items()}

    def blocks(self) -> dict[str, np.ndarray]:
        """Everything meets, in the transition and in the readout."""
        shapes = self._setting.shapes
        return {k: np.full(shapes[k], number) for number, leaves in enumerate(self._groups) for k in leaves}

    def variances(self, state: LowRankState) -> Arrays:
        """(1 − the squared norms of the columns of R⁻ᵀ W) / D."""
        made: Arrays = {}
        for names in self._groups:
            white, factor = self._whitened(state, names)
            for k in names:
                half = ops.solve_triangular(factor, white[k], transposed=True)
                less = np.reshape(np.sum(half * half, axis=0), self._setting.shapes[k])
                made[k] = (1.0 - less) / state.diagonal[k]
        return {k: made[k] for k in self._setting.shapes}

    def magnitude(self, state: LowRankState) -> Any:
        """The sum of the diagonal, and of squares of V."""
        return sum(np.sum(s) for s in state.diagonal.values()) + sum(np.vdot(v, v) for v in state.rows.values())

    def dense(self, state: LowRankState) -> np.ndarray:
        """D + VᵀV, transition and readout apart."""
        flat = {k: np.reshape(v, (self._declared.rank, -1)) for k, v in state.rows.items()}
        whole = np.concatenate([flat[k] for k in self._setting.shapes], axis=1)
        number = np.concatenate([b.ravel() for b in (self.blocks()[k] for k in self._setting.shapes)])
        made = whole.T @ whole * (number[:, None] == number[None, :])
        return made + np.diag(np.concatenate([np.ravel(s) for s in state.diagonal.values()]))
