"""Windows of a fixed number of steps, each of them one step of a compiled stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.base import GRAIN, Ran, Sample
from fwdgrad.learning.loops.in_place import grain, outputs, spans
from fwdgrad.learning.loops.tape import filled
from fwdgrad.learning.loops.walking import Walking
from fwdgrad.learning.loops.windowed import Windowed
from fwdgrad.learning.noise import BLOCK, NoiseStream
from fwdgrad.learning.samples import Chunk
from fwdgrad.learning.step.kinds import IDLE, WINDOW
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Flat

__all__ = ["CompiledWindows"]

Bound = dict[str, Callable[[int, int], int]]


class CompiledWindows(Walking, Windowed):
    """`Windowed`, by compiled streams.

    Where many samples are given, full windows are steps of one stream. Samples in front of these and behind them, and
    single ones, are walked through and kept; when their window is full, it is a step of the same stream, from the state
    before it on. So what is learned does not depend on how samples come.

    A window that is refused is gone through on NumPy, sample by sample, which finds what is wrong, and with which of
    them. For single samples, a copy of the carry is kept from a few windows earlier, to go back to.
    """

    def __init__(self, execution: Execution, noise: NoiseStream, carry: Flat) -> None:
        super().__init__(execution, noise, carry)
        system, held = execution.system, max(BLOCK // self._stride, 1)
        samples = (*flatten(system.given), *flatten(system.y))
        self._older = [np.zeros_like(leaf) for leaf in flatten(execution.older)]
        self._drawn = [np.zeros(spec.shape, system.dtype) for spec in execution.specs if spec.when == "step"]
        self._counted, self._alive = (np.ones((held, self._stride), system.dtype) for _ in range(2))
        self._noise = [np.zeros((held, *leaf.shape), leaf.dtype) for leaf in self._drawn]
        self._samples = [np.zeros((held, self._stride, *leaf.shape), leaf.dtype) for leaf in samples]
        self._rows = [*self._samples, self._counted, self._alive, *self._noise]
        self._outs = outputs(execution, held, self._stride)
        self._fit(GRAIN)

    def _fit(self, steps: int) -> None:
        """Take about so many samples at a time, and full windows."""
        self.grain = max(steps // self._stride, 1) * self._stride

    def _unbind(self) -> None:
        super()._unbind()
        self._bound: Bound = {}
        self._forget()

    def _forget(self) -> None:
        """Keep another copy at the next window."""
        self._kept: list[np.ndarray] = []
        self._place = 0

    # ---- one sample

    def learn(self, sample: Sample) -> tuple[float, Any]:
        """Forward; after s steps, learn."""
        tape, count, before = self._tape, len(self._tape), self._buffers[0].copy()
        try:
            loss, prediction = self._walk(sample)
            tape.append(before, sample)
            if self._new + 1 == self._stride:
                leaving = self._stride if len(tape) == self._length else 0
                if not leaving or not self._learn_window(self._stride):
                    self.carry = self._learn(self.carry, self._stride, leaving, loss)
                tape.drop(leaving)
                self._new = 0
            else:
                self._new += 1
        except BaseException:
            self._buffers[0][...] = before
            if len(tape) > count:
                tape.pop()
            raise
        self.steps += 1
        return loss, prediction

    def finish(self) -> None:
        """Learn from the losses that have not been learned from, and carry the influence over all steps."""
        count = len(self._tape)
        if count and (self._older or not self._learn_window(count)):
            self.carry = self._learn(self.carry, self._new, count, np.nan)
        self.discard()

    def discard(self) -> None:
        """Drop the steps of the window."""
        super().discard()
        self._forget()

    def _learn_window(self, count: int) -> bool:
        """A step of the stream of windows with the newest samples, from the state before them; whether it is made.

        It is not if it does not end in the state that the samples were walked to, as parameters were set in between.
        """
        tape, h = self._tape, self._buffers[0]
        after = h.copy()
        h[...] = tape.states[-count]
        if not self._kept:
            self._take_older()
            self._kept = self._copied()
        k = self._place
        for rows, column in zip(self._samples, tape.samples, strict=True):
            rows[k] = filled(column[-count:], self._stride)
        self._counted[k], self._alive[k] = 0.0, tape.alive(count, self._stride)
        self._counted[k, :count] = tape.observed[-count:]
        if self.execution.has_influence:
            for rows, drawn in zip(self._noise, self.noise.peek(), strict=True):
                rows[k] = drawn
        try:
            made = self._make(self._bound, self._rows, self._outs, k, k + 1) > k and _same(h, after)
        except BaseException:  # Ctrl-C, which comes when the compiled step returns
            self._go_back(after)
            raise
        if not made:
            self._go_back(after)
            return False
        if self.execution.has_influence:
            self.noise.advance()
        self._place += 1
        if self._place == len(self._alive):
            self._forget()
        return True

    def _go_back(self, h: np.ndarray) -> None:
        """As it was before the last window, but for the state: it is that after the window's samples."""
        self._put_back(self._kept)
        self._make(self._bound, self._rows, self._outs, 0, self._place)
        self._buffers[0][...] = h
        self._forget()

    # ---- many samples

    def _run(self, chunk: Chunk) -> Ran:
        """Consecutive samples in as few calls as possible."""
        count, at, made, error = len(chunk.observed), 0, [], None
        while at < count and error is None:
            left = self._stride - self._new
            rested = len(self._tape) == self._length - self._stride and not self._new
            ran = None
            if rested and at + self._stride <= count:
                ran = self._windows(chunk.part(at, at + (count - at) // self._stride * self._stride))
            elif min(left - 1, count - at) > 1:
                ran = self._inside(chunk.part(at, min(at + left - 1, count)))
            if ran is None or not len(ran.losses):  # one by one, what is refused is found
                ran = super()._run(chunk.part(at, min(at + left, count)))
            made.append(ran)
            at, error = at + len(ran.losses), ran.error
        losses, predictions, _ = zip(*made, strict=True)
        return Ran(np.concatenate(losses), np.concatenate(predictions), error)

    def _inside(self, chunk: Chunk) -> Ran:
        """Steps that end no window, up to the first that is refused."""
        h, steps = self._buffers[0].copy(), self.steps
        try:
            states, losses, predictions = self._stretch(chunk)
            done = len(losses)
            self.steps += done
        except BaseException:
            if self.steps == steps:
                self._buffers[0][...] = h
            raise
        self._tape.extend(states, chunk.part(0, done))
        self._new += done
        return Ran(losses.astype(float), predictions, None)

    def _windows(self, chunk: Chunk) -> Ran:
        """Full windows, up to the first that is refused."""
        count, execution = len(chunk.observed) // self._stride, self.execution
        self._forget()
        self._take_older()
        kept, noise, steps = self._copied(), self.noise.state(), self.steps
        shape = (count, self._stride)
        counted = chunk.observed.reshape(shape).astype(execution.system.dtype)
        samples = [np.ascontiguousarray(a).reshape(*shape, *a.shape[1:]) for a in (*chunk.x, *chunk.y)]
        outs = outputs(execution, *shape)
        start = time.perf_counter()
        try:
            rows = [*samples, counted, np.ones_like(counted), *self._take(count)]
            done = self._make({}, rows, outs, 0, count)
            if done < count:
                self._put_back(kept)
                self._make({}, rows, outputs(execution, *shape), 0, done)
                self.noise.restore(noise)
                self._take(done)
            self.steps += done * self._stride
        except BaseException:  # Ctrl-C, above all: it comes when the compiled steps return, before they are counted
            if self.steps == steps:
                self._put_back(kept)
                self.noise.restore(noise)
            raise
        made = done * self._stride
        if self._older and made:
            self._tape.move(self._older[0], chunk.part(0, made))
        if done == count:
            self._fit(grain(made, time.perf_counter() - start))
        losses, predictions = (out[:done].reshape(made, *out.shape[2:]) for out in outs)
        return Ran(losses.astype(float), predictions, None)

    # ---- the stream of windows

    def _make(self, bound: Bound, rows: list[np.ndarray], outs: list[np.ndarray], start: int, stop: int) -> int:
        """Make some windows; the number of the first that was refused, or `stop`. `bound` is for the same arrays."""
        observed = np.any(rows[len(self._samples)] > 0, axis=1)
        for a, b in spans(observed, start, stop):
            kind = WINDOW if observed[a] else IDLE
            if kind not in bound:
                bound[kind] = self.execution.stream(kind).bind([*self._buffers, *self._older], rows, outs)
            done = bound[kind](a, b)
            if done < b:
                return done
        return stop

    def _take(self, count: int) -> list[np.ndarray]:
        """Random numbers for so many windows."""
        if self.execution.has_influence:
            return self.noise.take(count)
        return [np.zeros((count, *leaf.shape), leaf.dtype) for leaf in self._drawn]

    def _take_older(self) -> None:
        """The steps that stay in the window, as the stream hands them on."""
        for mine, rows in zip(self._older, (self._tape.states, *self._tape.x), strict=False):
            mine[...] = rows[: len(mine)]

    def _copied(self) -> list[np.ndarray]:
        return [array.copy() for array in (*self._buffers, *self._older)]

    def _put_back(self, kept: Sequence[np.ndarray]) -> None:
        """The carry as it was."""
        for mine, copy in zip((*self._buffers, *self._older), kept, strict=True):
            mine[...] = copy


def _same(h: np.ndarray, other: np.ndarray) -> bool:
    """Whether two states differ by rounding at most."""
    return np.array_equal(h, other) or bool(np.allclose(h, other, rtol=1e-8, atol=1e-12 * np.max(np.abs(h))))
