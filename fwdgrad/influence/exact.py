"""Exact influence: real-time recurrent learning (RTRL)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fwdgrad.influence.base import Layout, Leaves, NoiseSpec, Row, squared_norm
from fwdgrad.program import scan
from fwdgrad.support.trees import cut

__all__ = ["Exact", "ExactState"]


class ExactState(NamedTuple):
    """G, one array (n, *leaf shape) per leaf."""

    G: Leaves


@dataclass(frozen=True)
class Exact:
    """G itself, dense: G' = A G + B (Williams & Zipser 1989; NoBackTrack paper, eq. 4).

    Memory n·p numbers. Time per step: min(n, p) products with the Jacobian, and, if p ≥ n, O(n² p) for A G.
    Exact for fixed θ; while θ is being learned, G mixes derivatives at past values of θ, as for every forward method.
    """

    random: ClassVar[bool] = False

    def init(self, layout: Layout, start: tuple[Any, ...] = ()) -> ExactState:
        """Zeros."""
        return ExactState({k: np.zeros((layout.size, *s), layout.dtype) for k, s in layout.leaves.items()})

    def noise(self, layout: Layout) -> tuple[NoiseSpec, ...]:
        """None."""
        return ()

    def pull(self, state: ExactState, row: Row, layout: Layout) -> Leaves:
        """c·G."""
        return {k: np.tensordot(row.array, g, axes=1) for k, g in state.G.items()}

    def advance(self, state: ExactState, lin: Any, noise: tuple[Any, ...]) -> ExactState:
        """A G + B: column by column if there are fewer parameters than state variables, else row by row."""
        size = lin.value.shape[0]
        count = sum(int(np.prod(g.shape[1:], dtype=int)) for g in state.G.values())
        if count < size:
            return ExactState(_columns(state.G, lin, count))
        A, B = lin.jacobians()
        return ExactState({k: np.tensordot(A, g, axes=1) + B[k] for k, g in state.G.items()})

    def push(self, state: ExactState, leaves: Leaves, layout: Layout) -> Any:
        """Σ G v over the leaves: a matrix-vector product for each."""
        return _added([np.tensordot(state.G[k], v, axes=v.ndim) for k, v in leaves.items()])

    def magnitude(self, state: ExactState) -> Any:
        """‖G‖²."""
        return squared_norm(state.G)

    def dense(self, state: ExactState, layout: Layout) -> Leaves:
        """G."""
        return state.G


def _added(parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _columns(G: Leaves, lin: Any, count: int) -> Leaves:
    """A G + B by one Jacobian-vector product per parameter: in direction (G e_j, e_j)."""
    size = lin.value.shape[0]
    shapes = [g.shape[1:] for g in G.values()]
    table = np.concatenate([np.reshape(g, (size, math.prod(g.shape[1:]))) for g in G.values()], axis=1)

    def column(_: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
        direction, unit = row
        return (), (lin.jvp(direction, dict(zip(G, cut(unit, shapes), strict=True))),)

    _, (columns,) = scan(column, (), (np.transpose(table), np.eye(count, dtype=table.dtype)))
    return dict(zip(G, cut(np.transpose(columns), shapes, axis=1), strict=True))
