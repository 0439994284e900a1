"""What `check` compares along a trajectory: influence, gradients of whole runs, and means of random reductions."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.checks.compare import Tally, largest, line_slope, sign_table, skipped
from fwdgrad.checks.points import Function, Point, Points
from fwdgrad.checks.report import CheckRow
from fwdgrad.engines.names import AUTO, EAGER
from fwdgrad.estimators import RTRL, Estimator, NoBackTrack
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.step.kinds import LEARN, TRANSIT
from fwdgrad.linear import ExplicitRow
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Leaves

__all__ = ["LARGEST", "Trajectories"]

LARGEST = 2e9
"""Operations that one row may take; beyond, it is skipped and says so."""


@dataclass(frozen=True)
class _Keep:
    """An optimizer that changes nothing; its state is the last gradient."""

    def init(self, params: Leaves) -> Leaves:
        return {k: np.zeros(p.shape, p.dtype) for k, p in params.items()}

    def update(self, grads: Leaves, state: Leaves, params: Leaves) -> tuple[Leaves, Leaves]:
        return {}, dict(grads)


class Trajectories(Points):
    """The comparisons along a trajectory from the first point on.

    Attributes:
        steps: its length.
        rtol: relative tolerance of differences.
        tight: that of what differs by rounding only.
        reason: why the model is not the traced one; nothing if it is.
    """

    steps: int
    rtol: float
    tight: float
    reason: str

    @property
    @abstractmethod
    def _transitions(self) -> Function:
        """The transition whose differences are taken, in double precision."""

    @cached_property
    def execution(self) -> Execution:
        """The learner's own steps, of RTRL, with θ fixed."""
        return Execution(self.system, RTRL(), _Keep(), EAGER if self.reason else AUTO)

    @cached_property
    def _trajectory(self) -> list[tuple[Point, Any]]:
        """(sample, state before it), from the first point on, with the inputs and targets of the points in turn."""
        h, walk = self.points[0].h, []
        for p in itertools.islice(itertools.cycle(self.points), self.steps):
            walk.append((p, h))
            h = np.asarray(self.system.transition(h, p.x, self.points[0].params))
        return walk

    def _walks(self, ways: list[Leaves], times: np.ndarray) -> Iterator[tuple[Point, Any, list[Leaves]]]:
        """(sample, states after it, θ) of trajectories with θ moved by t in each of some directions, times first."""
        params = [self._moved(self.points[0].params, d, t) for t in times for d in ways]
        states = np.stack([self.points[0].h.astype(self.exact.dtype)] * len(params))
        for p, _ in self._trajectory:
            states = np.asarray(self._transitions(states, self._input(p.x), params))
            yield p, states, params

    def _influence(self) -> Iterator[CheckRow]:
        """v ← A v + B d along a trajectory, against the difference of whole trajectories."""
        tally = Tally(f"influence of θ after {self.steps} steps", self.rtol)
        first = self.points[0]
        ways = [{k: self._direction(first.params[k])} for k in self.model.leaves]
        if not ways:
            yield skipped(tally, "No parameter influences the state.")
            return
        moved = [np.zeros(self.system.size, self.system.dtype) for _ in ways]
        for p, h in self._trajectory:
            lin = self.model.linearize(h, p.x, first.params)
            moved = [lin.jvp(v, self._cast(d)) for v, d in zip(moved, ways, strict=True)]

        def lines(times: np.ndarray) -> Any:
            *_, (_, states, _) = self._walks(ways, times)
            return states.reshape(len(times), len(ways), -1)

        for k, v, slope, slack, size in zip(self.model.leaves, moved, *line_slope(lines), strict=True):
            tally.compare(v, slope, f"in {k}", slack, 1e-6 * size)
        yield tally.row()

    def _rtrl(self) -> Iterator[CheckRow]:
        """The gradients of the learner's own steps, with θ fixed."""
        tally, execution = Tally(f"RTRL: gradients of {self.steps} steps", self.rtol), self.execution
        n, p_count = self.system.size, execution.steps.layout.parameters
        if n * n * p_count * self.steps > LARGEST:
            yield skipped(tally, f"Too large: {n} state variables, {p_count} parameters.")
            return
        first = self.points[0]
        carry = self._start(execution)
        found: list[Leaves] = []
        for p, _ in self._trajectory:
            carry = tuple(execution.make(LEARN, carry, flatten(p.x), flatten(p.y), ())[:-3])
            found.append(execution.unpack(carry).optimizer)
        names = self.system.trainable
        ways = [{k: self._direction(first.params[k])} for k in names]
        if not ways:
            yield tally.row()
            return

        def lines(times: np.ndarray) -> Any:
            made = []
            for p, states, params in self._walks(ways, times):
                x, y = self._input(p.x), self._input(p.y)
                made.append([self._loss_at(self.exact, h, x, q, y) for h, q in zip(states, params, strict=True)])
            return np.array(made).T.reshape(len(times), len(ways), -1)

        for k, d, slope, slack, size in zip(names, ways, *line_slope(lines), strict=True):
            tally.compare([np.vdot(g[k], d[k]) for g in found], slope, f"in {k}", slack, 1e-6 * size)
        yield tally.row()

    def _start(self, execution: Execution) -> tuple[Any, ...]:
        """The carry of a learner at the first point."""
        first = self.points[0]
        carry = execution.unpack(execution.initial())
        return execution.pack(carry._replace(h=first.h, params=dict(first.params)))

    def _reduction(self, estimator: Estimator) -> Iterator[CheckRow]:
        """Mean over the signs of c·reduce(A v wᵀ + B), for a random row c, against (c A) v wᵀ + c B."""
        tally = Tally(f"{estimator.name}: mean of a reduction", self.tight)
        execution = Execution(self.system, estimator, _Keep(), EAGER if self.reason else AUTO)
        layout, influence = execution.steps.layout, execution.steps.influence
        if not layout.leaves:
            yield skipped(tally, "No parameter influences the state.")
            return
        n, count = self.system.size, layout.parameters
        signs = sign_table(n).astype(self.system.dtype)
        rows = n if estimator.influence == NoBackTrack().influence else 1
        if len(signs) * (n * n + rows * count) > LARGEST:
            yield skipped(tally, f"Too large: {n} state variables, {count} parameters.")
            return
        p, q = self.points[:2]
        carry = tuple(execution.make(TRANSIT, self._start(execution), flatten(p.x), (signs[len(signs) // 3],))[:-3])
        before = execution.unpack(carry)
        c = self.rng.normal(size=n).astype(self.system.dtype)
        row, fresh = self.model.linearize(before.h, q.x, before.params).vjp(c)
        carried = influence.pull(before.influence, ExplicitRow(row), layout)
        total: Leaves = {k: 0.0 for k in layout.leaves}
        size = 0.0
        for noise in signs:
            after = execution.unpack(tuple(execution.make(TRANSIT, carry, flatten(q.x), (noise,))[:-3]))
            pulled = influence.pull(after.influence, ExplicitRow(c), layout)
            total = {k: total[k] + np.asarray(pulled[k], float) for k in total}
            size = max(size, *map(largest, pulled.values()))
        for k in layout.leaves:
            floor = max(size, 1e-6 * float(np.sum(np.abs(c * before.h))) / (largest(before.params[k]) or 1.0))
            tally.compare(total[k] / len(signs), carried[k] + fresh[k], f"in {k}", 0.0, floor)
        yield tally.row()
