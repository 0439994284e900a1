"""One online step as pure functions of arrays: what the loops call and the engines compile.

Everything a step needs comes in as arguments, random numbers included, and everything it changes goes out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwdgrad.estimators import Estimator
from fwdgrad.influence import Coordinates, Influence, Layout, NoInfluence, Row
from fwdgrad.linear import Model, Segment, Window, backpropagate, replay
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

    def init(self, start: tuple[Any, ...]) -> Carry:
        """The carry before the first step."""
        system = self.model.system
        trained = {k: system.params[k] for k in system.trainable}
        influence = self.influence.init(self.layout, start)
        return Carry(system.initial, dict(system.params), influence, self.optimizer.init(trained))

    # ---- a window of one step

    def learn(self, carry: Carry, x: Any, y: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """Transition, prediction, loss, gradient, update, reduction (UORO paper, Algorithm 1).

        g = (c A) G̃ + c B + d, with c = ∂ℓ/∂h' and d the direct term: the last step is exact, and G̃ is used before
        it is reduced.
        """
        lin = self.model.linearize(carry.h, x, carry.params)
        seen = self.model.observe(lin.value, x, y, carry.params)
        c, direct = seen.gradient()
        row, through = lin.pull(c)
        params, optimizer, health = self._update(carry, row, _plus(direct, through))
        state = self.influence.advance(carry.influence, lin, noise)
        health = health + np.vdot(lin.value, lin.value) + self.influence.magnitude(state)
        made = Carry(lin.value, params, state, optimizer)
        return made, Outcome(seen.loss, seen.prediction, seen.loss + health)

    def transit(self, carry: Carry, x: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """A step without a target: state and influence go on, nothing is learned."""
        lin = self.model.linearize(carry.h, x, carry.params)
        state = self.influence.advance(carry.influence, lin, noise)
        _, prediction = self.model.advance(carry.h, x, carry.params)
        health = np.vdot(lin.value, lin.value) + self.influence.magnitude(state)
        return carry._replace(h=lin.value, influence=state), Outcome(np.nan, prediction, health)

    def predict(self, h: Any, params: Leaves, x: Any) -> tuple[Any, Any]:
        """(h', ŷ) and nothing else."""
        return self.model.advance(h, x, params)

    # ---- longer windows: forward step by step, then back in segments, then one update

    def forward(self, h: Any, params: Leaves, x: Any, y: Any) -> tuple[Any, Outcome]:
        """Transition, prediction and loss, nothing learned yet. The health is that of the state alone."""
        after, prediction = self.model.advance(h, x, params)
        loss = self.model.observe(after, x, y, params).loss
        return after, Outcome(loss, prediction, np.vdot(after, after))

    def replay(self, h: Any, params: Leaves, inputs: Any, alive: Any) -> Any:
        """The states of a segment, again."""
        return replay(self.model, params, h, inputs, alive)

    def backward(self, params: Leaves, segment: Segment, cotangent: Any, sums: Leaves) -> tuple[Any, Leaves]:
        """Back through a segment, from the derivatives behind it to those before it."""
        return backpropagate(self.model, params, segment, cotangent, sums)

    def apply(self, carry: Carry, cotangent: Any, sums: Leaves) -> tuple[Carry, Any]:
        """One update, from the derivatives of a window's losses in the state it starts from, and in θ from there on.

        `carry.influence` is that of the state the window starts from.
        """
        params, optimizer, health = self._update(carry, Coordinates(cotangent), sums)
        return carry._replace(params=params, optimizer=optimizer), health

    def advance(
        self, influence: Any, params: Leaves, states: Any, inputs: Any, value: Any, noise: tuple[Any, ...]
    ) -> tuple[Any, Any]:
        """The influence after consecutive steps, taken as one map that ends in the state `value`."""
        lin = Window(self.model, states, inputs, value, params)
        state = self.influence.advance(influence, lin, noise)
        return state, self.influence.magnitude(state)

    def _update(self, carry: Carry, row: Row, direct: Leaves) -> tuple[Leaves, Any, Any]:
        """θ and the optimizer's state after a step with the gradient c·G̃ + direct, and a sum of squares of θ."""
        trained = {k: carry.params[k] for k in self.model.system.trainable}
        past = self.influence.pull(carry.influence, row, self.layout)
        gradient = {k: _sum(direct.get(k), past.get(k), trained[k]) for k in trained}
        updates, optimizer = self.optimizer.update(gradient, carry.optimizer, trained)
        params = {k: v + updates[k] if k in updates else v for k, v in carry.params.items()}
        health: Any = 0.0
        for k in trained:
            health = health + np.vdot(params[k], params[k])
        return params, optimizer, health


def _plus(a: Leaves, b: Leaves) -> Leaves:
    """Leaf by leaf; a leaf that one of them lacks is zero there."""
    return {k: a[k] + b[k] if k in a and k in b else a.get(k, b.get(k)) for k in {**a, **b}}


def _sum(a: Any, b: Any, like: Any) -> Any:
    if a is None and b is None:
        return np.zeros(like.shape, like.dtype)
    return a if b is None else b if a is None else a + b
