"""The steps inside of a window, by a compiled stream: the state goes on, and nothing is learned yet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.base import Sample
from fwdgrad.learning.loops.in_place import InPlace, outputs
from fwdgrad.learning.noise import BLOCK, NoiseStream
from fwdgrad.learning.samples import Chunk
from fwdgrad.learning.step.kinds import FORWARD, WALK
from fwdgrad.support.trees import flatten
from fwdgrad.support.types import Flat

__all__ = ["Walking"]


class Walking(InPlace):
    """A loop that goes through windows in place."""

    def __init__(self, execution: Execution, noise: NoiseStream, carry: Flat) -> None:
        system = execution.system
        leaves = (*flatten(system.given), *flatten(system.y), np.zeros((), system.dtype))
        self._rows_inside = [np.zeros((BLOCK, *leaf.shape), leaf.dtype) for leaf in leaves]
        self._outs_inside = [np.zeros((BLOCK, system.size), system.dtype), *outputs(execution, BLOCK)]
        super().__init__(execution, noise, carry)

    def _unbind(self) -> None:
        """The arrays are other ones."""
        self._step_inside: Callable[[int, int], int] | None = None

    def _walked(self, count: int) -> int:
        """Make so many steps from the first row on; how many were made. The state is that after these."""
        if self._step_inside is None:
            stream = self.execution.stream(WALK)
            self._step_inside = stream.bind(self._buffers, self._rows_inside, self._outs_inside)
        done = self._step_inside(0, count)
        if done < count:
            self._buffers[0][...] = self._outs_inside[0][done]
        return done

    def _walk(self, sample: Sample) -> tuple[float, Any]:
        """One step: loss (NaN without a target) and prediction.

        Raises:
            StepError: it is refused. The state is what it was.
        """
        for column, value in zip(self._rows_inside, (*sample.x, *sample.y, sample.observed), strict=True):
            column[0] = value
        if self._walked(1) == 0:
            return self._walk_plainly(sample)
        _, losses, predictions = self._outs_inside
        return losses.item(0), predictions[0].copy()

    def _walk_plainly(self, sample: Sample) -> tuple[float, Any]:
        """The same on NumPy, where what it makes can be looked at."""
        h, loss, prediction, health = self.execution.plain.make(FORWARD, self.view, sample.x, sample.y)
        loss = float(loss) if sample.observed else math.nan
        carry = (h, *self.view[1:])
        self.check(health + loss if sample.observed else health, carry, loss, sample.observed, sample.x)
        self._buffers[0][...] = h
        return loss, prediction

    def _stretch(self, chunk: Chunk) -> list[np.ndarray]:
        """Steps up to the first that is refused: state before each, loss, prediction. The state is that after them."""
        count, at = len(chunk.observed), 0
        made: list[list[np.ndarray]] = []
        while at < count:
            stop = min(at + BLOCK, count)
            for rows, column in zip(self._rows_inside, (*chunk.x, *chunk.y, chunk.observed), strict=True):
                rows[: stop - at] = column[at:stop]
            done = self._walked(stop - at)
            made.append([out[:done].copy() for out in self._outs_inside])
            at += done
            if at < stop:
                break
        return [np.concatenate(column) for column in zip(*made, strict=True)]
