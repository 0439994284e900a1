"""The loss of a sample of all streams, from that of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fwdgrad.losses import Loss
from fwdgrad.program import map_rows
from fwdgrad.support.trees import flatten, map_leaves, unflatten

__all__ = ["PooledLoss", "pooled"]


def pooled(loss: Loss, count: int, pool: str, alike: bool) -> Any:
    """The loss of `count` predictions at once.

    The sum of a loss of components, whose targets are `alike` to predictions, is that loss of all components: what uses
    its form, a filter, can go on to.
    """
    if pool == "sum" and alike and getattr(loss, "componentwise", False):
        scale = getattr(loss, "scale", 1.0)
        return replace(loss, scale=scale * count) if isinstance(scale, tuple) else loss  # type: ignore[type-var]
    return PooledLoss(loss, count, pool)


class PooledLoss:
    """Sum, or mean, of the losses of those streams that have a target.

    Targets are a dict of "y", those of all streams, and "there", 1 for each that has one, else 0.
    """

    def __init__(self, loss: Loss, count: int, pool: str) -> None:
        self.loss, self.count, self.pool = loss, count, pool

    def __repr__(self) -> str:
        return f"{self.pool} of {self.loss!r} over {self.count} streams"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PooledLoss) and repr(self) == repr(other) and self.loss == other.loss

    def __hash__(self) -> int:
        return hash((type(self.loss), self.count, self.pool))

    @property
    def unit(self) -> str:
        """That of the loss of one stream."""
        return getattr(self.loss, "unit", "loss")

    def target(self, prediction: Any) -> Any:
        """One for each stream, and whether it is there."""
        one = self.loss.target(np.asarray(prediction)[0])
        stacked = map_leaves(lambda leaf: np.stack([np.asarray(leaf)] * self.count), one)
        return {"y": stacked, "there": np.zeros(self.count, np.asarray(prediction).dtype)}

    def value(self, prediction: Any, y: Any) -> Any:
        """Of those that are there; 0 if none is."""

        def value(own: Any, there: Any, *target: Any) -> list[Any]:
            loss = self.loss.value(own, unflatten(y["y"], target))
            return [np.where(there > 0.5, loss, np.zeros_like(loss))]

        (losses,) = map_rows(value, prediction, y["there"], *flatten(y["y"]))
        return self.pooled(np.sum(losses), y["there"])

    def pooled(self, total: Any, there: Any) -> Any:
        """What a sum over streams, of losses or of their gradients, contributes."""
        return total if self.pool == "sum" else total / np.maximum(np.sum(there), 1.0)

    def gradient(self, prediction: Any, y: Any) -> Any:
        """Derived from the value."""
        return None

    def fisher(self, prediction: Any) -> Any:
        """That of each stream, along the diagonal, for the sum; None if there is none."""
        if self.pool != "sum" or self.loss.fisher(prediction[0]) is None:
            return None
        (each,) = map_rows(lambda own: [self.loss.fisher(own)], prediction)
        size = each.shape[1]
        apart = np.reshape(np.eye(self.count), (self.count, 1, self.count, 1)).astype(each.dtype)
        spread = np.reshape(each, (self.count, size, 1, size)) * apart
        return np.reshape(spread, (self.count * size, self.count * size))
