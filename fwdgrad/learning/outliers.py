"""Numbers that are hardly measurements: codes for "missing", and single cells absurdly far from all others.

Only the data are looked at, never what a model makes of them: a model that is far off finds everything absurd. What
counts is not how many deviations a number is away, of which heavy tails, spikes and pulses have any number, but that
there is nothing between it and the others for `FAR` times the range of all of these, and that they move at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["FAR", "FAR_INPUTS", "Sieve", "Tally", "strange"]

FAR = 100.0
"""Distance from the nearest other number, in ranges of all others, from which one is absurd."""
FAR_INPUTS = 1000.0
"""Likewise for inputs, which are chosen, and may well be impulses."""
FEW = 3
"""Different absurd numbers, at most: more of them are the rule of the process."""
OFTEN = 3
"""Times that one number comes again exactly from which it is a code."""
ALIKE = 0.1
"""Relative difference up to which several absurd numbers are alike: pulses, and not absurd."""
ENOUGH = 8
"""Other numbers, at least, for one to be far from them."""
HARDLY = 4
"""Other numbers, at least, for a code to be far from them; it has to be so much farther, the fewer they are."""
STRICT = 10.0
"""Times as far, if there are not `ENOUGH`."""
EARLY = 16
"""Numbers that are looked at together with each new one, before a range is known."""
NINES = np.array(sorted({10.0**k - step for k in range(2, 10) for step in (1.0, 0.1, 0.01)}))
"""What stands for "missing" in many files: 99, 999, 9999.9, …, and their negatives."""


def strange(column: np.ndarray, far: float = FAR) -> np.ndarray:
    """Which of some numbers, NaN where missing, are absurdly far from all others, or a code far from them.

    Args:
        column: shape (samples,).
        far: how far, in ranges of the others.

    Returns:
        Booleans of that shape; none if more than half of the others are equal (counts, pulses, switches).
    """
    column = np.asarray(column, float)
    coded = _coded(column)
    rest = column[np.isfinite(column) & ~coded]
    values, counts = np.unique(rest, return_counts=True)
    if len(rest) < HARDLY:
        return np.zeros(len(column), bool)
    codes = np.unique(column[coded])
    wild = np.zeros(len(column), bool)
    lowest, highest = values[0], values[-1]
    best, most = 0, FEW if len(rest) >= ENOUGH else 0
    for low in range(min(most, len(values) - 1) + 1):
        for high in range(min(most - low, len(values) - 1 - low) + 1):
            inside = slice(low, len(values) - high)
            outside = np.concatenate([counts[:low], counts[len(values) - high :]])
            few = np.all((outside <= 1) | (outside >= OFTEN)) or outside.sum() <= FEW
            if low + high <= best or not few or 2 * outside.sum() > len(rest):
                continue
            gap = far * (values[inside][-1] - values[inside][0])
            apart = (low == 0 or values[low] - values[low - 1] > gap) and (
                high == 0 or values[len(values) - high] - values[len(values) - high - 1] > gap
            )
            away = np.repeat(np.concatenate([values[:low], values[len(values) - high :]]), outside)
            if apart and not _alike(away) and _moves(np.repeat(values[inside], counts[inside])):
                best, lowest, highest = low + high, values[inside][0], values[inside][-1]
    if best:
        wild = (column < lowest) | (column > highest)
    inner = rest[(rest >= lowest) & (rest <= highest)]
    for code in codes:
        same = column == code
        if _moves(inner, HARDLY) and _outside(code, inner):
            wild |= same
        else:
            wild &= ~same
    return wild


def _coded(numbers: np.ndarray) -> np.ndarray:
    """Which are written with nines only."""
    sizes = np.abs(numbers)
    return NINES[np.minimum(np.searchsorted(NINES, sizes), len(NINES) - 1)] == sizes


def _moves(numbers: np.ndarray, enough: int = ENOUGH) -> bool:
    """Whether these are enough, and more than half of them differ from their median."""
    return len(numbers) >= enough and bool(np.median(np.abs(numbers - np.median(numbers))) > 0)


def _alike(numbers: np.ndarray) -> bool:
    """Whether these are near each other without being equal, as pulses are."""
    return len(numbers) > 1 and 0 < np.ptp(numbers) < ALIKE * np.max(np.abs(numbers))


def _outside(code: float, inner: np.ndarray) -> bool:
    """Whether a number written with nines only lies outside of others, and farther the fewer they are."""
    return _beyond(code, inner.min(), inner.max(), STRICT if len(inner) < ENOUGH else 1.0)


def _beyond(code: float, low: float, high: float, times: float = 1.0) -> bool:
    """Whether it is not near a range: 99 may be in it."""
    margin = times * (high - low) * (10.0 if abs(code) < 100 else 1.0)
    return code < low - margin or code > high + margin


class Tally(NamedTuple):
    """What was found in one column."""

    found: int
    """Of strange numbers."""
    step: int
    """Of the first of them."""
    value: float
    """The first of them."""
    same: int
    """How many equal it exactly."""


class Sieve:
    """Looks at numbers as they come, in m columns, each by what came before it.

    A number is set aside if it is strange among those before; until it is confirmed: when others have followed at once
    that are as far (a process that goes elsewhere), or `FEW` different ones have come in all (that is its way).

    Args:
        far: how far is absurd, for each column, shape (m,).

    Attributes:
        tallies: what was set aside, a row (count, first step, first value, how many equal it) for each column.
    """

    def __init__(self, far: np.ndarray) -> None:
        m = len(far)
        self._far = np.asarray(far, float)
        self._range = np.tile([np.inf, -np.inf], (m, 1))  # of the numbers that were let through
        self._state = np.zeros((m, 5))  # let through, changes among them, set aside in a row and in all, the last one
        self._early = np.full((m, EARLY), np.nan)
        self._aside = np.full(m, np.nan)
        self.tallies = np.zeros((m, 4))

    def begin(self, rows: np.ndarray, found: np.ndarray) -> None:
        """What is known after the first samples, that were looked at together.

        Args:
            rows: their numbers, shape (samples, m).
            found: which were found to be strange, likewise.
        """
        self.__init__(self._far)  # type: ignore[misc]
        for k, column in enumerate(rows.T):
            self._known(k, column[np.isfinite(column) & ~found[:, k]])
            self._early[k] = 0.0  # full
            places = np.flatnonzero(found[:, k])
            if len(places):
                value = column[places[0]]
                self.tallies[k] = len(places), places[0], value, np.sum(column[places] == value)
                self._state[k, 3] = len(np.unique(column[places]))
                self._aside[k] = column[places[-1]]

    def look(self, rows: np.ndarray, first: int) -> np.ndarray:
        """Which of the next samples' numbers, shape (samples, m), are set aside; NaN is none.

        Args:
            rows: the numbers.
            first: number of the first sample.
        """
        made = np.zeros(rows.shape, bool)
        if len(rows) == 1 and self._all_plain(rows[0]):
            self._let_all(rows[0])
            return made
        for k, column in enumerate(rows.T):
            seen = column[np.isfinite(column)]
            if self._plain(k, seen):
                self._let(k, seen)
            else:
                for t in np.flatnonzero(np.isfinite(column)):
                    made[t, k] = self._one(k, float(column[t]), first + int(t))
        return made

    def found(self, k: int) -> Tally | None:
        """What was set aside in a column."""
        count, step, value, same = self.tallies[k]
        return Tally(int(count), int(step), float(value), int(same)) if count else None

    # ---- one sample, the commonest case: all columns at once

    def _all_plain(self, row: np.ndarray) -> bool:
        """Whether none of a sample's numbers, which are all there, can be strange."""
        low, high = self._range.T
        gap = self._far * (high - low)
        inside = np.all((row >= low - gap) & (row <= high + gap))  # false where any is NaN
        return bool(inside and not np.isnan(self._early[:, -1]).any() and not _coded(row).any())

    def _let_all(self, row: np.ndarray) -> None:
        """Let them through, as `_let` does."""
        self._state[:, 0] += 1
        self._state[:, 1] += row != self._state[:, 4]
        self._state[:, 2], self._state[:, 4] = 0, row
        self._range[:, 0], self._range[:, 1] = np.minimum(self._range[:, 0], row), np.maximum(self._range[:, 1], row)

    # ---- one column

    def _plain(self, k: int, numbers: np.ndarray) -> bool:
        """Whether none of some numbers can be strange, whatever their order."""
        if not len(numbers):
            return True
        if np.isnan(self._early[k]).any() or np.any(_coded(numbers)):
            return False
        low, high = self._bounds(k)
        return bool(numbers.min() >= low and numbers.max() <= high)

    def _bounds(self, k: int) -> tuple[float, float]:
        """What is not absurd."""
        low, high = self._range[k]
        gap = self._far[k] * (high - low)
        return low - gap, high + gap

    def _known(self, k: int, numbers: np.ndarray) -> None:
        """These are all that were let through."""
        if len(numbers):
            self._range[k] = numbers.min(), numbers.max()
            self._state[k] = len(numbers), np.sum(numbers[1:] != numbers[:-1]), 0, self._state[k, 3], numbers[-1]

    def _let(self, k: int, numbers: np.ndarray) -> None:
        """Let more of them through."""
        if len(numbers):
            changes = np.sum(numbers[1:] != numbers[:-1]) + (numbers[0] != self._state[k, 4])
            self._state[k] += len(numbers), changes, 0, 0, 0
            self._state[k, 2], self._state[k, 4] = 0, numbers[-1]
            self._range[k] = min(self._range[k, 0], numbers.min()), max(self._range[k, 1], numbers.max())

    def _one(self, k: int, value: float, step: int) -> bool:
        """Whether one number is set aside."""
        free = np.flatnonzero(np.isnan(self._early[k]))
        if len(free):
            self._early[k, free[0]] = value
            numbers = self._early[k, : free[0] + 1]
            bad = strange(numbers, self._far[k])
            self._known(k, numbers[~bad])
            if not bad.any():
                self.tallies[k] = 0.0
            return bool(bad[-1]) and self._noted(k, value, step)
        passed, changes, row, different, _ = self._state[k]
        low, high = self._range[k]
        moves = 2 * changes > passed >= ENOUGH and high > low
        coded = bool(moves and _coded(np.array(value)) and _beyond(value, low, high))
        wild = bool(moves and not self._bounds(k)[0] <= value <= self._bounds(k)[1])
        again = coded or value == self._aside[k]
        if not (coded or wild) or (not again and different >= FEW):
            self._let(k, np.array([value]))
            return False
        like_it = self._state[k, 3] if _alike(np.array([self._aside[k], value])) else row
        if not again and (row + 1 >= FEW or like_it > row):  # it has gone there, or goes there now and then
            count = self.tallies[k, 0]
            self.tallies[k] = self.tallies[k] - [like_it, 0, 0, 0] if count > like_it else 0.0
            self._state[k, 3] -= like_it
            self._let(k, np.array([value]))
            return False
        self._state[k, 2:4] += 0 if again else 1
        return self._noted(k, value, step)

    def _noted(self, k: int, value: float, step: int) -> bool:
        """True, and the tally has one more."""
        self._aside[k] = value
        count, begun, first, same = self.tallies[k]
        self.tallies[k] = (count + 1, begun, first, same + (value == first)) if count else (1, step, value, 1)
        return True

    # ---- checkpoints

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it."""
        parts = (self._range, self._state, self._early, self._aside[:, None], self.tallies)
        return {"sieve": np.concatenate(parts, axis=1)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `arrays`."""
        cuts = np.cumsum([2, 5, EARLY, 1])
        self._range, self._state, self._early, aside, self.tallies = np.split(np.array(arrays["sieve"]), cuts, axis=1)
        self._aside = aside[:, 0]
