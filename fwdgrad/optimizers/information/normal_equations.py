"""The normal equations of a Gauss–Newton step, summed up while θ stays where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.optimizers.base import Arrays, declaration_error
from fwdgrad.optimizers.information.covariance import Covariance, alone
from fwdgrad.optimizers.information.fisher import observed
from fwdgrad.optimizers.informed import Evidence, Noise, Setting

__all__ = ["BoundNormalEquations", "NormalEquations", "NormalState"]


class NormalState(NamedTuple):
    """State of `NormalEquations`.

    Attributes:
        noise: variances R of the observation noise, shape (m,).
        matrix: Σ Ĵᵀ W Ĵ, shape (p, p).
        vector: −Σ Ĵᵀ ∂ℓ/∂ŷ, shape (p,).
        squares: Σ w (y − ŷ)² for each output, shape (m,).
        counts: how many targets each output had, shape (m,).
        cost: Σ ℓ, a scalar.
    """

    noise: Any
    matrix: Any
    vector: Any
    squares: Any
    counts: Any
    cost: Any


@dataclass(frozen=True)
class NormalEquations:
    """Sums up Σ Ĵᵀ W Ĵ and −Σ Ĵᵀ ∂ℓ/∂ŷ, Ĵ = ∂ŷ/∂θ, and changes no parameter.

    With exact influence the sums over a record are those of batch Gauss–Newton, got forward in time: memory p², time
    O(m p²) a sample besides the influence.

    For a loss with `weight` and `cost`, one of y − ŷ over its scale √R, component by component, W = w R⁻¹ and
    ∂ℓ/∂ŷ = −w R⁻¹ (y − ŷ), with w = 1 for squared errors: reweighted least squares (Huber and Ronchetti 2009, §7.8).
    For others W is the Fisher matrix of the prediction, and R means nothing: Fisher's scoring.

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
    moves = "parameters for which the model cannot be simulated"

    def __init__(self, declared: NormalEquations, setting: Setting) -> None:
        self.declared, self.setting = declared, setting
        self.sizes = {k: math.prod(s) for k, s in setting.shapes.items()}
        self.outputs = math.prod(np.shape(setting.prediction))
        self.scaled = hasattr(setting.loss, "weight")
        if not self.scaled and (not hasattr(setting.loss, "fisher") or setting.loss.fisher(setting.prediction) is None):
            raise declaration_error(
                "NormalEquations", "a loss with a Fisher matrix, such as SquaredError", f"{setting.loss!r}",
                "learn with gradients: fg.Learner(system, optimizer=fg.Adam(1e-3))",
            )  # fmt: skip

    def init(self, params: Arrays) -> NormalState:
        """Nothing summed up, R = Id."""
        m, p, dtype = self.outputs, sum(self.sizes.values()), self.setting.dtype
        none = np.zeros(m, dtype)
        matrix, vector = np.zeros((p, p), dtype), np.zeros(p, dtype)
        return NormalState(np.ones(m, dtype), matrix, vector, none, none.copy(), np.zeros((), dtype))

    def cotangents(self, prediction: Any, target: Any) -> Any:
        """All of Ĵ."""
        return np.eye(self.outputs, dtype=self.setting.dtype)

    def update(
        self, grads: Arrays, state: NormalState, params: Arrays, evidence: Evidence | None = None
    ) -> tuple[Arrays, NormalState]:
        """``({}, new state)``."""
        assert evidence is not None
        assert evidence.rows is not None
        m, prediction, target = self.outputs, evidence.prediction, evidence.target
        rows = np.concatenate([np.reshape(evidence.rows[k], (m, n)) for k, n in self.sizes.items()], axis=1)
        if not self.scaled:
            loss, there = self.setting.loss, observed(prediction, target)
            slope = np.reshape(loss.gradient(prediction, target), (m,))
            counted = np.ones(m, rows.dtype) if there is None else there.astype(rows.dtype)
            kept = rows * np.expand_dims(counted, 1)
            if hasattr(loss, "information"):  # of a prediction that is more than the mean of the target
                kept = np.dot(loss.information(prediction, target), rows)
                information = np.dot(np.transpose(kept), kept)
            else:
                information = np.dot(np.transpose(kept), np.dot(loss.fisher(prediction), kept))
            return {}, state._replace(
                matrix=state.matrix + information,
                vector=state.vector - np.dot(slope, rows),
                counts=state.counts + counted,
                cost=state.cost + loss.value(prediction, target),
            )
        seen = observed(prediction, target).astype(rows.dtype)
        residual = np.reshape(np.where(np.isnan(target), 0.0, target - prediction), (m,))
        square = residual * residual / state.noise
        weight = seen * self.setting.loss.weight(square)
        weighted = np.transpose(rows * np.expand_dims(weight / state.noise, 1))
        return {}, NormalState(
            state.noise,
            state.matrix + np.dot(weighted, rows),
            state.vector + np.dot(weighted, residual),
            state.squares + weight * residual * residual,
            state.counts + seen,
            state.cost + np.sum(seen * self.setting.loss.cost(square)),
        )

    def unobserved(self, state: NormalState) -> NormalState:
        """As it was."""
        return state

    def metric(self, state: NormalState) -> Covariance:
        """Euclidean."""
        return Covariance(self.setting, self.sizes, np.eye(sum(self.sizes.values()), dtype=self.setting.dtype))

    def magnitude(self, state: NormalState) -> Any:
        """Of the sums."""
        return state.cost + np.sum(state.squares) + np.sum(np.abs(state.matrix)) + np.sum(np.abs(state.vector))
