"""What an engine is: it turns a traced program into something that runs.

To add one: a module with a subclass of `Engine`, its instance in `fwdgrad.engines.registry`, and a row in the table of
``docs/engines.md``. The command line, messages, choices and conformance tests follow from these.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from fwdgrad.errors import DeclarationError, UnsupportedOperationError
from fwdgrad.program import Program
from fwdgrad.program.costs import length

__all__ = ["Engine", "Stream"]


class Stream(Protocol):
    """A program as a loop over steps, which changes the carry in place."""

    def run(self, carry: Sequence[Any], rows: Sequence[Any], outs: Sequence[Any], start: int, stop: int) -> int:
        """Make steps start … stop − 1; `stop`, or the number of the first step that is refused.

        Args:
            carry: arrays that are handed from step to step.
            rows: arrays whose first axis is that of the steps.
            outs: arrays with an axis of steps, which results are written to.
            start: number of the first step.
            stop: number of the step after the last one.
        """

    def bind(self, carry: Sequence[Any], rows: Sequence[Any], outs: Sequence[Any]) -> Callable[[int, int], int]:
        """`run` for these arrays, as a function of `start` and `stop`."""


class Engine(ABC):
    """Turns programs into functions of flat arrays. It has no state: what it made belongs to those who asked for it.

    What `compile` returns takes an array for each input of the program, returns a tuple of new arrays and changes none.
    It may be called from several threads. It agrees with the program to rounding, and repeats itself bit for bit; where
    NumPy would refuse a value (an index out of range, a matrix without an inverse), it raises the same error.

    Attributes:
        name: what users call it.
        needs: the package that it needs beside NumPy and SciPy; nothing if it needs none.
        streams: whether it makes many steps in one call (`stream`).
        compiles: whether preparing a program takes so long that programs that are run a few times only are better left
            to the NumPy engine.
        loading: seconds that it takes, about, to load what it has kept on disk.
        longest: operations of a program that it takes; with more, preparing it would take too long.
        starting: seconds that preparing the shortest program takes, about,
        each: and each operation of a longer one.
    """

    name: ClassVar[str]
    needs: ClassVar[str] = ""
    streams: ClassVar[bool] = False
    compiles: ClassVar[bool] = False
    loading: ClassVar[float] = 0.0
    longest: ClassVar[float] = math.inf
    starting: ClassVar[float] = 0.0
    each: ClassVar[float] = 0.0

    @abstractmethod
    def compile(self, program: Program) -> Callable[..., tuple[Any, ...]]:
        """A function that computes the program.

        Raises:
            UnsupportedOperationError: this engine cannot run one of its operations.
        """

    @abstractmethod
    def source(self, program: Program, carried: int | None = None) -> str:
        """The text that is run for a program, for people to read.

        Args:
            program: any program.
            carried: length of its carry as a stream of steps; None if it is run by itself.

        Raises:
            UnsupportedOperationError: this engine cannot run one of its operations.
        """

    def stream(self, program: Program, carried: int) -> Stream:
        """A program from (carry…, rows…) to (carry…, results…, health) as a loop over steps.

        Raises:
            UnsupportedOperationError: this engine cannot run one of its operations, or makes steps one by one.
        """
        raise NotImplementedError(f"engine {self.name!r} makes steps one by one")

    def held(self, leaf: Any) -> Any:
        """A copy of an array, as the carry of a stream: what changes in place, and is an array to NumPy."""
        return np.array(leaf)

    def check(self, program: Program, carried: int | None = None) -> None:
        """See whether it can run a program, without preparing it.

        Raises:
            UnsupportedOperationError: it cannot; the text says why.
        """
        count = length(program)
        if count > self.longest:
            raise UnsupportedOperationError(
                f"it has {count} operations, more than {self.longest}: compiling them takes too long.\n"
                "Arrays instead of single numbers make it shorter."
            )
        self.source(program, carried)

    def seconds(self, program: Program) -> float:
        """What preparing a program takes, about."""
        return self.starting + self.each * length(program)

    def is_known(self, program: Program, carried: int | None) -> bool:
        """Whether what it made of a program lies on disk."""
        return False

    def is_available(self) -> bool:
        """Whether what it needs is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None

    @property
    def missing(self) -> str:
        """What is said where it is not available."""
        return f"engine={self.name!r} needs {self.needs}. Install it: pip install {self.needs}; or use engine='numpy'."

    def require(self) -> None:
        """Make sure that it is there.

        Raises:
            DeclarationError: what it needs is not installed, or cannot be loaded.
        """
        if not self.is_available():
            raise DeclarationError(self.missing)
        if self.needs:
            try:
                importlib.import_module(self.needs)
            except ImportError as error:
                raise DeclarationError(f"{self.missing}\nIt is installed, but cannot be loaded: {error}") from error
