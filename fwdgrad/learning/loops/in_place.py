"""A carry that compiled steps change in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fwdgrad.learning.execution import Execution
from fwdgrad.learning.loops.base import Loop
from fwdgrad.learning.samples import CHUNK
from fwdgrad.support.types import Flat

__all__ = ["InPlace", "grain", "outputs", "spans"]

PIECE = 0.05
"""Seconds between two looks at the progress bar, about."""


class InPlace(Loop):
    """A loop whose carry stays in the same arrays, which compiled streams are bound to."""

    @property
    def carry(self) -> Flat:
        """All that is learned and remembered: copies."""
        return tuple(np.array(b) for b in self._buffers)

    @carry.setter
    def carry(self, carry: Flat) -> None:
        self._buffers = [self.execution.held(leaf) for leaf in carry]
        self._unbind()

    @property
    def view(self) -> Flat:
        """The same arrays as are changed in place, to be read at once."""
        return tuple(np.asarray(b) for b in self._buffers)

    @property
    def state(self) -> Any:
        """h alone, since bringing all of the carry from a device takes its time."""
        return np.asarray(self._buffers[0])

    def _unbind(self) -> None:
        """The arrays are other ones."""

    def _put_back(self, kept: Sequence[np.ndarray]) -> None:
        """The carry as it was."""
        for mine, copy in zip(self._buffers, kept, strict=True):
            mine[...] = copy


def outputs(execution: Execution, *count: int) -> list[np.ndarray]:
    """Arrays for losses and predictions of so many steps; losses of samples without a target stay NaN."""
    like, dtype = execution.system.prediction, execution.system.dtype
    return [np.full(count, np.nan, dtype), np.zeros((*count, *like.shape), like.dtype)]


def grain(count: int, seconds: float) -> int:
    """How many steps had best be made at a time, when so many have taken so long."""
    return int(min(max(PIECE / max(seconds, 1e-9) * count, 8), 2 * count, CHUNK))


def spans(kinds: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The runs of equal values between two places."""
    cuts = np.flatnonzero(np.diff(kinds[start:stop])) + start + 1
    edges = [start, *cuts.tolist(), stop]
    return ((a, b) for a, b in pairwise(edges) if a < b)
