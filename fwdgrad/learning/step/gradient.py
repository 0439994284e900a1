"""One online step as pure functions of arrays: what the loops call and the engines compile.

Everything a step needs comes in as arguments, random numbers included, and everything it changes goes out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import Estimator
from fwdgrad.estimators.windows import Sliding
from fwdgrad.influence import ExplicitRow, Influence, Layout, NoInfluence, NoiseSpec, Row
from fwdgrad.linear import Model, Segment, Window, backpropagate, replay
from fwdgrad.linear.base import norms_one_by_one
from fwdgrad.optimizers import Binding, Evidence, Optimizer, Setting, filled, split
from fwdgrad.optimizers.informed import scale_of
from fwdgrad.program import map_rows
from fwdgrad.support.types import Leaves

__all__ = ["Carry", "Outcome", "Steps"]

LONGEST = 1.0
"""Most that the coordinate of a bounded parameter changes in one step: a factor e in the distance to a bound."""


class Carry(NamedTuple):
    """All that is learned and remembered."""

    h: Any
    params: Leaves
    influence: Any
    optimizer: Any
    constants: Any = ()
    """Numbers of the optimizer's rates, which no step changes."""


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
        optimizer: any object with `init` and `update`; one with `bind` is bound to the system.

    Attributes:
        informed: the bound optimizer; None for one that wants gradients only.
        noise: the random numbers that the influence asks for, then those of the optimizer.
    """

    def __init__(self, model: Model, estimator: Estimator, optimizer: Optimizer) -> None:
        system = model.system
        self.model, self.estimator = model, estimator
        shapes = {k: system.coordinates[k].shape for k in model.leaves}
        self.layout = Layout(system.size, shapes, system.dtype, lambda: model.patterns)
        # parameters that the transition does not use have no influence to keep
        self.influence: Influence = estimator.kept if self.layout.leaves else NoInfluence()
        self.single = estimator.window == Sliding(1)
        optimizer, self.constants = split(optimizer)
        self.informed = optimizer.bind(self._setting()) if isinstance(optimizer, Binding) else None
        self.optimizer: Optimizer = self.informed or optimizer
        """As it was given, but for the numbers of its rates, which come with the carry (`fwdgrad.optimizers.split`)."""
        specs = self.influence.noise(self.layout)
        self._first = sum(spec.when == "step" for spec in specs)
        self.noise = (*specs, *(NoiseSpec(*spec) for spec in (self.informed.noise if self.informed else ())))

    def _setting(self) -> Setting:
        """What an optimizer may know of what it learns."""
        model, system = self.model, self.model.system
        shapes = {k: system.coordinates[k].shape for k in system.trainable}
        return Setting(
            shapes,
            system.dtype,
            tuple(model.leaves),
            system.prediction,
            system.y,
            system.loss,
            self.single,
            {k: 1.0 if system.coordinate[k].bounded else scale_of(system.coordinates[k]) for k in system.trainable},
            lambda: model.patterns,
            system.size,
            tuple(k for k in shapes if not system.coordinate[k].bounded),
        )

    def init(self, start: tuple[Any, ...]) -> Carry:
        """The carry before the first step."""
        system = self.model.system
        trained = {k: system.coordinates[k] for k in system.trainable}
        influence = self.influence.init(self.layout, start)
        constants = tuple(np.array(c) for c in self.constants)
        return Carry(system.initial, dict(system.coordinates), influence, self.optimizer.init(trained), constants)

    def restarted(self, carry: Carry, h: Any, start: tuple[Any, ...]) -> Carry:
        """The carry at the start of a new trajectory from h: nothing has an influence yet. θ is kept."""
        return carry._replace(h=h, influence=self.influence.init(self.layout, start))

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
        evidence = None
        if self.informed is not None:
            rows = self._rows(carry, lin, seen, self.informed.cotangents(seen.prediction, y))
            evidence = Evidence(rows, seen.prediction, y, noise[self._first :])
        params, optimizer, health = self._update(carry, row, _plus(direct, through), evidence)
        kept = carry.influence
        if hasattr(self.influence, "noted"):
            kept = self.influence.noted(kept, row, _plus(direct, through), self.layout)
        state = self.influence.advance(kept, self._measured(lin, optimizer), noise[: self._first])
        h = self._followed(lin.value, state, carry.params, params)
        health = health + np.vdot(h, h) + self.influence.magnitude(state)
        return Carry(h, params, state, optimizer, carry.constants), Outcome(
            seen.loss, seen.prediction, seen.loss + health
        )

    def _followed(self, h: Any, influence: Any, before: Leaves, after: Leaves) -> Any:
        """h + G Δθ, under a filter whose influence is not random: the state that the new parameters would have made.

        That is what an extended Kalman filter of (h, θ) does, whose covariance is G P Gᵀ in h and G P between them. A
        state that stays behind is compared with the data all the same, and θ is moved again for what was mended.
        """
        if self.informed is None or not hasattr(self.influence, "push"):
            return h
        return h + self.influence.push(influence, {k: after[k] - before[k] for k in self.layout.leaves}, self.layout)

    def transit(self, carry: Carry, x: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """A step without a target: state and influence go on, nothing is learned."""
        lin = self.model.linearize(carry.h, x, carry.params)
        optimizer = carry.optimizer if self.informed is None else self.informed.unobserved(carry.optimizer)
        state = self.influence.advance(carry.influence, self._measured(lin, optimizer), noise[: self._first])
        _, prediction = self.model.advance(carry.h, x, carry.params)
        health = np.vdot(lin.value, lin.value) + self.influence.magnitude(state)
        if self.informed is not None and optimizer is not carry.optimizer:
            health = health + self.informed.magnitude(optimizer)
        no_loss = np.asarray(np.nan, self.layout.dtype)
        made = carry._replace(h=lin.value, influence=state, optimizer=optimizer)
        return made, Outcome(no_loss, prediction, health)

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

    def apply(self, carry: Carry, cotangent: Any, sums: Leaves, samples: Any) -> tuple[Carry, Any]:
        """One update, from the derivatives of a window's losses in the state it starts from, and in θ from there on.

        `carry.influence` is that of the state the window starts from. `samples` is the number of these losses: an
        optimizer that counts samples is told of all but one, which its update counts.
        """
        count = getattr(self.optimizer, "count", None)
        if count is not None:
            carry = carry._replace(optimizer=count(carry.optimizer, samples - 1.0))
        params, optimizer, health = self._update(carry, ExplicitRow(cotangent), sums)
        return carry._replace(params=params, optimizer=optimizer), health

    def advance(
        self, carry: Carry, states: Any, inputs: Any, value: Any, noise: tuple[Any, ...], alive: Any = None
    ) -> tuple[Any, Any]:
        """The influence after consecutive steps, taken as one map that ends in the state `value`; see `Window`."""
        lin = Window(self.model, states, inputs, value, carry.params, alive)
        measured = self._measured(lin, carry.optimizer)
        state = self.influence.advance(carry.influence, measured, noise[: self._first])
        return state, self.influence.magnitude(state)

    # ---- what informed optimizers ask for

    def _measured(self, lin: Any, optimizer: Any) -> Any:
        """The linearization with the optimizer's metric, if it has one."""
        return lin if self.informed is None else lin.measured(self.informed.metric(optimizer))

    def _rows(self, carry: Carry, lin: Any, seen: Any, cotangents: Any) -> Leaves | None:
        """u·∂ŷ/∂θ for each row u of `cotangents`: one backward product and one pull at the influence for each."""
        if cotangents is None:
            return None
        trained = {k: carry.params[k] for k in self.model.system.trainable}

        def derivatives(u: Any) -> list[Any]:
            c, direct = seen.pull(np.reshape(u, seen.prediction.shape))
            row, through = lin.pull(c)
            past = self.influence.pull(carry.influence, row, self.layout)
            now = _plus(direct, through)
            return [_sum(now.get(k), past.get(k), v) for k, v in trained.items()]

        return dict(zip(trained, map_rows(derivatives, cotangents), strict=True))

    def predictive_variance(self, carry: Carry, x: Any) -> tuple[Any, Any]:
        """The prediction for the next sample, and its variance over what is not known of θ, both of the same shape.

        Var ŷ_i = ∇ŷ_iᵀ P ∇ŷ_i, with P the covariance of the parameters as the optimizer has it.

        Raises:
            DeclarationError: the optimizer has none, or windows are longer than one step.
        """
        informed = self.informed
        if informed is None or not self.single:
            raise DeclarationError(
                "predict(return_std=True): expected a filter and windows of one step, got "
                f"{type(self.optimizer).__name__ if informed is None else f'a window of {self.estimator.window}'}.\n"
                "Learn with fg.InformationFilter(...) or fg.ParameterFilter(...), and window=1."
            )
        system, params = self.model.system, carry.params
        lin = self.model.linearize(carry.h, x, params)
        seen = self.model.observe(lin.value, x, system.y, params)
        size = int(np.prod(system.prediction.shape, dtype=int))
        rows = self._rows(carry, lin, seen, np.eye(size, dtype=system.prediction.dtype))
        assert rows is not None
        metric = informed.metric(informed.unobserved(carry.optimizer))  # as it will be when the sample comes
        return seen.prediction, np.reshape(norms_one_by_one(rows, metric), seen.prediction.shape)

    def _limited(self, k: str, update: Any) -> Any:
        """A step of a bounded parameter, in its coordinate, by `LONGEST` at most: further, its slope is another one."""
        if not self.model.system.coordinate[k].bounded:
            return update
        return np.minimum(np.maximum(update, -LONGEST), LONGEST)

    def _update(
        self, carry: Carry, row: Row, direct: Leaves, evidence: Evidence | None = None
    ) -> tuple[Leaves, Any, Any]:
        """θ and the optimizer's state after a step with the gradient c·G̃ + direct, and a sum of squares of θ."""
        trained = {k: carry.params[k] for k in self.model.system.trainable}
        past = self.influence.pull(carry.influence, row, self.layout)
        return self._changed(carry, {k: _sum(direct.get(k), past.get(k), v) for k, v in trained.items()}, evidence)

    def _changed(self, carry: Carry, gradient: Leaves, evidence: Evidence | None) -> tuple[Leaves, Any, Any]:
        """θ and the optimizer's state after a step with this gradient, and a sum of squares of θ."""
        trained = {k: carry.params[k] for k in self.model.system.trainable}
        health: Any = 0.0
        if self.informed is None:
            updates, optimizer = filled(self.optimizer, carry.constants).update(gradient, carry.optimizer, trained)
        else:
            updates, optimizer = self.informed.update(gradient, carry.optimizer, trained, evidence)
            health = health + self.informed.magnitude(optimizer)
        params = {k: v + self._limited(k, updates[k]) if k in updates else v for k, v in carry.params.items()}
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
