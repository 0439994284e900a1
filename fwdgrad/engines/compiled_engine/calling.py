"""Compiled programs as functions of arrays, called with as little ado as possible."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from operator import is_not
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.entering import DATA
from fwdgrad.engines.compiled_engine.modules import key_of, load
from fwdgrad.engines.compiled_engine.stream import KEPT, place, work
from fwdgrad.engines.compiled_engine.writing import Argument, Written, write
from fwdgrad.engines.known import remember
from fwdgrad.program import Program
from fwdgrad.program.guarded import refused

__all__ = ["compile_program", "source"]


def compile_program(program: Program) -> Callable[..., tuple[Any, ...]]:
    """A function that computes `program`: flat arrays in, flat tuple of new arrays out. Threads may share it.

    It raises a `StepError` if an index is out of range, or a matrix has no inverse; a TypeError or ValueError if it is
    not called with arrays of the right number and shapes.

    Raises:
        UnsupportedOperation: an operation cannot be compiled.
    """
    written = write(program, None)
    functions, _ = load(written.text)
    remember(program, None, key_of(written.text))
    compiled, results = functions.call, [(o.shape, o.dtype) for o in written.outs]
    own = threading.local()

    def call(*arguments: Any) -> tuple[Any, ...]:
        try:
            bench = own.bench
        except AttributeError:
            bench = own.bench = _Bench(program, written)
        arrays = bench.take(arguments)
        outs = [np.empty(shape, dtype) for shape, dtype in results]
        if compiled(bench.table, *arrays, *outs) == 0:
            raise refused(program, arguments)
        return tuple(outs)

    return call


def source(program: Program, carried: int | None = None) -> str:
    """The text that is compiled for a program: see `compile_program` and, with `carried`, `compile_stream`."""
    return write(program, carried).text


class _Bench:
    """What one thread needs to call a program: a table of addresses, memory to work in, and what it was last given.

    Most of what a step in a window is given is what the one before was given, and was looked at then.

    Attributes:
        table: the address of the table.
    """

    def __init__(self, program: Program, written: Written) -> None:
        probe = np.empty(1)
        if ctypes.c_void_p.from_address(id(probe) + DATA).value != place(probe):
            raise RuntimeError(f"NumPy {np.__version__} keeps arrays in another way; use engine='numpy'")
        self._name, self._expected = program.name, written.rows
        self._memory, places = work(written.work)
        blank = [0] * (len(written.rows) + len(written.outs))
        self._addresses = np.array([*blank, *map(place, written.constants), *places], np.int64)
        self._constants = written.constants
        self.table = place(self._addresses)
        self._remembers = sum(a.size * a.dtype.itemsize for a in written.rows) <= KEPT
        self._arrays: list[Any] = [None] * len(written.rows)

    def take(self, arguments: tuple[Any, ...]) -> list[np.ndarray]:
        """The arguments as arrays that the program can read."""
        if len(arguments) != len(self._expected):
            raise TypeError(f"program {self._name!r} takes {len(self._expected)} arguments, got {len(arguments)}")
        arrays: list[Any] = self._arrays if self._remembers else [None] * len(arguments)
        for k, other in enumerate(map(is_not, arguments, arrays)):
            if other:
                arrays[k] = _array(arguments[k], self._expected[k])
        return arrays


def _array(given: Any, expected: Argument) -> np.ndarray:
    array = np.asarray(given, expected.dtype, order="C")
    if array.shape != expected.shape:
        raise ValueError(f"{expected.name}: expected {expected.shape} {expected.dtype}, got {array.shape}")
    return array
