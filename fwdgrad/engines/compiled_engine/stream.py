"""Compiled loops over steps, and entering them with as little ado as possible."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.modules import key_of, load
from fwdgrad.engines.compiled_engine.writing import Argument, Written, write
from fwdgrad.engines.known import remember
from fwdgrad.program import Program

__all__ = ["KEPT", "Stream", "aligned", "compile_stream", "place", "work"]

KEPT = 1 << 22
"""Arrays are remembered from call to call if they have no more bytes: memory would not be let go."""
ALIGNED = 64


class Stream:
    """A program as one compiled loop over steps. Several threads may run one stream, each on a carry of its own.

    Attributes:
        source: its text.
        compile_seconds: how long it took to compile; 0 from the cache.
        nests: the number of nests of loops in a step.
    """

    def __init__(self, written: Written) -> None:
        self._written = written
        self.source, self.nests = written.text, written.nests
        functions, self.compile_seconds = load(written.text)
        self._entry = functions.entry
        self._recent = threading.local()

    def run(self, carry: Sequence[Any], rows: Sequence[Any], outs: Sequence[Any], start: int, stop: int) -> int:
        """Run steps start … stop − 1.

        Args:
            carry: arrays that are changed in place; no two may share memory.
            rows: arrays whose first axis is that of the steps.
            outs: arrays with an axis of steps, which results are written to.
            start: number of the first step.
            stop: number of the step after the last one.

        Returns:
            `stop`, or the number of the first step that is refused, because its health is not finite, an index is out
            of range, or a matrix has no inverse; it has been executed then, and the carry is of no use any more.

        Raises:
            ValueError: an array has not the shape, dtype or memory layout that was compiled for, or there are no such
                steps.
        """
        arrays = (*carry, *rows, *outs)
        recent = getattr(self._recent, "bound", None)
        if recent is not None and len(recent[0]) == len(arrays) and all(map(is_, recent[0], arrays)):
            return recent[1](start, stop)
        bound = self.bind(carry, rows, outs)
        if sum(a.nbytes for a in (*rows, *outs)) <= KEPT:
            self._recent.bound = arrays, bound
        return bound(start, stop)

    def bind(self, carry: Sequence[Any], rows: Sequence[Any], outs: Sequence[Any]) -> Callable[[int, int], int]:
        """`run` for these arrays, as a function of `start` and `stop`: the quickest way to run many single steps.

        It has memory of its own to work in: threads need one each.
        """
        w = self._written
        for label, given, expected in (("carry", carry, w.carry), ("rows", rows, w.rows), ("outs", outs, w.outs)):
            if len(given) != len(expected):
                raise ValueError(f"{label}: expected {len(expected)} arrays, got {len(given)}")
            for array, argument in zip(given, expected, strict=True):
                _check(label, array, argument)
        written = [place(a) for a in (*carry, *outs) if a.size]
        if len(set(written)) != len(written):
            raise ValueError("two arrays that are written to are the same")
        memory, places = work(w.work)
        arrays = (*carry, *rows, *outs, *w.constants)
        table = np.array([*map(place, arrays), *places], np.int64)
        steps = min((len(a) for a in (*rows, *outs)), default=1 << 62)
        entry, address = self._entry, place(table)
        alive = (arrays, table, memory)

        def bound(start: int, stop: int, _: Any = alive) -> int:
            if 0 <= start <= stop <= steps:
                return entry(address, start, stop)
            raise ValueError(f"steps {start} to {stop} of {steps}")

        return bound


def aligned(array: Any) -> np.ndarray:
    """A copy whose memory begins at the beginning of a cache line: steps with large matrices take a tenth less."""
    like = np.asarray(array)
    memory = np.empty(like.nbytes + ALIGNED, np.uint8)
    first = -place(memory) % ALIGNED
    copy = memory[first : first + like.nbytes].view(like.dtype).reshape(like.shape)
    copy[...] = like
    return copy


def place(array: np.ndarray) -> int:
    """The address of an array."""
    return array.__array_interface__["data"][0]


def _check(label: str, array: Any, argument: Argument) -> None:
    shape = array.shape if label == "carry" else array.shape[1:]
    axes = len(argument.shape) + (label != "carry")
    if shape != argument.shape or array.ndim != axes or array.dtype != argument.dtype:
        expected = f"{'' if label == 'carry' else 'steps × '}{argument.shape} {argument.dtype}"
        raise ValueError(f"{label} {argument.name}: expected {expected}, got {array.shape} {array.dtype}")
    if not array.flags.c_contiguous or (label != "rows" and not array.flags.writeable):
        raise ValueError(f"{label} {argument.name}: expected a C-contiguous array that may be written to")


def work(arguments: Sequence[Argument]) -> tuple[np.ndarray, list[int]]:
    """Memory for work arrays, and their addresses."""
    offsets, total = [], 0
    for argument in arguments:
        offsets.append(total)
        total += -(-argument.size * argument.dtype.itemsize // ALIGNED) * ALIGNED
    memory = np.empty(total + ALIGNED, np.uint8)
    first = -(-place(memory) // ALIGNED) * ALIGNED
    return memory, [first + o for o in offsets]


def compile_stream(program: Program, carried: int) -> Stream:
    """A program from (carry…, rows…) to (carry…, results…, health) as a loop over steps.

    Args:
        program: its last output is a single number, finite exactly if the step was sound.
        carried: length of the carry.

    Raises:
        UnsupportedOperation: an operation cannot be compiled.
    """
    stream = Stream(write(program, carried))
    remember(program, carried, key_of(stream.source))
    return stream
