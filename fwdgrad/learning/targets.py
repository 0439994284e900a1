"""Which outputs have had a target: without any, there is nothing to learn from."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwdgrad.learning.samples import Chunk
from fwdgrad.support.trees import flatten
from fwdgrad.system import System

__all__ = ["Targets"]


class Targets:
    """Counts samples, and those with a target, and remembers the numbers of a target that have always been missing.

    Args:
        system: whose targets they are. Of a target that is not one array of real numbers, only the samples are counted.

    Attributes:
        samples: those for which a target was given, be it a missing one; without any, none was meant.
        seen: those of them that had one.
    """

    def __init__(self, system: System) -> None:
        leaves = flatten(system.y)
        plain = len(leaves) == 1 and np.issubdtype(leaves[0].dtype, np.floating)
        self._system, self._size = system, leaves[0].size if plain else 0
        self._missing = np.ones(self._size, bool)
        self.samples = self.seen = 0

    def run(self, chunk: Chunk) -> None:
        """Some samples have come."""
        self.samples += len(chunk.observed)
        self.seen += int(chunk.observed.sum())
        if self._missing.any() and chunk.observed.any():
            rows = chunk.y[0][chunk.observed].reshape(-1, self._size)
            self._missing &= np.isnan(rows).all(axis=0)

    def step(self, y: Any, loss: float) -> None:
        """One sample has come, with this target, and this loss."""
        self.samples += 1
        if loss != loss:
            return
        self.seen += 1
        if self._missing.any():
            self._missing &= np.isnan(np.ma.filled(np.ma.asarray(y, float), np.nan)).ravel()

    def unseen(self) -> str:
        """What a warning says of outputs that never had a target; nothing if there are none."""
        if not self.seen:
            return (
                f"none of the {self.samples} samples so far has a target: nothing can be learned.\n"
                "Are they NaN throughout, or shifted by a column? A filter goes on without, but parameters stay."
            )
        if not self._missing.any():
            return ""
        names = getattr(self._system, "output_names", None)
        which = [str(names[k] if names else k) for k in np.flatnonzero(self._missing)]
        return (
            f"of the {self.seen} targets so far all are missing (NaN) for output {', '.join(which[:6])}"
            f"{', …' if len(which) > 6 else ''}: nothing is learned from it.\n"
            "If it is not measured, leave it out of Y, so that predictions are what there are data for."
        )

    # ---- checkpoints

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold."""
        return {"samples": self.samples, "seen": self.seen, "missing": np.flatnonzero(self._missing).tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.samples, self.seen = int(state["samples"]), int(state["seen"])
        self._missing[:] = False
        self._missing[state["missing"]] = True
