"""An influence for each of several streams: independent ones, of states that do not feed each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.influence.base import Coordinates, Influence, Layout, Leaves, NoiseSpec, Row
from fwdgrad.program import scan
from fwdgrad.support.trees import flatten, unflatten

__all__ = ["PerStream"]


@dataclass(frozen=True)
class PerStream:
    """`count` influences side by side; every array of their state has a leading axis of streams.

    Each has noise of its own, so that the noise of the mean gradient falls with their number. `layout` is that of one
    stream throughout.
    """

    influence: Influence
    count: int

    @property
    def parts(self) -> tuple[Influence, ...]:
        """What each stream has."""
        return (self.influence,)

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> Any:
        """Each with its own start."""
        made = [self.influence.init(layout, tuple(a[k] for a in start)) for k in range(self.count)]
        return unflatten(made[0], [np.stack(leaf) for leaf in zip(*map(flatten, made), strict=True)])

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """Independent noise for each."""
        return tuple(s._replace(shape=(self.count, *s.shape)) for s in self.influence.noise(layout))

    def pull(self, state: Any, row: Row, layout: Layout) -> Leaves:
        """c·G̃, summed over the streams, for a row on the states of all of them, shape (count·n,)."""
        rows = np.reshape(row.array, (self.count, layout.size))
        made: Leaves = {}
        for k in range(self.count):
            own = unflatten(state, [leaf[k] for leaf in flatten(state)])
            for name, leaf in self.influence.pull(own, Coordinates(rows[k]), layout).items():
                made[name] = made[name] + leaf if name in made else leaf
        return made

    def advance(self, state: Any, lin: Any, noise: tuple[Any, ...]) -> Any:
        """Never: each stream has a linearization of its own, with which `PanelSteps` advances its influence."""
        raise NotImplementedError

    def magnitude(self, state: Any) -> Any:
        """Sum over the streams."""
        if not flatten(state):
            return 0.0

        def turn(_: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
            return (), (self.influence.magnitude(unflatten(state, row)),)

        return np.sum(scan(turn, (), flatten(state))[1][0])

    def dense(self, state: Any, layout: Layout) -> Leaves:
        """The matrices of all streams, one below the other: (count·n, …)."""
        made = [
            self.influence.dense(unflatten(state, [leaf[k] for leaf in flatten(state)]), layout)
            for k in range(self.count)
        ]
        return {name: np.concatenate([np.asarray(m[name]) for m in made]) for name in made[0]} if made else {}
