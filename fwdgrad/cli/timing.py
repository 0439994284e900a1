"""Where the rows of a table stand in a model's time: how far apart they are, and whether the first is at the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fwdgrad.errors import DataError

__all__ = ["UNEVEN", "Clock", "Timing"]

UNEVEN = 1e-6
"""Times that differ by less than this part of a step are one time."""


FEW = 10.0
"""Steps after 0 up to which a first row may well be meant to be so long after the initial values."""


class Timing(NamedTuple):
    """How a model is to go through the rows of a table."""

    dt: float | None = None
    """The time between rows; None if the model says, or if every row brings its own."""
    first: str | None = None
    """What the first row is observed in, as `System` has it; None if that is by default."""
    start: float | None = None
    """The time of the initial values, for a model that uses time and does not say when it begins."""
    lead: float = 0.0
    """The time from the start to the first row, where every row brings the time since the one before."""


@dataclass(frozen=True)
class Clock:
    """What a model says of time.

    Attributes:
        continuous: whether its equations are rates.
        dt: its step, or the name of the input that brings it; None if it says nothing.
        first: what it says of the first sample.
        start: the time at which it begins, t(0); None if it says nothing, or nothing that is known beforehand.
        said: whether it says anything of that.
        earliest: the earliest time at which it changes its state, if it does at known times.
    """

    continuous: bool
    dt: float | str | None
    first: str | None
    start: float | None
    said: bool = False
    earliest: float | None = None

    def timing(self, times: np.ndarray | None, source: str, even: bool = True) -> Timing:
        """What suits rows at these times; None for rows without times. If not `even`, every row brings its own step.

        A row at the start is observed in the initial values; one that is a step later, a step later. Without a t(0) in
        the model its initial values are those at the first row, unless it says otherwise.

        Raises:
            DataError: the times decrease, begin before the model does, or do not suit its step.
        """
        if times is None:
            if self.continuous and self.dt is None:
                raise DataError(
                    f"{source}: the model has no step dt, so the times of the samples are needed: --time COLUMN."
                )
            return Timing(first=self.first)
        if self.earliest is not None and not self.said and self.first != "next" and self.earliest < times[0]:
            raise DataError(
                f"{source}: the first row is at {times[0]:g}, where the initial values are taken to be: the change\n"
                f"at t = {self.earliest:g} in the model would never happen.\n"
                f"Mend: say in the model when it begins, t(0) = {min(self.earliest, 0.0):g}; or leave that change out."
            )
        step = _step(times, source) if even or not self.continuous or isinstance(self.dt, float) else None
        if not self.continuous:
            if step is not None and abs(step - 1.0) <= UNEVEN:
                return self._steps(times, 1.0, source)._replace(dt=None)
            return Timing(first=self.first or "initial", start=float(times[0]))  # its steps are not those of the times
        if isinstance(self.dt, float):
            if step is None or abs(step - self.dt) > UNEVEN * self.dt:
                found = f"{step:g} apart" if step is not None else "not evenly spaced"
                raise DataError(
                    f"{source}: the model has the step dt = {self.dt:g}, but the samples are {found}.\n"
                    "Mend: leave dt out of the model, and the times say how long each step is; add rows with empty\n"
                    "cells where some are missing; or leave out --time."
                )
            return self._steps(times, self.dt, source)._replace(dt=None)
        gap = self._gap(times, source)
        if step is not None and self.dt is None and (gap <= UNEVEN * step or abs(gap - step) <= UNEVEN * step):
            return self._steps(times, step, source)
        if self.first == "next" and self.start is None:
            raise DataError(
                f"{source}: the model says first = next, and the samples are not evenly spaced, so it is not known\n"
                "how long after the start the first one is.\n"
                "Mend: say when the model begins, t(0) = …; or leave first out."
            )
        if self.first == ("next" if gap == 0 else "initial") and self.start is not None:
            raise self._contradiction(times, gap, source)
        return Timing(start=float(times[0]), lead=gap)

    def doubt(self, times: np.ndarray) -> str:
        """What is said of a first row a few steps after 0, where nothing says what time the initial values are of.

        Nothing for rows that begin at 0, or far from it, as years do.
        """
        steps = np.diff(times)
        if not self.continuous or self.start is not None or self.first is not None or not np.any(steps > 0):
            return ""
        begins, step = float(times[0]), float(np.median(steps[steps > 0]))
        if not 0.0 < begins <= FEW * step:
            return ""
        return (
            f"the first row is at {begins:g}, and the initial values are taken for those at {begins:g}.\n"
            f"If they are those at 0, say so in the model: t(0) = 0; if not, t(0) = {begins:g}."
        )

    def _steps(self, times: np.ndarray, step: float, source: str) -> Timing:
        """Rows a step apart, of which the first is at the start or a step later."""
        begins = float(times[0])
        if self.start is None:
            return Timing(step, self.first or "initial", begins - (step if self.first == "next" else 0.0))
        gap = self._gap(times, source)
        first = next((f for f, at in (("initial", 0.0), ("next", step)) if abs(gap - at) <= UNEVEN * step), None)
        if first is None or self.first not in (None, first):
            raise self._contradiction(times, gap, source)
        return Timing(step, first)

    def _contradiction(self, times: np.ndarray, gap: float, source: str) -> DataError:
        rule = "" if self.first is None else f" and first = {self.first}"
        return DataError(
            f"{source}: the first sample is at {times[0]:g}, {gap:g} after the start; the model says t(0) = "
            f"{self.start:g}{rule}.\n"
            "Mend: a sample at the start goes with first = initial, one a step dt later with first = next."
        )

    def _gap(self, times: np.ndarray, source: str) -> float:
        """The time from the start of the model to the first row."""
        gap = 0.0 if self.start is None else float(times[0]) - self.start
        if gap < 0:
            raise DataError(
                f"{source}: the first sample is at {times[0]:g}, before the model begins, t(0) = {self.start:g}.\n"
                "Mend: leave t(0) out of the model, and it begins at the first sample; or leave out these rows."
            )
        return gap


def _step(times: np.ndarray, source: str) -> float | None:
    """The time between rows; None if it varies."""
    steps = np.diff(times)
    if np.any(steps < 0):
        row = int(np.argmax(steps < 0)) + 1
        raise DataError(
            f"{source}: times should not decrease; sample {row} is at {times[row]:g}, "
            f"the one before at {times[row - 1]:g}."
        )
    even = len(steps) > 0 and steps.min() > 0 and np.ptp(steps) <= UNEVEN * steps.mean()
    return float(times[-1] - times[0]) / len(steps) if even else None
