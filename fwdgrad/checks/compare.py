"""Finite differences that know how far they can be trusted, and the comparison of numbers with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from fwdgrad.checks.report import CheckRow

__all__ = ["Tally", "largest", "line_slope", "sign_table", "skipped"]

LADDER = (3e-2, 3e-3, 3e-4, 3e-5)
"""Steps of the differences, relative to the size of what is moved; each result takes the one that suits it best."""


def largest(values: Any) -> float:
    """The largest absolute value."""
    return float(np.max(np.abs(values), initial=0.0))


def line_slope(line: Callable[[np.ndarray], Any]) -> tuple[Any, Any, Any]:
    """dline/dt at 0 by extrapolated central differences; its uncertainty; |line(0)|: entry by entry.

    `line` takes all times at which its value is wanted, and returns a row for each.

    Of the steps in LADDER each entry takes the one with the least uncertainty: what changes when the step is halved, or
    was ten times as long, by how much the slopes on the two sides differ, and rounding. Where nothing is finite, or a
    kink is near, it is large.
    """
    made = np.asarray(line(np.array([0.0, *(s for t in LADDER for s in (t, t / 2, -t / 2, -t))])))
    middle = made[0]
    rounding = float(np.finfo(middle.dtype).eps) * np.abs(middle)
    best, least = np.zeros(middle.shape), np.full(middle.shape, np.inf)
    before = np.full(middle.shape, np.nan)
    for number, t in enumerate(LADDER):
        right, near_right, near_left, left = made[4 * number + 1 : 4 * number + 5].astype(float) - middle
        fine, coarse = (near_right - near_left) / t, (right - left) / (2 * t)
        estimate = (4 * fine - coarse) / 3
        kink = (4 * (near_right + near_left) - (right + left)) / t
        doubt = np.maximum(np.maximum(np.abs(estimate - fine), np.abs(estimate - before)), np.abs(kink))
        doubt = 4 * (doubt + rounding / t)
        better = doubt < least  # never where `before` or anything else is not a number
        best, least, before = np.where(better, estimate, best), np.where(better, doubt, least), estimate
    return best, least, np.abs(middle)


def sign_table(n: int) -> np.ndarray:
    """Rows of signs whose mean is 0 and whose second moments are those of independent ones.

    A reduction is quadratic in the signs but for scales that are even in them, so its mean over the table is exact. All
    2ⁿ patterns for n ≤ 8; else a Hadamard matrix and its negative (Plackett & Burman 1946).
    """
    if n <= 8:
        return np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    rows = scipy.linalg.hadamard(1 << (n - 1).bit_length())[:, :n].astype(float)
    return np.concatenate([rows, -rows])


class Tally:
    """A row in the making."""

    def __init__(self, what: str, tolerance: float) -> None:
        self.what, self.tolerance = what, tolerance
        self.points, self.unclear, self.error, self.note = 0, 0, 0.0, ""

    def compare(self, got: Any, expected: Any, where: str, slack: Any = 0.0, floor: Any = 0.0) -> None:
        """Count the numbers in `got`.

        Args:
            got: what is checked.
            expected: what it should be.
            where: for the note.
            slack: uncertainty of each number in `expected`; where it is not small, a smaller difference does not count.
            floor: differences are relative to the numbers themselves, or to this if they are smaller.
        """
        got, expected = np.ravel(np.asarray(got, float)), np.ravel(np.asarray(expected, float))
        slack, floor = (np.broadcast_to(np.ravel(v), got.shape) for v in (slack, floor))
        known = np.isfinite(slack) & np.isfinite(expected)
        scale = np.maximum(np.maximum(np.abs(got), np.abs(np.where(known, expected, 0.0))), floor)
        sharp = slack <= 0.25 * self.tolerance * scale
        difference = np.abs(got - expected)
        difference = np.where(sharp, difference, np.maximum(difference - slack, 0.0))
        error = np.where(known & (difference > 0), difference / scale, 0.0)
        error[~np.isfinite(got)] = np.inf
        self.points += got.size
        self.unclear += int(np.sum(~known | (slack > self.tolerance * scale)))
        if not np.max(error, initial=0.0) <= self.error:
            self.error, self.note = float(np.max(error)), f"Largest {where}."

    def row(self) -> CheckRow:
        """The finished row."""
        verdict = "ok" if self.error <= self.tolerance else "FAILED"
        note = self.note
        if verdict == "ok" and 2 * self.unclear > self.points:
            verdict = "unclear"
            note = f"{self.unclear} of {self.points} finite differences are too rough to tell."
        return CheckRow(self.what, self.points, self.error, self.tolerance, verdict, note)


def skipped(tally: Tally, why: str) -> CheckRow:
    """A row without a comparison."""
    return CheckRow(tally.what, 0, 0.0, tally.tolerance, "skipped", why)
