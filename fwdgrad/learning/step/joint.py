"""The step of a filter on state and parameters together: in place of gradient, influence and optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.estimators.windows import Sliding
from fwdgrad.influence import NoInfluence
from fwdgrad.learning.step.gradient import Carry, Outcome, Steps
from fwdgrad.learning.step.panel import PanelSteps
from fwdgrad.linear import Model
from fwdgrad.optimizers import Binding, BoundJointFilter, JointFilter
from fwdgrad.panels import PanelSystem
from fwdgrad.program import map_rows

__all__ = ["JOINT", "JointSteps", "steps_for"]

JOINT = Estimator(NoInfluence(), name="joint covariance")
"""What stands for the estimator: the influence is the covariance of state and parameters."""

UNROLLED = 4
"""Outputs up to which their derivatives are computed one beside the other, and not in a loop."""


def steps_for(model: Model, estimator: Estimator, optimizer: Any) -> Steps:
    """The steps that an optimizer asks for.

    Raises:
        DeclarationError: a `JointFilter` was given an estimator.
    """
    if not isinstance(optimizer, JointFilter):
        single = estimator.window == Sliding(1) and not isinstance(optimizer, Binding)
        kind = PanelSteps if single and isinstance(model.system, PanelSystem) else Steps
        return kind(model, estimator, optimizer)
    if estimator != JOINT:
        raise DeclarationError(
            f"JointFilter: expected no estimator, got {estimator.name}.\n"
            "The influence of parameters on the state is part of its covariance: fg.Learner(system, optimizer=…)."
        )
    return JointSteps(model, optimizer)


class JointSteps(Steps):
    """Transition, prediction, and correction of state and parameters by what was seen; see `JointFilter`."""

    def __init__(self, model: Model, optimizer: JointFilter) -> None:
        super().__init__(model, JOINT, optimizer)
        self.filter: BoundJointFilter = self.informed  # type: ignore[assignment]

    def init(self, start: tuple[Any, ...]) -> Carry:
        """The carry before the first step: the state is the initial one, with what is not known of it."""
        return self.restarted(super().init(start), self.model.system.initial, start)

    def restarted(self, carry: Carry, h: Any, start: tuple[Any, ...]) -> Carry:
        """The carry at the start of a new trajectory from h; what is known of θ is kept."""
        return carry._replace(h=h, optimizer=self.filter.restarted(carry.optimizer, h))

    def learn(self, carry: Carry, x: Any, y: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """Predict, compare, correct."""
        lin, state = self._predicted(carry, x)
        seen = self.model.observe(lin.value, x, y, carry.params)
        rows = self._observed(seen)
        dh, updates, state = self.filter.corrected(state, rows, y, seen.prediction)
        h = lin.value + dh
        params = {k: v + updates[k] if k in updates else v for k, v in carry.params.items()}
        health = np.vdot(h, h) + self.filter.magnitude(state)
        for k in updates:
            health = health + np.vdot(params[k], params[k])
        made = carry._replace(h=h, params=params, optimizer=self.filter.grown(state, h))
        return made, Outcome(seen.loss, seen.prediction, seen.loss + health)

    def transit(self, carry: Carry, x: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """Predict, without a target."""
        lin, state = self._predicted(carry, x)
        _, prediction = self.model.advance(carry.h, x, carry.params)
        health = np.vdot(lin.value, lin.value) + self.filter.magnitude(state)
        no_loss = np.asarray(np.nan, self.layout.dtype)
        made = carry._replace(h=lin.value, optimizer=self.filter.grown(state, lin.value))
        return made, Outcome(no_loss, prediction, health)

    def predictive_variance(self, carry: Carry, x: Any) -> tuple[Any, Any]:
        """The prediction for the next sample and the variance of its error: of state, parameters and noise."""
        lin, state = self._predicted(carry, x)
        seen = self.model.observe(lin.value, x, self.model.system.y, carry.params)
        through = np.dot(self._observed(seen), np.transpose(state.root))
        variance = np.sum(through * through, axis=1) + self.filter.observation_variance(state, seen.prediction)
        return seen.prediction, np.reshape(variance, seen.prediction.shape)

    def _predicted(self, carry: Carry, x: Any) -> tuple[Any, Any]:
        """The transition, linearised, and what is known after it."""
        lin = self.model.linearize(carry.h, x, carry.params)
        return lin, self.filter.predicted(carry.optimizer, *lin.jacobians())

    def _observed(self, seen: Any) -> Any:
        """∂ŷ/∂(h, θ), shape (m, n + p): a product backward for each output."""

        def row(unit: Any) -> Any:
            c, direct = seen.pull(np.reshape(unit, seen.prediction.shape))
            return np.concatenate([c, np.reshape(self.filter.rows(direct, 1), (-1,))])

        basis = np.eye(self.filter.outputs, dtype=self.layout.dtype)
        if len(basis) <= UNROLLED:
            return np.stack([row(unit) for unit in basis])
        return map_rows(lambda u: [row(u)], basis)[0]
