"""Fitting the first samples again, until there are enough of them, so that a filter begins near the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.estimators import RTRL
from fwdgrad.execution import Execution, Flat, execution_for
from fwdgrad.loops.base import Loop, Ran, Sample
from fwdgrad.loops.feed import Feed
from fwdgrad.loops.gauss_newton import GaussNewton, Normal
from fwdgrad.loops.record import Record
from fwdgrad.optimizers import NormalEquations
from fwdgrad.samples import Chunk

__all__ = ["Refitting"]

EARLIEST = 16
"""Samples after which they are fitted for the first time."""
GROWTH = 4
"""How many times more there are at each fit than at the one before."""
SIMULATED = 64
"""Samples from which on the model is also simulated without corrections."""
PASSES = 3
"""How often, at most, the filter goes through them in a row."""
REPEATED = 15
"""Passes over all that is kept that the fits are worth, about."""
SETTLED = 0.02
"""A change of θ that ends it, in the units of its coordinates."""


class Pass(NamedTuple):
    """What came of going through the record once."""

    surprise: float
    """−log of the likelihood, and of the prior."""
    carry: Flat
    level: tuple[float, float]


class Refitting(Loop):
    """A loop around another one, for a `JointFilter`, as long as the first samples are kept.

    A filter that begins far from the truth wastes what the first samples say: it takes them linearised at the wrong
    point. So they are kept, and at 16, 64, 256, … of them they are fitted anew, from the initial state:

    - by the filter, from the parameters it has found before, until these no longer move: it follows the data from far;
    - by `GaussNewton` on the model simulated without corrections, from these parameters and from the declared ones:
      what the data say exactly, if the model has no noise.

    What is likeliest is gone on with. Work and memory are bounded by `first`; later this loop only hands on.

    Args:
        inner: the loop that makes the steps.
        loop_for: makes a loop for an execution without random numbers.
    """

    def __init__(self, inner: Loop, loop_for: Callable[[Execution], Loop]) -> None:
        self.inner, self._loop_for = inner, loop_for
        self.execution, self.reader, self.noise = inner.execution, inner.reader, inner.noise
        self._filter: Any = inner.execution.steps.informed
        declared: Any = inner.execution.optimizer
        self._declared = declared
        self._record: Record | None = Record(inner.execution.system)
        self._record.begin(inner.execution.system.initial, False)
        self._level: tuple[float, float] = declared.levels[0]
        self._centre: np.ndarray | None = None
        self._newton: GaussNewton | None = None

    # ---- handed on

    @property
    def carry(self) -> Flat:
        """That of the loop inside."""
        return self.inner.carry

    @carry.setter
    def carry(self, carry: Flat) -> None:
        self.inner.carry = carry

    @property
    def steps(self) -> int:
        """Number of samples seen; those gone through again are not counted."""
        return self.inner.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.inner.steps = steps

    @property
    def view(self) -> Flat:
        """That of the loop inside."""
        return self.inner.view

    @property
    def feed(self) -> Feed:
        """That of the loop inside."""
        return self.inner.feed

    @feed.setter
    def feed(self, feed: Feed) -> None:
        self.inner.feed = feed

    @property
    def grain(self) -> int:  # type: ignore[override]
        """That of the loop inside."""
        return self.inner.grain

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """That of the loop inside."""
        return self.inner.learn(sample)

    def finish(self) -> None:
        """Nothing is open."""

    def discard(self) -> None:
        """Nothing is open."""

    def foreseen(self, steps: int) -> int:
        """Those of the fits are counted as if there were `REPEATED` passes in all."""
        kept = self._declared.first if self._record is None else len(self._record)
        return steps + REPEATED * min(steps, self._declared.first - kept)

    # ---- with the samples kept

    def step(self, x: Any, y: Any) -> float:
        """One sample."""
        if self._record is None:
            return self.inner.step(x, y)
        sample = self.reader.sample(x, y, self.steps)
        inputs, targets = ([np.asarray(a)[None] for a in arrays] for arrays in sample[:2])
        ran = self.run(Chunk(inputs, targets, np.array([sample[2]])))
        if ran.error is not None:
            raise ran.error
        return float(ran.losses[0])

    def run(self, chunk: Chunk) -> Ran:
        """Consecutive samples, up to the first that is refused."""
        made: list[Ran] = []
        start, length = 0, len(chunk.observed)
        while start < length:
            count = 0 if self._record is None else len(self._record)
            stop = length if self._record is None else min(length, start + self._due(count) - count)
            piece = chunk.part(start, stop)
            ran = self._kept(piece) if self._record is not None else self.inner.run(piece)
            made.append(ran)
            if ran.error is not None:
                break
            start = stop
        losses, predictions = (np.concatenate([getattr(r, k) for r in made]) for k in ("losses", "predictions"))
        return Ran(losses, predictions, made[-1].error)

    def _kept(self, chunk: Chunk) -> Ran:
        """Samples up to the next fit."""
        record = self._record
        assert record is not None
        if self._centre is None:
            self._centre = self._flat(self.inner.carry)
        ran = self.inner.run(chunk)
        record.extend(chunk.part(0, len(ran.losses)))
        if ran.error is None and len(record) == self._due(len(record) - 1):
            self._fit(record)
        if len(record) >= self._declared.first:
            self._record = self._newton = None
        return ran

    def restart(self, h: Any, given: bool) -> None:
        """A new trajectory, which later fits go through like the ones before."""
        self.inner.restart(h, given)
        if self._record is not None:
            self._record.begin(h, given)

    def _due(self, count: int) -> int:
        """The number of samples at which they are fitted next, when there are `count`."""
        due = EARLIEST
        while due <= count:
            due *= GROWTH
        return min(due, self._declared.first)

    # ---- the fits

    def _fit(self, record: Record) -> None:
        """Go on from what explains the record best."""
        steps, row, present = self.steps, list(self.feed.row), self.inner.carry
        best = self._filtered(record, present)
        if len(record) >= SIMULATED:
            best = self._simulated(record, present, best)
        if best is not None:
            self._level = best.level
        self.inner.carry = present if best is None else best.carry
        self.steps, self.feed.row = steps, row

    def _filtered(self, record: Record, present: Flat) -> Pass | None:
        """The best pass of the filter, over the levels of noise."""
        best = self._settled(record, None, present, self._level)
        for level in self._declared.levels:
            if level != self._level and best is not None:
                other = self._pass(record, best.carry, level)
                if other is not None and other.surprise < best.surprise:
                    best = self._settled(record, other, other.carry, level)
        return best

    def _settled(self, record: Record, best: Pass | None, carry: Flat, level: tuple[float, float]) -> Pass | None:
        """The best of consecutive passes, each from the parameters that the one before has found."""
        for _ in range(PASSES):
            made = self._pass(record, carry, level)
            if made is None:
                break
            if best is None or made.surprise < best.surprise:
                best = made
            moved = np.abs(self._flat(made.carry) - self._flat(carry)) / self._units(made.carry)
            carry = made.carry
            if np.max(moved) < SETTLED:
                break
        return best

    def _pass(self, record: Record, carry: Flat, level: tuple[float, float]) -> Pass | None:
        """Filter the record with the parameters of a carry; None if that fails."""
        execution, bound = self.execution, self._filter
        held, before = execution.unpack(carry), self._flat(carry)
        trained = {k: np.asarray(held.params[k]) for k in execution.system.trainable}
        first = bound.levelled(bound.init(trained), held.optimizer, level, record.spread(bound.outputs))
        made = record.replayed(self.inner, execution.pack(held._replace(optimizer=first)))
        if made is None:
            return None
        # the prior is that of the declared parameters, not of those that the pass began with
        after = execution.unpack(made)
        width = self._declared.prior * np.asarray(first.units)
        away = (self._middle - before) / width
        moved = bound.pulled(after.optimizer, away / width)
        h = np.asarray(after.h) + moved[: bound.size]
        params = self._moved(after.params, moved[bound.size :])
        surprise = float(after.optimizer.surprise) + 0.5 * float(np.sum(away**2))
        if not (np.isfinite(surprise) and np.all(np.isfinite(moved))):
            return None
        return Pass(surprise, execution.pack(after._replace(h=h.astype(after.h.dtype), params=params)), level)

    def _simulated(self, record: Record, present: Flat, best: Pass | None) -> Pass | None:
        """`best`, or what Gauss–Newton finds if that is likelier."""
        bound, units = self._filter, np.asarray(self._units(present), float)
        if self._newton is None:
            known = None if bound.learns_noise else np.asarray(bound.first_noise, float)
            execution = execution_for(self.execution.system, RTRL(), NormalEquations(), self.execution.engine)
            self._newton = GaussNewton(self._loop_for(execution), known)
        centre, prior = self._middle.astype(float), self._declared.prior * units
        starts = [] if best is None else [self._flat(best.carry).astype(float)]
        if not starts or len(record) in (SIMULATED, self._declared.first):
            starts.append(centre)
        found = [self._newton.minimum(record, start, centre, prior, units) for start in starts]
        likely = min((f for f in found if f is not None), key=lambda f: f.objective, default=None)
        if likely is None or (best is not None and best.surprise <= likely.objective):
            return best
        return Pass(likely.objective, self._from_simulation(present, likely, prior), self._declared.levels[0])

    def _from_simulation(self, present: Flat, found: Normal, prior: np.ndarray) -> Flat:
        """The filter's carry at the end of a simulated record."""
        execution, bound, held = self.execution, self._filter, found.carry
        layout = execution.steps.layout
        G = self._newton.influence(held) if self._newton is not None else {}
        rows = bound.rows({k: np.asarray(v).reshape(layout.size, -1) for k, v in G.items()}, layout.size)
        covariance = np.linalg.inv(found.matrix + np.diag(prior**-2.0))
        mine = execution.unpack(present)
        optimizer = bound.simulated(mine.optimizer, covariance, rows, found.noise, self._declared.levels[0], held)
        return execution.pack(mine._replace(h=np.asarray(held.h), params=held.params, optimizer=optimizer))

    # ---- parameters as vectors

    @property
    def _middle(self) -> np.ndarray:
        """The declared coordinates: the mean of the prior."""
        assert self._centre is not None
        return self._centre

    def _flat(self, carry: Flat) -> np.ndarray:
        held = self.execution.unpack(carry)
        return np.concatenate([np.ravel(np.asarray(held.params[k])) for k in self.execution.system.trainable])

    def _units(self, carry: Flat) -> np.ndarray:
        return np.asarray(self.execution.unpack(carry).optimizer.units)

    def _moved(self, params: Any, by: np.ndarray) -> dict[str, np.ndarray]:
        made, place = dict(params), 0
        for k in self.execution.system.trainable:
            value = np.asarray(params[k])
            made[k] = (value + by[place : place + value.size].reshape(value.shape)).astype(value.dtype)
            place += value.size
        return made

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, while it is."""
        if self._record is None:
            return {}
        made = self._record.arrays() | {"level": np.array(self._level)}
        return made if self._centre is None else made | {"centre": self._centre}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take it up."""
        if "level" not in arrays:
            self._record = None
            return
        self._record = Record(self.execution.system)
        self._record.restore(arrays)
        self._level = (float(arrays["level"][0]), float(arrays["level"][1]))
        self._centre = arrays.get("centre")
