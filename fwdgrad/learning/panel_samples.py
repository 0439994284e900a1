"""Reading samples of many streams: a leading axis of streams, targets missing in some, sequences of unequal length."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.errors import DataError
from fwdgrad.learning.samples import Chunk, SampleReader
from fwdgrad.linear import Model
from fwdgrad.panels import ENDED, STARTS, PanelSystem
from fwdgrad.support.trees import flatten, leaf_names, map_leaves, unflatten

__all__ = ["Packed", "PanelReader", "packed", "reader_for"]


def reader_for(model: Model) -> SampleReader:
    """What turns samples into arrays for a model."""
    return PanelReader(model) if isinstance(model.system, PanelSystem) else SampleReader(model)


class Packed(NamedTuple):
    """Sequences in streams, one after the other: arrays (T, streams, …), and what each stream does, (T, streams)."""

    xs: Any
    ys: Any
    does: np.ndarray


class PanelReader(SampleReader):
    """Turns samples of all streams into arrays.

    Inputs and targets have an axis of streams, after that of time. The target of a stream is missing if it is NaN
    throughout, or masked.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        system = model.system
        assert isinstance(system, PanelSystem)
        self.panel: PanelSystem = system
        self._like = None if system.one.x is None else system.x["x"]
        self._x, self._x_names = flatten(self._like), leaf_names(self._like, "x")
        self._x_bounds = model.x_bounds[: len(self._x)]
        self._goes_on = np.zeros(system.count, system.dtype)
        self._user_y = system.y if system.plain_targets else system.y["y"]
        self._y_names = [*leaf_names(self._user_y, "y"), "there"][: len(self._y)]

    def input(self, x: Any, step: int = 0) -> list[np.ndarray]:
        """One input of every stream."""
        return [*super().input(x, step), self._goes_on.copy()]

    def sample(self, x: Any, y: Any, step: int = 0) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
        """One sample of every stream."""
        targets, observed = self._targets(None if y is None else self._one(y, self._user_y, "y"), 1, step)
        return self.input(x, step), [a[0] for a in targets], bool(observed[0])

    def chunks(
        self, xs: Any, ys: Any, steps: int | None, start: int, does: np.ndarray | None = None
    ) -> Iterator[Chunk]:
        """As of `SampleReader`, with what every stream does, shape (T, streams)."""
        done = 0
        for chunk in super().chunks(xs, ys, steps, start):
            length = len(chunk.observed)
            rows = np.zeros((length, self.panel.count), self.panel.dtype)
            if does is not None:
                if len(does) < done + length:
                    raise DataError(f"run(starts=…): expected a row for each sample, got {len(does)} rows.")
                rows[:] = does[done : done + length]
            done += length
            yield chunk._replace(x=[*chunk.x[: len(self._x)], rows])

    def sequences(self, xs: Any, ys: Any, steps: int | None, start: int, starts: Any = None) -> Iterator[Chunk]:
        """Arrays, iterables, or lists of sequences, one or more a stream."""
        if isinstance(xs if xs is not None else ys, list):
            if starts is not None:
                raise DataError("run(starts=…): sequences in a list start where they begin; leave it out.")
            made = packed(xs, ys, self.panel)
            return self.chunks(made.xs, made.ys, steps, start, made.does)
        if starts is None:
            return self.chunks(xs, ys, steps, start)
        does = np.asarray(starts)
        if does.ndim != 2 or does.shape[1] != self.panel.count or does.dtype != bool:
            raise DataError(
                f"run(starts=…): expected truth values of shape (T, {self.panel.count}), one a sample and stream; got "
                f"{does.dtype} of shape {does.shape}."
            )
        return self.chunks(xs, ys, steps, start, np.where(does, STARTS, 0.0))

    def _targets(self, ys: Any, length: int, start: int) -> tuple[list[np.ndarray], np.ndarray]:
        panel = self.panel
        if ys is None:
            return super()._targets(None, length, start)
        values = [
            np.ma.asanyarray(v) if np.ma.isMaskedArray(v) else np.asarray(v) for v in flatten(_values(ys, self._user_y))
        ]
        likes = flatten(self._user_y)
        if panel.plain_targets or any(v.shape[1:2] != (panel.count,) for v in values):
            return super()._targets(
                ys if panel.plain_targets else {"y": ys, "there": np.ones((length, panel.count))}, length, start
            )
        missing, made = np.ones((length, panel.count), bool), []
        for value, like in zip(values, likes, strict=True):
            gone = np.ma.getmaskarray(value) if np.ma.isMaskedArray(value) else np.zeros(value.shape, bool)
            data = np.ma.getdata(value)
            if np.issubdtype(data.dtype, np.floating):
                gone = gone | np.isnan(data)
            absent = gone.reshape(length, panel.count, -1).all(axis=2)
            missing &= absent
            whole = absent.reshape(absent.shape + (1,) * (like.ndim - 1))
            made.append(np.where(whole, 0, np.where(gone & ~whole, np.nan, data) if (gone & ~whole).any() else data))
        there = (~missing).astype(panel.dtype)
        arrays, _ = super()._targets({"y": unflatten(self._user_y, made), "there": there}, length, start)
        return arrays, np.asarray(there.any(axis=1))


def _values(tree: Any, like: Any) -> Any:
    """Targets in the order of the declared ones."""
    if isinstance(like, dict) and isinstance(tree, dict):
        return {k: _values(tree[k], like[k]) for k in like if k in tree}
    return tree


def packed(xs: Any, ys: Any, panel: PanelSystem) -> Packed:
    """Lists of sequences, each in the stream that is free first.

    Args:
        xs: a list with the inputs of each sequence, in the containers of the system; None for an autonomous one.
        ys: a list with their targets.
        panel: what they are for.

    Raises:
        DataError: there are not as many of inputs as of targets, fewer than streams, or one is empty.
    """
    if xs is not None and ys is not None and len(xs) != len(ys):
        raise DataError(f"run: expected as many sequences of inputs as of targets, got {len(xs)} and {len(ys)}.")
    count = len(ys if ys is not None else xs)
    if count < panel.count:
        raise DataError(f"run: {count} sequences for {panel.count} streams; some would have none. Take fewer streams.")
    lengths = [
        _length(number, x, y)
        for number, (x, y) in enumerate(zip(xs or [None] * count, ys or [None] * count, strict=True))
    ]
    places, free = [], [(0, k) for k in range(panel.count)]
    heapq.heapify(free)
    for length in lengths:
        begin, stream = heapq.heappop(free)
        places.append((begin, stream))
        heapq.heappush(free, (begin + length, stream))
    total = max(begin for begin, _ in free)
    does = np.full((total, panel.count), ENDED)
    for (begin, stream), length in zip(places, lengths, strict=True):
        does[begin : begin + length, stream] = 0.0
        does[begin, stream] = STARTS
    inputs = None if xs is None else _filled(xs, places, (total, panel.count), None)
    targets = None if ys is None else _filled(ys, places, (total, panel.count), np.nan)
    return Packed(inputs, targets, does)


def _length(number: int, x: Any, y: Any) -> int:
    lengths = {len(leaf) for tree in (x, y) for leaf in flatten(tree)}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(
            f"run: sequence {number} has inputs and targets of lengths {sorted(lengths)}; expected one, above 0."
        )
    return lengths.pop()


def _filled(sequences: Sequence[Any], places: list[tuple[int, int]], shape: tuple[int, int], gap: Any) -> Any:
    """Sequences at their places; where there is none, the last row of the stream, or, if `gap` is given, nothing."""
    made = []
    for k, first in enumerate(flatten(sequences[0])):
        arrays = [np.ma.asanyarray(flatten(s)[k]) if gap is not None else np.asarray(flatten(s)[k]) for s in sequences]
        like = np.asarray(first)
        out: Any = np.zeros((*shape, *like.shape[1:]), np.result_type(*(a.dtype for a in arrays)))
        if gap is not None:
            out = np.ma.masked_all(out.shape, out.dtype)
            out.data[...] = 0
        for (begin, stream), array in zip(places, arrays, strict=True):
            out[begin : begin + len(array), stream] = array
            if gap is None:
                out[begin + len(array) :, stream] = array[-1]
        made.append(out)
    return unflatten(map_leaves(np.asarray, sequences[0]), made)
