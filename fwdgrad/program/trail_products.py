"""How dependence passes through sums of products."""

from __future__ import annotations

import math

import numpy as np

from fwdgrad.program.trail import EXPANSION, Trail, numbers, some, summed, united

__all__ = ["contracted"]


def contracted(trails: list[Trail], subscripts: str) -> Trail:
    """A sum of products: every factor of every term that is not known to be zero."""
    left, out = subscripts.split("->")
    letters = left.split(",")
    sizes = {c: s for word, t in zip(letters, trails, strict=True) for c, s in zip(word, t.shape, strict=True)}
    shape = tuple(sizes[c] for c in out)
    count = math.prod(shape)
    space = math.prod(sizes.values())
    # a matrix-vector product has no more terms than the matrix has entries
    expand = any(t.zero is not None for t in trails) and space <= max(EXPANSION, *(t.size for t in trails))
    if expand:
        parts, zero = _terms(trails, letters, out, sizes, count)
    else:  # no known zeros, or too many terms: each factor reaches every entry that its free letters allow
        parts, zero = [_factor(t, word, out, sizes) for t, word in zip(trails, letters, strict=True)], None
    depends, varies = united([p for p in parts if not p.depends.empty] or parts[:1])
    moving = sum(t.value is None for t in trails)
    return Trail(shape, depends, depends if moving > 1 else varies, zero)


def _factor(t: Trail, word: str, out: str, sizes: dict[str, int]) -> Trail:
    """What one factor contributes if every other is dense: summed over its lost letters, spread over the others."""
    lost = tuple(k for k, c in enumerate(word) if c not in out)
    reduced = summed(t, lost)
    kept = [c for c in word if c in out]
    grid = numbers(reduced.shape)
    order = sorted(range(len(kept)), key=lambda k: out.index(kept[k]))
    grid = np.transpose(grid, order).reshape(tuple(sizes[c] if c in kept else 1 for c in out))
    shape = tuple(sizes[c] for c in out)
    return reduced.take(np.broadcast_to(grid, shape).ravel(), shape)


def _terms(
    trails: list[Trail], letters: list[str], out: str, sizes: dict[str, int], count: int
) -> tuple[list[Trail], np.ndarray | None]:
    """What each factor contributes through the terms of the sum in which no factor is known to be zero.

    Also, where there is no such term.
    """
    every = list(sizes)
    live = np.ones([sizes[c] for c in every], bool)
    grids = []
    for t, word in zip(trails, letters, strict=True):
        order = sorted(range(len(word)), key=lambda k: every.index(word[k]))
        shape = tuple(sizes[c] if c in word else 1 for c in every)
        grids.append(np.transpose(numbers(t.shape), order).reshape(shape))
        if t.zero is not None:
            live &= np.transpose(t.nonzero.reshape(t.shape), order).reshape(shape)
    target = np.transpose(
        numbers(tuple(sizes[c] for c in out)), sorted(range(len(out)), key=lambda k: every.index(out[k]))
    ).reshape(tuple(sizes[c] if c in out else 1 for c in every))
    where = np.nonzero(live)
    groups = np.broadcast_to(target, live.shape)[where]
    spread = [np.broadcast_to(grid, live.shape)[where] for grid in grids]
    parts = [_gathered(t, groups, e, count) for t, e in zip(trails, spread, strict=True)]
    return parts, some(np.bincount(groups, minlength=count) == 0)


def _gathered(t: Trail, groups: np.ndarray, entries: np.ndarray, count: int) -> Trail:
    return t.mapped((count,), lambda d: d.selected(groups, entries, count), None)
