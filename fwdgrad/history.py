"""What a run records, and how it shows that it is going on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["History", "Progress", "Recorder"]


@dataclass(frozen=True)
class History:
    """What a run recorded.

    Attributes:
        loss: loss of each step before learning from it, shape (T,); NaN where there was no target. If the run was
            asked to record every k steps, the mean over each k of them.
        first: number of the first step.
        every: steps per entry of `loss`.
        predictions: ŷ of each step, shape (T, *prediction shape), or None if not asked for.
    """

    loss: np.ndarray
    first: int
    every: int = 1
    predictions: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:
        """Mean loss from the first step up to each one, over the steps with a target."""
        seen = ~np.isnan(self.loss)
        return np.cumsum(np.where(seen, self.loss, 0.0)) / np.maximum(np.cumsum(seen), 1)

    def recent(self, count: int) -> float:
        """Mean loss over the last `count` steps, over those with a target."""
        tail = self.loss[-max(count // self.every, 1) :]
        return float(np.nanmean(tail)) if not np.all(np.isnan(tail)) else math.nan

    def __len__(self) -> int:
        return len(self.loss)


class Recorder:
    """Collects losses, averaged over every so many steps."""

    def __init__(self, first: int, every: int, keep_predictions: bool) -> None:
        self._first, self._every = first, every
        self._losses: list[float] = []
        self._block: list[float] = []
        self._predictions: list[Any] | None = [] if keep_predictions else None

    def add(self, loss: float, prediction: Any) -> None:
        """One more step."""
        if self._predictions is not None:
            self._predictions.append(np.array(prediction))
        self._block.append(loss)
        if len(self._block) == self._every:
            self._flush()

    def _flush(self) -> None:
        seen = [v for v in self._block if v == v]
        self._losses.append(sum(seen) / len(seen) if seen else math.nan)
        self._block = []

    def history(self) -> History:
        """What was collected."""
        if self._block:
            self._flush()
        predictions = None if self._predictions is None else np.array(self._predictions)
        return History(np.array(self._losses), self._first, self._every, predictions)


class Progress:
    """A tqdm bar, a user's callback, or nothing."""

    def __init__(self, progress: bool | Callable[[int, float], None], total: int | None) -> None:
        self._callback = progress if callable(progress) else None
        self._bar: Any = None
        if progress is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit="step", unit_scale=True)
        self._done, self._seen, self._sum, self._shown = 0, 0, 0.0, 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        self._show()
        if self._bar is not None:
            self._bar.close()

    def update(self, loss: float) -> None:
        """One more step."""
        self._done += 1
        if loss == loss:
            self._seen += 1
            self._sum += loss
        if self._done - self._shown >= 256:
            self._show()

    def _show(self) -> None:
        mean = self._sum / self._seen if self._seen else math.nan
        if self._bar is not None:
            self._bar.update(self._done - self._shown)
            self._bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
        elif self._callback is not None and self._done > self._shown:
            self._callback(self._done, mean)
        self._shown = self._done
