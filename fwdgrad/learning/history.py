"""What a run records, and how it shows that it is going on."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.errors import DataError, ShapeError
from fwdgrad.support import display, frames

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
        unit: of the loss, such as "bits"; "loss" if that is not known.
    """

    loss: np.ndarray
    first: int
    every: int = 1
    predictions: np.ndarray | None = None
    unit: str = "loss"

    @property
    def mean(self) -> np.ndarray:
        """Mean loss from the first step up to each one, over the steps with a target."""
        seen = ~np.isnan(self.loss)
        return np.cumsum(np.where(seen, self.loss, 0.0)) / np.maximum(np.cumsum(seen), 1)

    def recent(self, count: int) -> float:
        """Mean loss over the last `count` steps, over those with a target."""
        tail = self.loss[-max(count // self.every, 1) :]
        return float(np.nanmean(tail)) if not np.all(np.isnan(tail)) else math.nan

    def curve(self, points: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The learning curve in few numbers, as papers draw it and records keep it.

        Args:
            points: at most so many, evenly spread over the logarithm of the number of steps.

        Returns:
            Numbers of steps t; the cumulated loss, the mean over the first t steps, which is the length of a code; and
            the recent one, over the last tenth of them (over 20 steps at least). Shape (K,) each.

        Raises:
            DataError: no step had a target.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> steps, cumulated, recent = fg.History(np.array([4.0, 2.0, 1.0, 1.0]), first=0).curve()
            >>> print(steps, cumulated.round(2))
            [1 2 3 4] [4.   3.   2.33 2.  ]
        """
        from fwdgrad.plots import curves

        return curves(self, points)

    def residuals(self, ys: Any) -> np.ndarray:
        """y − ŷ, the errors of one-step-ahead prediction, of the shape of `predictions`; NaN where y is missing.

        Args:
            ys: the targets of the run: numbers, like the predictions; None, NaN or masked where missing.

        Raises:
            DataError: the run kept no predictions.
            ShapeError: the targets are not like the predictions.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": 0.5})
            >>> history = fg.Learner(system).run(ys=np.ones((1, 1)), keep_predictions=True)
            >>> history.residuals(np.ones((1, 1)))
            array([[0.5]])
        """
        if self.predictions is None:
            raise DataError("residuals: the run kept no predictions. Call run(..., keep_predictions=True).")
        like = self.predictions
        if isinstance(ys, (list, tuple)):
            ys = [np.full(like.shape[1:], np.nan) if y is None else y for y in ys]
        try:
            targets: np.ndarray = np.ma.filled(np.ma.asarray(ys, float), np.nan)
        except (TypeError, ValueError):
            raise ShapeError(f"residuals: expected numbers of shape {like.shape}, got {type(ys).__name__}.") from None
        if targets.shape != like.shape:
            raise ShapeError(f"residuals: expected targets of shape {like.shape}, got {targets.shape}.")
        return targets - like

    def __len__(self) -> int:
        return len(self.loss)

    def plot(self, path: str | os.PathLike[str] | None = None, references: Mapping[str, float] | None = None) -> Any:
        """The learning curve, see `fwdgrad.plots.plot_history`."""
        from fwdgrad.plots import plot_history

        return plot_history(self, path, references)

    def to_frame(self, names: Sequence[str] | None = None) -> Any:
        """A `pandas.DataFrame` with a row for each entry of `loss`, and the numbers of steps as its index.

        Predictions, if they were kept, of every step, are in columns of their own.

        Args:
            names: of the numbers of a prediction; "prediction 0" and so on unless given.

        Raises:
            DeclarationError: pandas is not installed.
        """
        columns: dict[str, Any] = {"loss": self.loss}
        if self.predictions is not None and self.every == 1:
            columns |= frames.named(self.predictions, names, "prediction")
        return frames.frame(columns, self.first + self.every * np.arange(len(self)), "step")

    def __repr__(self) -> str:
        steps = display.counted(len(self) * self.every, "step")
        tenth = max(len(self) // 10, 1)
        begin, end = (_mean(part) for part in (self.loss[:tenth], self.loss[-tenth:]))
        seen = f"{self.unit} {begin:.4g} → {end:.4g}" if np.isfinite(self.loss).any() else "no targets"
        return f"History of {steps} from step {self.first}: {seen}"

    def _repr_html_(self) -> str:
        along = (f"step {self.first}", f"{self.first + len(self) * self.every}")
        curves = [display.curve(self.loss, label=self.unit, along=along)]
        if self.predictions is not None and self.predictions.dtype.kind == "f":
            shown = self.predictions.reshape(len(self.predictions), -1).T[: display.CURVES]
            curves += [display.curve(v, label=f"prediction {k}", along=along) for k, v in enumerate(shown)]
        return display.page(repr(self), *curves)


def _mean(losses: np.ndarray) -> float:
    """Over the steps with a target; NaN if there is none."""
    return float(np.nanmean(losses)) if np.isfinite(losses).any() else math.nan


class Recorder:
    """Collects losses, averaged over every so many steps."""

    def __init__(self, first: int, every: int, keep_predictions: bool, unit: str = "loss") -> None:
        self._first, self._every, self._unit = first, every, unit
        self._means: list[np.ndarray] = []
        self._rest = np.zeros(0)
        self._predictions: list[np.ndarray] | None = [] if keep_predictions else None

    def extend(self, losses: np.ndarray, predictions: np.ndarray) -> None:
        """Some more steps: their losses, shape (L,), and predictions, shape (L, …)."""
        if self._predictions is not None:
            self._predictions.append(np.array(predictions))
        losses = np.concatenate([self._rest, losses])
        whole = len(losses) // self._every * self._every
        self._means.append(_means(losses[:whole].reshape(-1, self._every)))
        self._rest = losses[whole:]

    def history(self) -> History:
        """What was collected."""
        rest = [_means(self._rest[None])] if len(self._rest) else []
        losses = np.concatenate([np.zeros(0), *self._means, *rest])
        predictions = None if self._predictions is None else np.concatenate([*self._predictions] or [np.zeros(0)])
        return History(losses, self._first, self._every, predictions, self._unit)


def _means(rows: np.ndarray) -> np.ndarray:
    """Mean of each row over what is not NaN; NaN if all is."""
    seen = ~np.isnan(rows)
    count = np.sum(seen, axis=1)
    return np.where(count > 0, np.sum(np.where(seen, rows, 0.0), axis=1) / np.maximum(count, 1), math.nan)


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

    def update(self, losses: np.ndarray) -> None:
        """Some more steps."""
        seen = losses[~np.isnan(losses)]
        self._done += len(losses)
        self._seen += len(seen)
        self._sum += float(np.sum(seen))
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
