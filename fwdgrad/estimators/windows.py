"""When an estimator learns: at every step, at the end of a window of steps, or at the end of the whole sequence.

A window of T steps is differentiated exactly, backward through its stored states; the update is made at its end.
Whatever an influence knows of the time before it is pulled at the state the window starts from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError

__all__ = ["LARGEST", "SEGMENT", "RandomEnd", "Sliding", "WholeSequence", "Windows", "segment_of", "window_of"]

LARGEST = 2**40
"""Steps of a window, and copies of an influence, at most: no memory holds more, and no array is much longer."""

SEGMENT = 64
"""Steps that are gone back through at a time, at most, in a window without a fixed length."""


@dataclass(frozen=True)
class Sliding:
    """Windows of `length` steps; every `stride` steps the parameters learn from the newest `stride` losses.

    Each loss counts once. With the same stride as length, which is the default, windows do not overlap; with a smaller
    one every loss sees at least length − stride + 1 steps back, at length / stride times the cost.

    Args:
        length: T; None for as many steps as there are state variables.
        stride: steps between updates; None for `length`.

    Raises:
        DeclarationError: they are not positive integers, or `length` is not a multiple of `stride`.
    """

    length: int | None
    stride: int | None = None

    def __post_init__(self) -> None:
        for label, value in (("length", self.length), ("stride", self.stride)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise DeclarationError(f"window {label}: expected an integer of at least 1, got {value!r}.")
            if value > LARGEST:
                raise DeclarationError(f"window {label}: expected at most {LARGEST} steps, got {value}.")
            object.__setattr__(self, label, int(value))
        if self.stride is not None and (self.length is None or self.length % self.stride):
            raise DeclarationError(
                f"window: expected a length that is a multiple of the stride, got length {self.length} and stride "
                f"{self.stride}."
            )

    def __str__(self) -> str:
        return f"{self.length or 'n'}" + (f" every {self.stride}" if self.stride not in (None, self.length) else "")


@dataclass(frozen=True)
class WholeSequence:
    """One window for the whole sequence; it ends with `Learner.run`, `Learner.finish` or `Learner.reset_state`.

    Args:
        checkpoints: store O(√T) of its T states and compute the others again, for one more run forward.

    Raises:
        DeclarationError: `checkpoints` is not a truth value.
    """

    checkpoints: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoints, bool):
            raise DeclarationError(
                f"BPTT(checkpoints=…): expected True or False, got {self.checkpoints!r}.\n"
                "The window is the whole sequence; for one of 5 steps write TBPTT(5)."
            )

    def __str__(self) -> str:
        return "whole sequence" + ", checkpoints" * self.checkpoints


@dataclass(frozen=True)
class RandomEnd:
    """Windows that end after each step with the same probability; what survives an end is divided by its chance.

    Args:
        probability: that a window ends after a step, in (0, 1). Windows have 1/probability steps on average.

    Raises:
        DeclarationError: it is not in (0, 1).
    """

    probability: float

    def __post_init__(self) -> None:
        p = self.probability
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 < p < 1:
            raise DeclarationError(
                f"probability that a window ends: expected a number in (0, 1), got {p!r}.\n"
                "Windows that always end after a step are TBPTT(1), those that never end are BPTT()."
            )

    def __str__(self) -> str:
        return f"random, {1 / self.probability:g} on average"


Windows = Sliding | WholeSequence | RandomEnd


def window_of(value: Any) -> Windows:
    """A window from what users write: a number of steps, or one of the classes above.

    Raises:
        DeclarationError: it is neither.
    """
    return value if isinstance(value, Windows) else Sliding(value)


def segment_of(window: WholeSequence | RandomEnd) -> int:
    """Steps that are gone back through at a time: fewer in windows that end early, which are filled up to them."""
    typical = 1 / window.probability if isinstance(window, RandomEnd) else SEGMENT
    return min(SEGMENT, 1 << math.ceil(math.log2(typical)))
