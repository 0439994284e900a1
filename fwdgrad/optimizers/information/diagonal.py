"""The diagonal form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.optimizers.base import Arrays
from fwdgrad.optimizers.information.matrix import Discount, Form, scaled
from fwdgrad.optimizers.informed import Noise, Setting

__all__ = ["Diagonal", "DiagonalForm"]


@dataclass(frozen=True)
class Diagonal:
    """S = diag(s), s ← κ s + φ Λ + Σ_k u_k²: the diagonal of the full matrix. Memory p, time O(p).

    Trajectories do not change when parameters are rescaled (and their priors with them).
    """

    def bind(self, setting: Setting, prior: dict[str, float], rank: int) -> Form:
        """The form for these leaves."""
        return DiagonalForm(setting, prior)


class DiagonalForm:
    """See `Diagonal`. The state is s, one array of the leaf's shape per leaf.

    1/s is written the same everywhere, so that a traced step computes it once for the step and the metric.
    """

    noise: Noise = ()

    def __init__(self, setting: Setting, prior: dict[str, float]) -> None:
        self._setting, self._prior = setting, prior

    def init(self) -> Arrays:
        """s = Λ."""
        return {k: np.full(shape, self._prior[k], self._setting.dtype) for k, shape in self._setting.shapes.items()}

    def update(self, state: Arrays, discount: Discount, rows: Arrays, noise: tuple[Any, ...]) -> Arrays:
        """s ← κ s + φ Λ + Σ_k u_k²."""
        return {k: discounted(s, discount, self._prior[k]) + squares(rows[k]) for k, s in state.items()}

    def solve(self, state: Arrays, leaves: Arrays) -> Arrays:
        """g / s."""
        return {k: g * (1.0 / state[k]) for k, g in leaves.items()}

    def terms(self, state: Arrays, leaves: Arrays) -> Arrays:
        """w² / s."""
        return {k: w * w * (1.0 / state[k]) for k, w in leaves.items()}

    def blocks(self) -> dict[str, np.ndarray]:
        """Nothing meets."""
        return {}

    def variances(self, state: Arrays) -> Arrays:
        """1 / s."""
        return {k: 1.0 / s for k, s in state.items()}

    def magnitude(self, state: Arrays) -> Any:
        """Σ s."""
        return sum(np.sum(s) for s in state.values())

    def dense(self, state: Arrays) -> np.ndarray:
        """diag(s)."""
        return np.diag(np.concatenate([np.ravel(s) for s in state.values()]))


def discounted(s: Any, discount: Discount, prior: Any) -> Any:
    """κ s + φ Λ for numbers on the diagonal."""
    if discount is None:
        return s
    keep, refresh = discount
    fresh = refresh * prior
    return scaled(s, keep) + (fresh.astype(s.dtype) if hasattr(fresh, "dtype") else fresh)


def squares(rows: Any) -> Any:
    """Σ_k u_k²."""
    if rows.shape[0] == 1:
        u = np.reshape(rows, rows.shape[1:])
        return u * u
    return np.sum(rows * rows, axis=0)
