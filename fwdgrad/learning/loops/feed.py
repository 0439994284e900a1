"""What a transition is given beside the user's input: whether a trajectory starts, and the sample before."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.learning.samples import Chunk
from fwdgrad.support.trees import flatten
from fwdgrad.system import OWN, System

__all__ = ["Feed"]


class Feed:
    """The inputs that `System.first`, a learned initial state and a correction ask for; none for any other system.

    Attributes:
        row: what the next sample is to be given: how it starts, and the input and target of the sample before.
    """

    def __init__(self, system: System) -> None:
        self._starts, self._sees = system.marked, system.corrects
        x, y = (flatten(system.x), flatten(system.y)) if self._sees else ([], [])
        self._nothing = [*x, *(np.full_like(leaf, np.nan) for leaf in y)]
        self._flag = np.zeros(np.shape(system.given["start"]) if self._starts else (), system.dtype)
        self.row: list[Any] = []
        self.restart(OWN)

    def __bool__(self) -> bool:
        return bool(self.row)

    def restart(self, start: float) -> None:
        """A new trajectory, from the system's OWN initial state or a GIVEN one: nothing has been seen."""
        flag = [np.full_like(self._flag, start)] if self._starts else []
        self.row = [*flag, *self._nothing]

    def extend(self, chunk: Chunk) -> Chunk:
        """A chunk with these inputs added to those of the user."""
        length = len(chunk.observed)
        columns = []
        if self._starts:
            columns.append(np.zeros((length, *self._flag.shape), self._flag.dtype))
        if self._sees:
            columns += [np.empty_like(a) for a in (*chunk.x, *chunk.y)]
            for column, values in zip(columns[-len(chunk.x) - len(chunk.y) :], self._seen(chunk), strict=True):
                column[1:] = values[:-1]
        for column, first in zip(columns, self.row, strict=True):
            column[0] = first
        return Chunk([*chunk.x, *columns], chunk.y, chunk.observed)

    def advance(self, chunk: Chunk, made: int) -> None:
        """So many samples of a chunk, as the user gave it, have been gone through."""
        if not made:
            return
        flag = [np.zeros_like(self._flag)] if self._starts else []
        self.row = [*flag, *(np.array(a[made - 1]) for a in self._seen(chunk))]

    def _seen(self, chunk: Chunk) -> list[np.ndarray]:
        """Inputs and targets, NaN where a target is missing."""
        if not self._sees:
            return []
        gone = [np.reshape(~chunk.observed, (-1,) + (1,) * (a.ndim - 1)) for a in chunk.y]
        return [*chunk.x, *(np.where(g, np.nan, a).astype(a.dtype) for g, a in zip(gone, chunk.y, strict=True))]
