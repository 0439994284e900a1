"""The mean of several independent copies of a random influence: rank k from rank one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.influence.base import ExplicitRow, Layout, Leaves, Row
from fwdgrad.influence.copies import Copies
from fwdgrad.program import map_rows
from fwdgrad.support.trees import flatten, unflatten

__all__ = ["Averaged"]


@dataclass(frozen=True)
class Averaged(Copies):
    """`copies` independent copies of `influence`, averaged: the same mean, the variance divided by `copies`.

    Every array of the copies' state gets a leading axis. What does not depend on the copy, such as the rows of B, is
    computed once for all of them (NoBackTrack paper, "Extensions"; UORO paper, §3.4).
    """

    def pull(self, state: Any, row: Row, layout: Layout) -> Leaves:
        """Mean of the copies' c·G̃."""
        names: list[str] = []
        c = ExplicitRow(row.array)  # one product backward serves all copies

        def pull(*copy: Any) -> list[Any]:
            leaves = self.influence.pull(unflatten(state, copy), c, layout)
            names[:] = list(leaves)
            return list(leaves.values())

        pulled = map_rows(pull, *flatten(state))
        return {k: np.mean(p, axis=0) for k, p in zip(names, pulled, strict=True)}

    def advance(self, state: Any, lin: Any, noise: tuple[Any, ...]) -> Any:
        """Each copy with its own noise."""
        count = len(flatten(state))

        def advance(*row: Any) -> list[Any]:
            return flatten(self.influence.advance(unflatten(state, row[:count]), lin, row[count:]))

        return unflatten(state, map_rows(advance, *flatten(state), *noise))

    def dense(self, state: Any, layout: Layout) -> Leaves:
        """Mean of the copies' matrices."""
        copies = [self.influence.dense(own, layout) for own in self.each(state)]
        return {k: sum(c[k] for c in copies) / self.copies for k in copies[0]}
