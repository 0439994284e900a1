"""The steps of an open window: state before each, its input, its target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fwdgrad.learning.loops.base import Sample
from fwdgrad.learning.samples import Chunk
from fwdgrad.linear import Segment
from fwdgrad.support.trees import flatten
from fwdgrad.system import System

__all__ = ["Column", "Tape"]


class Column:
    """An array that grows along axis 0; appending takes constant time on average."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._store = np.empty((16, *shape), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> np.ndarray:
        """What is in it: a view."""
        return self._store[: self._count]

    def append(self, row: Any) -> None:
        """One more row."""
        if self._count == len(self._store):
            self._store = np.concatenate([self._store, np.empty_like(self._store)])
        self._store[self._count] = row
        self._count += 1

    def extend(self, rows: np.ndarray) -> None:
        """Many more rows."""
        count = self._count + len(rows)
        if count > len(self._store):
            more = max(count, 2 * len(self._store)) - len(self._store)
            self._store = np.concatenate([self._store, np.empty((more, *self._store.shape[1:]), self._store.dtype)])
        self._store[self._count : count] = rows
        self._count = count

    def pop(self) -> None:
        """Take the last row off."""
        self._count -= 1

    def keep(self, rows: Any) -> None:
        """Only some of the rows."""
        kept = self.rows[rows]
        self._store[: len(kept)] = kept.copy()
        self._count = len(kept)

    def replace(self, rows: np.ndarray) -> None:
        """Other rows, of a checkpoint."""
        if np.ndim(rows) != self._store.ndim or rows.shape[1:] != self._store.shape[1:]:
            raise ValueError(f"rows of shape {np.shape(rows)[1:]}, expected {self._store.shape[1:]}")
        self._store = np.array(rows, self._store.dtype)
        self._store = self._store if len(rows) else np.empty((16, *self._store.shape[1:]), self._store.dtype)
        self._count = len(rows)


class Tape:
    """Samples of consecutive steps, and the state before each of them (if it is stored here)."""

    def __init__(self, system: System, with_states: bool = True) -> None:
        self._state = Column((system.size,), system.dtype)
        self._x = [Column(leaf.shape, leaf.dtype) for leaf in flatten(system.given)]
        self._y = [Column(leaf.shape, leaf.dtype) for leaf in flatten(system.y)]
        self._observed = Column((), bool)
        self._with_states, self._dtype = with_states, system.dtype

    def __len__(self) -> int:
        return len(self._observed)

    def _columns(self) -> list[Column]:
        return [*([self._state] if self._with_states else []), *self._x, *self._y, self._observed]

    def append(self, h: Any, sample: Sample) -> None:
        """One more step."""
        row = [*([h] if self._with_states else []), *sample.x, *sample.y, sample.observed]
        for column, value in zip(self._columns(), row, strict=True):
            column.append(value)

    def extend(self, states: Any, chunk: Chunk) -> None:
        """Many more steps, with the state before each, if they are stored here."""
        rows = [*([states] if self._with_states else []), *chunk.x, *chunk.y, chunk.observed]
        for column, values in zip(self._columns(), rows, strict=True):
            column.extend(values)

    def move(self, states: np.ndarray, chunk: Chunk) -> None:
        """As many steps, but later ones, some of which may have been there before.

        Args:
            states: state before each.
            chunk: the samples that follow those that are there.
        """
        length = len(self)
        for column, rows in zip(self._columns(), (states, *chunk.x, *chunk.y, chunk.observed), strict=True):
            column.replace(np.concatenate([column.rows, rows])[-length:])

    def pop(self) -> None:
        """Take the last step off."""
        for column in self._columns():
            column.pop()

    def drop(self, count: int) -> None:
        """Without the oldest steps."""
        for column in self._columns() if count else []:
            column.keep(slice(count, None))

    def clear(self) -> None:
        """Without any step."""
        for column in self._columns():
            column.keep(slice(0, 0))

    @property
    def states(self) -> np.ndarray:
        """State before each step, shape (T, n)."""
        return self._state.rows

    @property
    def x(self) -> list[np.ndarray]:
        """Inputs, flat, each with a leading axis T."""
        return [column.rows for column in self._x]

    @property
    def samples(self) -> list[np.ndarray]:
        """Inputs and targets, flat, each with a leading axis T."""
        return [column.rows for column in (*self._x, *self._y)]

    @property
    def observed(self) -> np.ndarray:
        """Which steps have a target, shape (T,)."""
        return self._observed.rows

    def inputs(self, start: int, stop: int, length: int) -> list[np.ndarray]:
        """The inputs of some steps, filled up to `length` rows."""
        return [filled(column.rows[start:stop], length) for column in self._x]

    def alive(self, count: int, length: int) -> np.ndarray:
        """1.0 for `count` steps, 0.0 for the filling."""
        return (np.arange(length) < count).astype(self._dtype)

    def segment(
        self, start: int, stop: int, length: int, states: np.ndarray, counted: np.ndarray, factor: Any = None
    ) -> Sequence[np.ndarray]:
        """Some steps as the flat arrays of a `Segment` of `length` rows.

        Args:
            start: the first of them.
            stop: the one after the last.
            length: rows of the segment; filling follows the steps.
            states: state before each of the steps.
            counted: whether the loss of each of the steps counts.
            factor: what the cotangent that arrives from the following step is multiplied by, for each of the steps.
        """
        count = stop - start
        weights = np.zeros(length, self._dtype)
        weights[:count] = counted
        factors = np.ones(length, self._dtype)
        factors[:count] = 1.0 if factor is None else factor
        made = Segment(
            filled(states, length),
            [filled(column.rows[start:stop], length) for column in self._x],
            [filled(column.rows[start:stop], length) for column in self._y],
            weights,
            factors,
            self.alive(count, length),
        )
        return flatten(made)

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        return {f"tape{k}": column.rows for k, column in enumerate(self._columns())}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """From a checkpoint."""
        for k, column in enumerate(self._columns()):
            column.replace(arrays[f"tape{k}"])
        if len({len(column) for column in self._columns()}) > 1:
            raise ValueError("columns of different lengths")


def filled(rows: np.ndarray, length: int) -> np.ndarray:
    """Up to `length` rows, by repeating the last one."""
    if len(rows) == length:
        return rows
    return np.concatenate([rows, np.repeat(rows[-1:], length - len(rows), axis=0)])
