"""The losses of a run in bounded memory, such that they fit into a checkpoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fwdgrad.learning.history import History

__all__ = ["Curve"]

MOST = 2048
"""Bins; when there are more, pairs of neighbours become one."""


class Curve:
    """Sums and counts of losses in bins of equally many steps. It covers all steps, also those before a resumption."""

    def __init__(self) -> None:
        self.every = 1
        self.steps = 0
        self._sum = np.zeros(0)
        self._count = np.zeros(0, np.int64)

    def add(self, losses: np.ndarray) -> None:
        """The losses of the next steps; NaN where there was no target. It does not matter how many at a time."""
        while len(losses):
            if self.steps == MOST * self.every:
                self._merge()
            some = MOST * self.every - self.steps
            self._add(losses[:some])
            losses = losses[some:]

    def _add(self, losses: np.ndarray) -> None:
        end = self.steps + len(losses)
        bins = np.arange(self.steps, end) // self.every
        more = -(-end // self.every) - len(self._sum)
        self._sum = np.append(self._sum, np.zeros(more))
        self._count = np.append(self._count, np.zeros(more, np.int64))
        seen = ~np.isnan(losses)
        np.add.at(self._sum, bins[seen], losses[seen])
        np.add.at(self._count, bins[seen], 1)
        self.steps = end

    def _merge(self) -> None:
        if len(self._sum) % 2:
            self._sum, self._count = np.append(self._sum, 0.0), np.append(self._count, 0)
        self._sum, self._count = self._sum.reshape(-1, 2).sum(axis=1), self._count.reshape(-1, 2).sum(axis=1)
        self.every *= 2

    def mean(self, part: float = 1.0) -> float:
        """Mean loss over this last part of the steps, up to the width of a bin."""
        first = int(self.steps * (1 - part)) // self.every
        count = self._count[first:].sum()
        return float(self._sum[first:].sum() / count) if count else math.nan

    def first(self, steps: int) -> float:
        """Mean loss over the first so many steps, up to the width of a bin."""
        bins = max(-(-steps // self.every), 1)
        count = self._count[:bins].sum()
        return float(self._sum[:bins].sum() / count) if count else math.nan

    def history(self) -> History:
        """As what `Learner.run` returns. A last bin that is not full is left out, unless it is the only one."""
        full = max(self.steps // self.every, 1)
        count = self._count[:full]
        return History(np.where(count, self._sum[:full] / np.maximum(count, 1), np.nan), 0, self.every)

    def note(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {"every": self.every, "steps": self.steps, "sum": self._sum.tolist(), "count": self._count.tolist()}

    @classmethod
    def from_note(cls, note: dict[str, Any]) -> Curve:
        """The inverse of `note`."""
        made = cls()
        made.every, made.steps = note["every"], note["steps"]
        made._sum, made._count = np.array(note["sum"]), np.array(note["count"], np.int64)
        return made
