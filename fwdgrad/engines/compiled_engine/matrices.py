"""Products of large matrices, which are left to the BLAS."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fwdgrad.engines.compiled_engine.indices import Affine, Axis, flat
from fwdgrad.engines.compiled_engine.moves import reshape
from fwdgrad.engines.compiled_engine.nodes import Call, Literal, Node, View, stored

__all__ = ["matrix_product"]

Factor = tuple[Node, tuple[Affine, ...]]

NARROW, FEW = 8, 1 << 14
"""Products with a side shorter than this, or fewer multiplications in all, are loops: they can share others."""


def matrix_product(
    factors: Sequence[Factor], out: tuple[Axis, ...], over: Sequence[Axis], dtype: np.dtype, label: Any
) -> Node | None:
    """Σ of a product of two arrays as one call, if it is a large product of two matrices; else None."""
    if len(factors) != 2 or dtype.kind != "f" or any(n.dtype != dtype or isinstance(n, Literal) for n, _ in factors):
        return None
    bases = [_base(f) for f in factors]
    axes = [found for node, at in bases if (found := _axes(node, at)) is not None]
    wanted = tuple(a for a in out if a.size != 1)
    summed = tuple(a for a in over if a.size != 1)
    if len(axes) != 2 or not summed:
        return None
    left = tuple(a for a in wanted if a in axes[0] and a not in axes[1])
    right = tuple(a for a in wanted if a in axes[1] and a not in axes[0])
    if wanted == (*right, *left) != (*left, *right):
        bases, axes, left, right = bases[::-1], axes[::-1], right, left
    sides = [prod(a.size for a in part) for part in (left, right, summed)]
    if wanted != (*left, *right) or min(sides) < NARROW or prod(sides) < FEW:
        return None
    first, second = _turned(axes[0], left, summed), _turned(axes[1], summed, right)
    if first is None or second is None:
        return None
    arrays = tuple(stored(node) for node, _ in bases)
    rows, columns, inner = sides
    made = Call(
        shape=(rows, columns),
        dtype=dtype,
        helper=f"matmul_{first}{second}",
        operands=arrays,
        extra=(rows, inner, columns),
        **label,
    )
    return reshape(made, tuple(a.size for a in out))


def _base(factor: Factor) -> Factor:
    node, at = factor
    return _base((node.source, node.index(at))) if isinstance(node, View) else factor


def _axes(node: Node, at: tuple[Affine, ...]) -> tuple[Axis, ...] | None:
    """The loop variables that go through all of an array once, the fastest last; None if none do.

    An array that was reshaped counts: what matters is where its numbers stand in memory.
    """
    place = flat(at, node.shape)
    if place.constant or not all(isinstance(atom, Axis) for atom, _ in place.terms):
        return None
    found, size = [], 1
    for axis, stride in sorted(place.terms, key=lambda term: term[1]):
        if stride != size:
            return None
        found.append(axis)
        size *= axis.size
    return tuple(reversed(found)) if size == node.size else None


def _turned(axes: tuple[Axis, ...], rows: tuple[Axis, ...], columns: tuple[Axis, ...]) -> str | None:
    """Whether an array over `axes` is a matrix of these rows and columns ("n"), or the transposed one ("t")."""
    if set(axes) != {*rows, *columns} or len(axes) != len(rows) + len(columns):
        return None
    return "n" if axes == (*rows, *columns) else "t" if axes == (*columns, *rows) else None
