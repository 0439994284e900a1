"""Fitting the first samples again, until there are enough of them, so that a filter begins near the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.execution import Execution, Flat
from fwdgrad.loops.base import Loop, Ran, Sample
from fwdgrad.loops.feed import Feed
from fwdgrad.loops.fitting import Fitting
from fwdgrad.loops.record import Record
from fwdgrad.samples import Chunk

__all__ = ["Refitting"]

EARLIEST = 16
"""Samples after which they are fitted for the first time."""
GROWTH = 4
"""How many times more there are at each fit than at the one before."""
SIMULATED = 64
"""Samples from which on the model is also simulated without corrections."""
REPEATED = 15
"""Passes over all that is kept that the fits are worth, about."""


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
        declared: Any = inner.execution.optimizer
        self._declared = declared
        self._record: Record | None = Record(inner.execution.system)
        self._record.begin(inner.execution.system.initial, False)
        self._level: tuple[float, float] = declared.levels[0]
        self._fitting: Fitting | None = None

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
        if self._fitting is None:
            self._fitting = Fitting(self.inner, self._loop_for)
        ran = self.inner.run(chunk)
        record.extend(chunk.part(0, len(ran.losses)))
        if ran.error is None and len(record) == self._due(len(record) - 1):
            self._fit(record, self._fitting)
        if len(record) >= self._declared.first:
            self._record = self._fitting = None
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

    def _fit(self, record: Record, fitting: Fitting) -> None:
        """Go on from what explains the record best."""
        steps, row, present = self.steps, list(self.feed.row), self.inner.carry
        best = fitting.filtered(record, present, self._level)
        if len(record) >= SIMULATED:
            starts = [] if best is None else [fitting.flat(best.carry)]
            if not starts or len(record) in (SIMULATED, self._declared.first):
                starts.append(fitting.declared)
            found = fitting.simulated(record, present, starts)
            if best is None or (found is not None and found.surprise < best.surprise):
                best = found
        if best is not None:
            self._level = best.level
        self.inner.carry = present if best is None else best.carry
        self.steps, self.feed.row = steps, row

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, while it is."""
        if self._record is None:
            return {}
        made = self._record.arrays() | {"level": np.array(self._level)}
        return made if self._fitting is None else made | {"centre": self._fitting.declared}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take it up."""
        if "level" not in arrays:
            self._record = None
            return
        self._record = Record(self.execution.system)
        self._record.restore(arrays)
        self._level = (float(arrays["level"][0]), float(arrays["level"][1]))
        if "centre" in arrays:
            self._fitting = Fitting(self.inner, self._loop_for, arrays["centre"])
