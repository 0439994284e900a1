"""Windows without a fixed length, whose steps are made by a compiled stream."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from fwdgrad.learning.loops.base import Ran, Sample
from fwdgrad.learning.loops.in_place import grain
from fwdgrad.learning.loops.unbounded import Unbounded
from fwdgrad.learning.loops.walking import Walking
from fwdgrad.learning.samples import Chunk

__all__ = ["CompiledSequence"]


class CompiledSequence(Walking, Unbounded):
    """`Unbounded`, with many steps in one call up to where a window ends."""

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """Forward; if the window ends here, learn."""
        tape, states, before = self._tape, self._states, self._buffers[0].copy()
        steps, kept = len(tape), len(states)
        try:
            loss, prediction = self._walk(sample)
            if steps % self._spacing == 0:
                states.append(before)
            tape.append(None, sample)
            if self._probability and self.noise.peek()[0] < self._probability:
                self._put_back(self._learn(self.view, loss))
                self.discard()
        except BaseException:
            self._buffers[0][...] = before
            if len(tape) > steps:
                tape.pop()
            if len(states) > kept:
                states.pop()
            raise
        self._thin_out()
        self.noise.advance()
        self.steps += 1
        return loss, prediction

    def finish(self) -> None:
        """Learn from the sequence."""
        if len(self._tape):
            self._put_back(self._learn(self.view, math.nan))
        self.discard()

    def _run(self, chunk: Chunk) -> Ran:
        """Consecutive samples, many in one call where no window ends."""
        count, at, made, error, start = len(chunk.observed), 0, [], None, time.perf_counter()
        stops = iter([*self._ends(count), count])
        stop = next(stops)
        while at < count and error is None:
            ran = self._inside(chunk.part(at, stop)) if stop - at > 1 else None
            if ran is None or not len(ran.losses):  # one by one, what is refused is found
                ran = super()._run(chunk.part(at, at + 1))
            made.append(ran)
            at, error = at + len(ran.losses), ran.error
            while at > stop:
                stop = next(stops)
        self.grain = grain(count, time.perf_counter() - start)
        losses, predictions, _ = zip(*made, strict=True)
        return Ran(np.concatenate(losses), np.concatenate(predictions), error)

    def _ends(self, count: int) -> list[int]:
        """Those of the next samples that end a window."""
        if not self._probability:
            return []
        before = self.noise.state()
        (drawn,) = self.noise.take(count)
        self.noise.restore(before)
        return np.flatnonzero(drawn < self._probability).tolist()

    def _inside(self, chunk: Chunk) -> Ran:
        """Steps that end no window, up to the first that is refused."""
        h, before = self._buffers[0].copy(), self.steps
        try:
            states, losses, predictions = self._stretch(chunk)
            self.steps += len(losses)
        except BaseException:
            if self.steps == before:
                self._buffers[0][...] = h
            raise
        done = len(losses)
        self._store(states, len(self._tape))
        self._tape.extend(None, chunk.part(0, done))
        self.noise.take(done)
        return Ran(losses.astype(float), predictions, None)

    def _store(self, states: np.ndarray, number: int) -> None:
        """Of the states before consecutive steps, from this number on, keep those that are to be kept."""
        at = 0
        while at < len(states):
            first = at + -(number + at) % self._spacing
            room = 2 * self._spacing - len(self._states) if self._thin else len(states)
            kept = states[first :: self._spacing][:room]
            if not len(kept):
                return
            self._states.extend(kept)
            at = first + (len(kept) - 1) * self._spacing + 1
            self._thin_out()
