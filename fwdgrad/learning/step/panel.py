"""The step of many streams: each with its state and its influence, one gradient, one update."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.estimators import Estimator
from fwdgrad.influence import Influence, Layout
from fwdgrad.influence.per_stream import PerStream
from fwdgrad.learning.step.gradient import Carry, Outcome, Steps
from fwdgrad.linear import Model
from fwdgrad.optimizers import Optimizer
from fwdgrad.panels import PanelSystem
from fwdgrad.program import map_rows, scan
from fwdgrad.support.trees import flatten, unflatten

__all__ = ["PanelSteps"]


class PanelSteps(Steps):
    """Windows of one step of a `PanelSystem`, under an optimizer that wants gradients.

    A sample of all streams is a loop over them. The gradient is the mean, or the sum, of those of the streams that have
    a target; that of a parameter that each stream has for itself is made of its stream alone. Streams that have ended
    stay as they are. Memory and time are those of so many influences, and of one update.
    """

    def __init__(self, model: Model, estimator: Estimator, optimizer: Optimizer) -> None:
        assert isinstance(model.system, PanelSystem)
        self.panel: PanelSystem = model.system
        self.lane: Model = type(model)(self.panel.lane)  # type: ignore[call-arg]
        super().__init__(model, estimator, optimizer)
        lane = self.panel.lane
        self.layout = Layout(
            lane.size,
            {k: lane.coordinates[k].shape for k in self.lane.leaves},
            lane.dtype,
            lambda: self.lane.patterns,
        )
        self.own: Influence = self.influence
        self.influence = PerStream(self.own, self.panel.count)
        specs = self.influence.noise(self.layout)
        self._first = sum(spec.when == "step" for spec in specs)
        self.noise = specs

    def learn(self, carry: Carry, x: Any, y: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """Every stream goes on; then θ is changed, once, by what all of them say."""
        panel, layout = self.panel, self.layout
        shared = [k for k in panel.trainable if k not in panel.per_stream]
        single = [k for k in panel.trainable if k in panel.per_stream]
        targets = flatten(y)
        sizes = [len(flatten(carry.influence)), len(panel.rows(x, carry.params)), len(targets)]

        def turn(sums: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
            h, *rest = row
            influence, rest = unflatten(carry.influence, rest[: sizes[0]]), rest[sizes[0] :]
            given, theta, ended = panel.taken(rest[: sizes[1]], carry.params)
            target, there = panel.target(unflatten(y, rest[sizes[1] : sizes[1] + sizes[2]]))
            lin = self.lane.linearize(h, given, theta)
            seen = self.lane.observe(lin.value, given, target, theta)
            c, direct = seen.gradient()
            pulled, through = lin.pull(c)
            past = self.own.pull(influence, pulled, layout)
            there = np.where(ended > 0.5, np.zeros_like(there), there)
            parts = {k: _sum([direct.get(k), through.get(k), past.get(k)], theta[k]) for k in panel.trainable}
            parts = {k: np.where(there > 0.5, v, np.zeros_like(v)) for k, v in parts.items()}
            noise = tuple(rest[sizes[1] + sizes[2] :])
            h, influence = self._gone_on(h, influence, lin, ended, noise)
            loss = np.where(there > 0.5, seen.loss, np.zeros_like(seen.loss))
            sums = (sums[0] + loss, sums[1] + there, *(s + parts[k] for s, k in zip(sums[2:], shared, strict=True)))
            return sums, (h, seen.prediction, *flatten(influence), *(parts[k] for k in single))

        start = (*(np.zeros((), layout.dtype) for _ in range(2)), *(np.zeros_like(carry.params[k]) for k in shared))
        rows = (panel.states(carry.h), *flatten(carry.influence), *panel.rows(x, carry.params), *targets, *noise)
        (loss, count, *sums), (h, prediction, *rest) = scan(turn, start, rows)
        influence = unflatten(carry.influence, rest[: sizes[0]])
        gradient = dict(zip([*shared, *single], [*sums, *rest[sizes[0] :]], strict=True))
        if panel.pool == "mean":
            many = np.maximum(count, 1.0).astype(layout.dtype)
            loss, gradient = loss / many, {k: v / many for k, v in gradient.items()}
        params, optimizer, health = self._changed(carry, {k: gradient[k] for k in panel.trainable}, None)
        h = np.reshape(h, (panel.size,))
        health = health + np.vdot(h, h) + self.influence.magnitude(influence)
        made = Carry(h, params, influence, optimizer, carry.constants)
        return made, Outcome(loss, prediction, loss + health)

    def transit(self, carry: Carry, x: Any, noise: tuple[Any, ...]) -> tuple[Carry, Outcome]:
        """Every stream goes on, and nothing is learned."""
        panel = self.panel
        sizes = [len(flatten(carry.influence)), len(panel.rows(x, carry.params))]

        def transit(h: Any, *rest: Any) -> list[Any]:
            influence, rest = unflatten(carry.influence, rest[: sizes[0]]), rest[sizes[0] :]
            given, theta, ended = panel.taken(rest[: sizes[1]], carry.params)
            lin = self.lane.linearize(h, given, theta)
            _, prediction = self.lane.advance(h, given, theta)
            h, influence = self._gone_on(h, influence, lin, ended, tuple(rest[sizes[1] :]))
            return [h, prediction, *flatten(influence)]

        rows = (panel.states(carry.h), *flatten(carry.influence), *panel.rows(x, carry.params), *noise)
        h, prediction, *rest = map_rows(transit, *rows)
        h, influence = np.reshape(h, (panel.size,)), unflatten(carry.influence, rest)
        health = np.vdot(h, h) + self.influence.magnitude(influence)
        no_loss = np.asarray(np.nan, self.layout.dtype)
        return carry._replace(h=h, influence=influence), Outcome(no_loss, prediction, health)

    def _gone_on(self, h: Any, influence: Any, lin: Any, ended: Any, noise: tuple[Any, ...]) -> tuple[Any, Any]:
        """State and influence of a stream after a sample; as they were if it has ended."""
        after = self.own.advance(influence, lin, noise)
        kept = [np.where(ended > 0.5, old, new) for old, new in zip(flatten(influence), flatten(after), strict=True)]
        return np.where(ended > 0.5, h, lin.value), unflatten(influence, kept)


def _sum(terms: list[Any], like: Any) -> Any:
    """Of those that there are, added up as for a single stream."""
    direct, through, past = terms
    now = direct if through is None else through if direct is None else direct + through
    made = now if past is None else past if now is None else now + past
    return np.zeros(like.shape, like.dtype) if made is None else made
