"""One online step as pure functions of arrays: what the learner runs and the engines compile.

`update` is the order of events for a window of steps that has just been observed: gradient, parameters, influence.
Everything it needs comes in as arguments, random numbers included, and everything it changes goes out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwdgrad.estimators import Estimator
from fwdgrad.influence import Influence, Layout, NoInfluence
from fwdgrad.linear import Model, Window
from fwdgrad.optimizers import Optimizer

__all__ = ["Carry", "Outcome", "Steps"]

Leaves = dict[str, Any]


class Carry(NamedTuple):
    """All that is learned and remembered."""

    h: Any
    params: Leaves
    influence: Any
    optimizer: Any


class Outcome(NamedTuple):
    """What a step reports. `health` is finite exactly if everything in the new carry is."""

    loss: Any
    prediction: Any
    health: Any


class Steps:
    """The steps of a model under an estimator and an optimizer.

    Args:
        model: the system's derivatives.
        estimator: influence, window, rank.
        optimizer: any object with `init` and `update`.
    """

    def __init__(self, model: Model, estimator: Estimator, optimizer: Optimizer) -> None:
        system = model.system
        self.model, self.estimator, self.optimizer = model, estimator, optimizer
        shapes = {k: system.params[k].shape for k in model.leaves}
        self.layout = Layout(system.size, shapes, system.dtype, lambda: model.patterns)
        # parameters that the transition does not use have no influence to keep
        self.influence: Influence = estimator.kept if self.layout.leaves else NoInfluence()

    def init(self) -> Carry:
        """The carry before the first step."""
        system = self.model.system
        trained = {k: system.params[k] for k in system.trainable}
        return Carry(
            system.initial, dict(system.params), self.influence.init(self.layout), self.optimizer.init(trained)
        )

    def learn(self, carry: Carry, x: Any, y: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """Transition, prediction, loss, gradient, update, reduction (UORO paper, Algorithm 1): a window of one step.

        g = (c A) G̃ + c B + d, with c = ∂ℓ/∂h' and d the direct term: the last step is exact, and G̃ is used before
        it is reduced.
        """
        lin = self.model.linearize(carry.h, x, carry.params)
        seen = self.model.observe(lin.value, x, y, carry.params)
        c, direct = seen.gradient()
        pulled, through = lin.vjp(c)
        carry, health = self._update(carry, lin, noise, _plus(direct, through), pulled)
        return carry, Outcome(seen.loss, seen.prediction, seen.loss + health)

    def transit(self, carry: Carry, x: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """A step without a target: state and influence go on, nothing is learned."""
        lin = self.model.linearize(carry.h, x, carry.params)
        state = self.influence.advance(carry.influence, lin, noise)
        _, prediction = self.model.advance(carry.h, x, carry.params)
        health = np.vdot(lin.value, lin.value) + self.influence.magnitude(state)
        return carry._replace(h=lin.value, influence=state), Outcome(np.nan, prediction, health)

    def forward(self, h: Any, params: Leaves, x: Any, y: Any) -> tuple[Any, Outcome]:
        """Inside a window: transition, prediction and loss, nothing learned yet."""
        after, prediction = self.model.advance(h, x, params)
        loss = self.model.observe(after, x, y, params).loss
        return after, Outcome(loss, prediction, np.vdot(after, after) + loss)

    def predict(self, h: Any, params: Leaves, x: Any) -> tuple[Any, Any]:
        """(h', ŷ) and nothing else."""
        return self.model.advance(h, x, params)

    def close(
        self, carry: Carry, states: Any, inputs: Any, targets: Any, observed: Any, noise: tuple[Any, ...]
    ) -> tuple[Carry, Any]:
        """The end of a window of T steps: one update from the sum of its losses, one reduction.

        `carry.h` is the state after the window; `states` are those before each of its steps.
        """
        lin = Window(self.model, states, inputs, targets, observed, carry.h, carry.params)
        pulled, direct = lin.loss_gradient()
        return self._update(carry, lin, noise, direct, pulled)

    def pass_over(
        self, carry: Carry, states: Any, inputs: Any, targets: Any, observed: Any, noise: tuple[Any, ...]
    ) -> tuple[Carry, Any]:
        """The end of a window without any target: one reduction, no update."""
        lin = Window(self.model, states, inputs, targets, observed, carry.h, carry.params)
        state = self.influence.advance(carry.influence, lin, noise)
        return carry._replace(influence=state), np.vdot(carry.h, carry.h) + self.influence.magnitude(state)

    def _update(self, carry: Carry, lin: Any, noise: tuple[Any, ...], direct: Leaves, pulled: Any) -> tuple[Carry, Any]:
        """Optimizer and influence, from the exact part of the gradient and the row that pulls at G̃."""
        trained = {k: carry.params[k] for k in self.model.system.trainable}
        past = self.influence.pull(carry.influence, pulled, self.layout)
        gradient = {k: _sum(direct.get(k), past.get(k), trained[k]) for k in trained}
        updates, optimizer = self.optimizer.update(gradient, carry.optimizer, trained)
        params = {k: v + updates[k] if k in updates else v for k, v in carry.params.items()}
        state = self.influence.advance(carry.influence, lin, noise)
        health = np.vdot(lin.value, lin.value) + self.influence.magnitude(state)
        for k in trained:
            health = health + np.vdot(params[k], params[k])
        return Carry(lin.value, params, state, optimizer), health


def _plus(a: Leaves, b: Leaves) -> Leaves:
    """Leaf by leaf; a leaf that one of them lacks is zero there."""
    return {k: a[k] + b[k] if k in a and k in b else a.get(k, b.get(k)) for k in {**a, **b}}


def _sum(a: Any, b: Any, like: Any) -> Any:
    if a is None and b is None:
        return np.zeros(like.shape, like.dtype)
    return a if b is None else b if a is None else a + b
