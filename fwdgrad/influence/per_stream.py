"""An influence for each of several streams: independent ones, of states that do not feed each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.influence.base import ExplicitRow, Layout, Leaves, Row
from fwdgrad.influence.copies import Copies

__all__ = ["PerStream"]


@dataclass(frozen=True)
class PerStream(Copies):
    """A copy of `influence` for each stream. `layout` is that of one stream throughout.

    Each has noise of its own, so that the noise of the mean gradient falls with their number.
    """

    def pull(self, state: Any, row: Row, layout: Layout) -> Leaves:
        """c·G̃, summed over the streams, for a row on the states of all of them, shape (copies·n,)."""
        rows = np.reshape(row.array, (self.copies, layout.size))
        made: Leaves = {}
        for own, c in zip(self.each(state), rows, strict=True):
            for name, leaf in self.influence.pull(own, ExplicitRow(c), layout).items():
                made[name] = made[name] + leaf if name in made else leaf
        return made

    def advance(self, state: Any, lin: Any, noise: tuple[Any, ...]) -> Any:
        """Never: each stream has a linearization of its own, with which `PanelSteps` advances its influence."""
        raise NotImplementedError

    def dense(self, state: Any, layout: Layout) -> Leaves:
        """The matrices of all streams, one below the other: (copies·n, …)."""
        made = [self.influence.dense(own, layout) for own in self.each(state)]
        return {name: np.concatenate([np.asarray(m[name]) for m in made]) for name in made[0]}
