"""The normal equations of a Gauss–Newton step, summed up while θ stays where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.optimizers.base import Arrays
from fwdgrad.optimizers.information.covariance import Covariance, alone
from fwdgrad.optimizers.information.fisher import observed
from fwdgrad.optimizers.informed import Evidence, Noise, Setting

__all__ = ["BoundNormalEquations", "NormalEquations", "NormalState"]


class NormalState(NamedTuple):
    """State of `NormalEquations`.

    Attributes:
        noise: variances R of the observation noise, shape (m,).
        matrix: Σ Ĵᵀ R⁻¹ Ĵ, shape (p, p).
        vector: Σ Ĵᵀ R⁻¹ (y − ŷ), shape (p,).
        squares: Σ (y − ŷ)² for each output, shape (m,).
        counts: how many targets each output had, shape (m,).
    """

    noise: Any
    matrix: Any
    vector: Any
    squares: Any
    counts: Any


@dataclass(frozen=True)
class NormalEquations:
    """Sums up Σ Ĵᵀ R⁻¹ Ĵ and Σ Ĵᵀ R⁻¹ (y − ŷ), Ĵ = ∂ŷ/∂θ, and changes no parameter.

    With exact influence the sums over a record are those of batch Gauss–Newton, got forward in time: memory p², time
    O(m p²) a sample besides the influence.

    Raises:
        DeclarationError: it is used without a learner, which tells it the predictions.
    """

    def bind(self, setting: Setting) -> BoundNormalEquations:
        """The sums for a system."""
        return BoundNormalEquations(self, setting)

    def init(self, params: Arrays) -> Any:
        """It cannot do without a system's predictions.

        Raises:
            DeclarationError: always.
        """
        raise alone("NormalEquations")

    def update(self, grads: Arrays, state: Any, params: Arrays) -> tuple[Arrays, Any]:
        """Likewise.

        Raises:
            DeclarationError: always.
        """
        raise alone("NormalEquations")


class BoundNormalEquations:
    """`NormalEquations` for certain leaves; see `fwdgrad.optimizers.informed.Informed`."""

    noise: Noise = ()
    advice = ""

    def __init__(self, declared: NormalEquations, setting: Setting) -> None:
        self.declared, self.setting = declared, setting
        self.sizes = {k: math.prod(s) for k, s in setting.shapes.items()}
        self.outputs = math.prod(np.shape(setting.prediction))

    def init(self, params: Arrays) -> NormalState:
        """Nothing summed up, R = Id."""
        m, p, dtype = self.outputs, sum(self.sizes.values()), self.setting.dtype
        none = np.zeros(m, dtype)
        return NormalState(np.ones(m, dtype), np.zeros((p, p), dtype), np.zeros(p, dtype), none, none.copy())

    def cotangents(self, prediction: Any, target: Any) -> Any:
        """All of Ĵ."""
        return np.eye(self.outputs, dtype=self.setting.dtype)

    def update(
        self, grads: Arrays, state: NormalState, params: Arrays, evidence: Evidence | None = None
    ) -> tuple[Arrays, NormalState]:
        """``({}, new state)``."""
        assert evidence is not None
        assert evidence.rows is not None
        m = self.outputs
        rows = np.concatenate([np.reshape(evidence.rows[k], (m, n)) for k, n in self.sizes.items()], axis=1)
        seen = observed(evidence.prediction, evidence.target).astype(rows.dtype)
        residual = np.reshape(np.where(np.isnan(evidence.target), 0.0, evidence.target - evidence.prediction), (m,))
        weighted = np.transpose(rows * np.expand_dims(seen / state.noise, 1))
        return {}, NormalState(
            state.noise,
            state.matrix + np.dot(weighted, rows),
            state.vector + np.dot(weighted, residual),
            state.squares + seen * residual * residual,
            state.counts + seen,
        )

    def unobserved(self, state: NormalState) -> NormalState:
        """As it was."""
        return state

    def metric(self, state: NormalState) -> Covariance:
        """Euclidean."""
        return Covariance(self.setting, self.sizes, np.eye(sum(self.sizes.values()), dtype=self.setting.dtype))

    def magnitude(self, state: NormalState) -> Any:
        """Of the sums."""
        return np.sum(state.squares) + np.sum(np.abs(state.matrix)) + np.sum(np.abs(state.vector))
