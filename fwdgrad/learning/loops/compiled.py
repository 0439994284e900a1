"""Learning at every step, on an engine that runs many steps in one call and changes the carry in place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.errors import NonFiniteError, StepError
from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.base import Ran, Sample
from fwdgrad.learning.loops.in_place import InPlace, grain, outputs, spans
from fwdgrad.learning.noise import BLOCK, NoiseStream
from fwdgrad.learning.samples import Chunk
from fwdgrad.learning.step.kinds import LEARN, TRANSIT
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Flat

__all__ = ["Compiled"]

NONE: list[np.ndarray] = []


class Compiled(InPlace):
    """Windows of one step, by compiled streams.

    The arrays of the carry are changed in place. So that a step that is not finite changes nothing all the same, a copy
    of them is kept from a little earlier, with the samples since then; up to the refused step, those are made again.
    """

    def __init__(self, execution: Execution, noise: NoiseStream, carry: Flat) -> None:
        system = execution.system
        self._x = [np.zeros((BLOCK, *leaf.shape), leaf.dtype) for leaf in flatten(system.given)]
        self._y = [np.zeros((BLOCK, *leaf.shape), leaf.dtype) for leaf in flatten(system.y)]
        drawn = [np.zeros((BLOCK, *spec.shape), system.dtype) for spec in execution.specs if spec.when == "step"]
        self._noise, self._block = drawn, NONE
        self._rows = [*self._x, *self._y, *drawn]
        self._observed = np.zeros(BLOCK, bool)
        self._outs = outputs(execution, BLOCK)
        self._place = 0
        super().__init__(execution, noise, carry)

    def _unbind(self) -> None:
        """The arrays are other ones."""
        self._first: int | None = None
        self._bound: dict[bool, Callable[[int, int], int]] = {}

    # ---- one sample

    def step(self, x: Any, y: Any) -> float:
        """One sample, with as little Python as possible around the compiled step."""
        k = self._next()
        observed = None if self.feed else self.reader.put(x, y, self._x, self._y, k)
        if observed is None:
            return super().step(x, y)
        return self._single(k, observed)

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """One sample that has been read."""
        k = self._next()
        for column, value in zip((*self._x, *self._y), (*sample.x, *sample.y), strict=True):
            column[k] = value
        loss = self._single(k, sample.observed)
        return loss, self._outs[1][k].copy()

    def _next(self) -> int:
        """The place of the next sample among the rows."""
        if self.noise.silent:
            k = self._place % BLOCK
        else:
            arrays, k = self.noise.block()
            if arrays is not self._block:
                self._block = arrays
                for mine, drawn in zip(self._noise, arrays, strict=True):
                    mine[...] = drawn
        if k == 0 or self._first is None:
            self._first, self._kept = k, [b.copy() for b in self._buffers]
        return k

    def _single(self, k: int, observed: bool) -> float:
        self._observed[k] = observed
        step = self._bound.get(observed) or self._bind(observed)
        if step(k, k + 1) == k:
            first = self._first
            assert first is not None
            self._restore(self._kept, self._rows, self._observed, first, k)
            self._refuse(self._rows, k, observed)
        self.noise.advance()
        self._place += 1
        self.steps += 1
        return self._outs[0].item(k)

    def _bind(self, observed: bool) -> Callable[[int, int], int]:
        """The compiled step on the arrays of this loop."""
        rows = self._rows if observed else self._without_targets(self._rows)
        stream = self.execution.stream(LEARN if observed else TRANSIT)
        self._bound[observed] = stream.bind(self._buffers, rows, self._outs)
        return self._bound[observed]

    # ---- many samples

    def _run(self, chunk: Chunk) -> Ran:
        """Consecutive samples in as few calls as possible: one for each run of samples with, or without, a target."""
        count = len(chunk.observed)
        if count < 4:
            return super()._run(chunk)
        kept, noise = [b.copy() for b in self._buffers], self.noise.state()
        rows = [*map(np.ascontiguousarray, (*chunk.x, *chunk.y)), *self.noise.take(count)]
        outs = outputs(self.execution, count)
        self._first, before = None, self.steps
        try:
            done, error = self._made(rows, outs, chunk.observed, kept, noise)
        except BaseException:  # Ctrl-C, above all: it comes when the compiled steps return, before they are counted
            if self.steps == before:
                self._put_back(kept)
                self.noise.restore(noise)
            raise
        return Ran(outs[0][:done].astype(float), outs[1][:done], error)

    def _made(self, rows: Any, outs: Any, observed: np.ndarray, kept: Any, noise: Any) -> tuple[int, StepError | None]:
        """Make the steps and count them: how many, and why there are no more."""
        count, start = len(observed), time.perf_counter()
        done = self._go(rows, outs, observed, 0, count)
        if done == count:
            self.steps += count
            self.grain = grain(count, time.perf_counter() - start)
            return done, None
        self._restore(kept, rows, observed, 0, done)
        self.noise.restore(noise)
        self.noise.take(done)
        self.steps += done
        try:
            self._refuse(rows, done, bool(observed[done]))
        except StepError as refusal:
            return done, refusal
        raise AssertionError("a step that is refused raises")

    def _go(self, rows: Any, outs: Any, observed: np.ndarray, start: int, stop: int) -> int:
        """Make some steps; the number of the first that was not finite, or `stop`."""
        for a, b in spans(observed, start, stop):
            kind, given = (LEARN, rows) if observed[a] else (TRANSIT, self._without_targets(rows))
            done = self.execution.stream(kind).bind(self._buffers, given, outs)(a, b)
            if done < b:
                return done
        return stop

    def _without_targets(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        inputs, targets = len(self._x), len(self._y)
        return [*rows[:inputs], *rows[inputs + targets :]]

    def _restore(self, kept: Any, rows: Any, observed: np.ndarray, start: int, stop: int) -> None:
        """The carry as it was, and the steps since then again, up to the one that is refused."""
        self._put_back(kept)
        self._go(rows, outputs(self.execution, stop), observed, start, stop)
        self._first = None

    def _refuse(self, rows: Any, k: int, observed: bool) -> None:
        """Make step k once more, where what it makes can be looked at."""
        if not self.explains:
            raise StepError("the step is refused.", step=self.steps)
        given = rows if observed else self._without_targets(rows)
        function = self.execution.reference(LEARN if observed else TRANSIT)
        try:
            with np.errstate(all="ignore"):
                *carry, loss, _, health = function(*self.view, *(row[k] for row in given))
        except StepError as error:
            error.placed(self.steps)
            raise
        self.check(health, carry, loss, observed, [row[k] for row in rows[: len(self._x)]])
        raise NonFiniteError(
            f"the compiled step refuses step {self.steps}, which NumPy makes: a number is too large to square, or a "
            "matrix\nhas no inverse to rounding. The learner is left as it was before that step. Usual causes: numbers "
            "of very\n"
            f"different sizes, or {self._moves_too_far()}. Or go on with engine='numpy'.",
            step=self.steps,
            quantity="a number too large to square",
        )

    def finish(self) -> None:
        """Nothing is open."""

    def discard(self) -> None:
        """Nothing is open."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing more."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Nothing more."""
