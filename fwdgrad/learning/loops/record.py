"""Samples that are kept, with the beginnings of their trajectories, and going through them once more."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import StepError
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.samples import Chunk
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Flat
from fwdgrad.system import System

__all__ = ["Record", "Start"]

SCALE_SAMPLES = 50
"""Targets whose spread tells the size of the outputs."""


class Start(NamedTuple):
    """Where a trajectory begins."""

    place: int
    """The number of its first sample."""
    state: np.ndarray
    """h before it."""
    given: bool
    """Whether that is to be taken even if the system has a learned initial state."""


class Record:
    """Inputs, targets, and whether there was a target, column by column; and the `Start` of each trajectory.

    Memory: that of the samples.
    """

    def __init__(self, system: System) -> None:
        self._system, self._inputs = system, len(flatten(system.x))
        self._columns = [np.zeros((0, *a.shape), a.dtype) for a in (*flatten(system.x), *flatten(system.y))]
        self._columns.append(np.zeros(0, bool))
        self.starts: list[Start] = []

    def __len__(self) -> int:
        return len(self._columns[-1])

    @property
    def chunk(self) -> Chunk:
        """All samples, one after the other."""
        return Chunk(self._columns[: self._inputs], self._columns[self._inputs : -1], self._columns[-1])

    def without(self, chunk: Chunk) -> Record:
        """The same trajectories with other samples: some of the targets of these are missing."""
        made = copy.copy(self)
        made._columns = [*chunk.x, *chunk.y, chunk.observed]
        return made

    def begin(self, state: Any, given: bool) -> None:
        """A trajectory begins; one without samples is forgotten."""
        if self.starts and self.starts[-1].place == len(self):
            self.starts.pop()
        self.starts.append(Start(len(self), np.array(state), given))

    def extend(self, chunk: Chunk) -> None:
        """Keep some more samples."""
        added = [*chunk.x, *chunk.y, chunk.observed]
        self._columns = [np.concatenate([a, b]) for a, b in zip(self._columns, added, strict=True)]

    def trajectories(self) -> Iterator[tuple[Start, Chunk]]:
        """Each trajectory with its samples."""
        ends = [*(s.place for s in self.starts[1:]), len(self)]
        for start, end in zip(self.starts, ends, strict=True):
            rows = [a[start.place : end] for a in self._columns]
            yield start, Chunk(rows[: self._inputs], rows[self._inputs : -1], rows[-1])

    def replayed(self, loop: Loop, carry: Flat) -> Flat | None:
        """The carry after all of it, from a carry that nothing has been seen with; None if a step is refused."""
        loop.carry, loop.explains = carry, False
        try:
            return loop.carry if self.run(loop) is None else None
        finally:
            loop.explains = True

    def run(self, loop: Loop) -> StepError | None:
        """Go through all of it; what refuses a step, which is the last."""
        for start, chunk in self.trajectories():
            loop.restart(np.array(start.state), start.given)
            error = loop.run(chunk).error if len(chunk.observed) else None
            if error is not None:
                return error
        return None

    def head(self, count: int) -> Record:
        """The first so many samples, as a record of their own."""
        made = copy.copy(self)
        made._columns = [a[:count] for a in self._columns]
        made.starts = [s for s in self.starts if s.place < count]
        return made

    @property
    def observed(self) -> np.ndarray:
        """Which samples have a target, shape (T,)."""
        return self._columns[-1]

    @property
    def seen(self) -> int:
        """How many samples have a target."""
        return int(self.observed.sum())

    def targets(self, outputs: int) -> np.ndarray:
        """The targets, if they are numbers: shape (T, m), NaN where there is none."""
        (values,) = self._columns[self._inputs : -1]
        made = values.reshape(len(self), outputs).astype(float)
        made[~self.observed] = np.nan
        return made

    def times(self) -> np.ndarray:
        """Of the samples, since the start of their trajectory, (T,): in the unit of `dt`; without, their number."""
        made = []
        for _, chunk in self.trajectories():
            count = len(chunk.observed)
            if isinstance(self._system.dt, str):
                place = list(self._system.x).index(self._system.dt)
                made.append(np.cumsum(chunk.x[place].astype(float)))
            else:
                first = 0 if self._system.first == "initial" else 1
                made.append((np.arange(count) + first) * float(self._system.dt or 1.0))
        return np.concatenate(made)

    def spread(self, outputs: int) -> np.ndarray:
        """The standard deviation of each output's first targets, and a thousandth of the largest; shape (m,)."""
        rows = self.targets(outputs)[self.observed][:SCALE_SAMPLES]
        made = np.zeros(outputs)
        for k, column in enumerate(rows.T):
            values = column[np.isfinite(column)]
            if len(values):
                made[k] = values.std() + 1e-3 * np.abs(values).max()
        return made

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name."""
        made = {f"record{k}": a for k, a in enumerate(self._columns)}
        made["places"] = np.array([s.place for s in self.starts])
        made["states"] = np.array([s.state for s in self.starts])
        return made | {"given": np.array([s.given for s in self.starts])}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `arrays`."""
        self._columns = [arrays[f"record{k}"] for k in range(len(self._columns))]
        starts = zip(arrays["places"], arrays["states"], arrays["given"], strict=True)
        self.starts = [Start(int(place), np.array(state), bool(given)) for place, state, given in starts]
