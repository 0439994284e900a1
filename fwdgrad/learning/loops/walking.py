"""The steps inside of a window, by a compiled stream: the state goes on, and nothing is learned yet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.learning.execution import Execution, Flat
from fwdgrad.learning.loops.base import Sample
from fwdgrad.learning.loops.in_place import InPlace, outputs
from fwdgrad.learning.noise import NoiseStream
from fwdgrad.learning.samples import Chunk
from fwdgrad.support.trees import flatten

__all__ = ["Walking"]


class Walking(InPlace):
    """A loop that goes through windows in place."""

    def __init__(self, execution: Execution, noise: NoiseStream, carry: Flat) -> None:
        given, y = flatten(execution.system.given), flatten(execution.system.y)
        self._sample = [*(np.zeros((1, *leaf.shape), leaf.dtype) for leaf in (*given, *y)), self._weights(execution, 1)]
        self._seen = self._outputs(execution, 1)
        super().__init__(execution, noise, carry)

    def _unbind(self) -> None:
        """The arrays are other ones."""
        self._one: Callable[[int, int], int] | None = None

    def _walk(self, sample: Sample) -> tuple[float, Any]:
        """One step: loss (NaN without a target) and prediction.

        Raises:
            StepError: it is refused. The state is what it was.
        """
        for column, value in zip(self._sample, (*sample.x, *sample.y, sample.observed), strict=True):
            column[0] = value
        if self._one is None:
            self._one = self.execution.stream("walk").bind(self._buffers, self._sample, self._seen)
        before, losses, predictions = self._seen
        if self._one(0, 1) == 0:
            self._buffers[0][...] = before[0]
            return self._walk_plainly(sample)
        return losses.item(0), predictions[0].copy()

    def _walk_plainly(self, sample: Sample) -> tuple[float, Any]:
        """The same on NumPy, where what it makes can be looked at."""
        h, loss, prediction, health = self.execution.plain.forward(self.view, sample.x, sample.y)
        loss = float(loss) if sample.observed else math.nan
        carry = (h, *self.view[1:])
        self.check(health + loss if sample.observed else health, carry, loss, sample.observed, sample.x)
        self._buffers[0][...] = h
        return loss, prediction

    def _stretch(self, chunk: Chunk) -> list[np.ndarray]:
        """Steps up to the first that is refused: state before each, loss, prediction. The state is that after them."""
        count = len(chunk.observed)
        outs, weights = self._outputs(self.execution, count), self._weights(self.execution, count)
        weights[...] = chunk.observed
        rows = [*map(np.ascontiguousarray, (*chunk.x, *chunk.y)), weights]
        done = self.execution.stream("walk").bind(self._buffers, rows, outs)(0, count)
        if done < count:
            self._buffers[0][...] = outs[0][done]
        return [out[:done] for out in outs]

    @staticmethod
    def _weights(execution: Execution, *count: int) -> np.ndarray:
        """1.0 for what counts, or is there."""
        return np.ones(count, execution.system.dtype)

    @staticmethod
    def _outputs(execution: Execution, count: int) -> list[np.ndarray]:
        """Arrays for the state before each step, losses and predictions."""
        system = execution.system
        return [np.zeros((count, system.size), system.dtype), *outputs(execution, count)]
