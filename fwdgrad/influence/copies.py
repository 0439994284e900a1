"""Several independent influences of one kind, side by side: what an average of them and one for each stream share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.influence.base import Influence, Layout, NoiseSpec
from fwdgrad.program import map_rows
from fwdgrad.support.trees import flatten, unflatten

__all__ = ["Copies"]


@dataclass(frozen=True)
class Copies:
    """`copies` of `influence`, each with noise of its own; every array of their state has a leading axis."""

    influence: Influence
    copies: int

    @property
    def parts(self) -> tuple[Influence, ...]:
        """What is copied."""
        return (self.influence,)

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> Any:
        """Each copy with its own start."""
        copies = [self.influence.init(layout, tuple(a[k] for a in start)) for k in range(self.copies)]
        return unflatten(copies[0], [np.stack(leaf) for leaf in zip(*map(flatten, copies), strict=True)])

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """Independent noise for each copy."""
        return tuple(s._replace(shape=(self.copies, *s.shape)) for s in self.influence.noise(layout))

    def magnitude(self, state: Any) -> Any:
        """Sum over the copies."""
        if not flatten(state):
            return 0.0

        (each,) = map_rows(lambda *copy: [self.influence.magnitude(unflatten(state, copy))], *flatten(state))
        return np.sum(each)

    def each(self, state: Any) -> list[Any]:
        """The states of the copies, one by one."""
        return [unflatten(state, [leaf[k] for leaf in flatten(state)]) for k in range(self.copies)]
