"""What is known of a variable of a program while its dependence is followed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwdgrad.program.dependence import Dependence

__all__ = [
    "EXPANSION",
    "Trail",
    "all_zero",
    "broadcast",
    "constant",
    "dense",
    "numbers",
    "some",
    "summed",
    "union_all",
    "united",
]

EXPANSION = 20_000_000
"""Largest space of terms (of a product or a running sum) that is enumerated to make use of what is known of each."""


Change = Callable[[Dependence], Dependence]


@dataclass(frozen=True)
class Trail:
    """What is known of a variable. Entries are in C order."""

    shape: tuple[int, ...]
    depends: Dependence
    varies: Dependence
    zero: np.ndarray | None = None
    """True where an entry is zero whatever the values, shape (N,); None if none is known to be."""
    value: Any = None
    """The value, of a constant."""

    @property
    def size(self) -> int:
        """N."""
        return math.prod(self.shape)

    @property
    def nonzero(self) -> np.ndarray:
        """True where an entry may be other than zero."""
        return np.ones(self.size, bool) if self.zero is None else ~self.zero

    def take(self, entries: np.ndarray, shape: tuple[int, ...]) -> Trail:
        """An array made of some entries of this one."""
        zero = None if self.zero is None else self.zero[entries]
        return self.mapped(shape, lambda d: d.take(entries), some(zero))

    def same(self, other: Trail) -> bool:
        """Whether the same is known of another array of this shape."""
        pairs = [(self.depends, other.depends), (self.varies, other.varies)]
        return np.array_equal(self.nonzero, other.nonzero) and all(a.same(b) for a, b in pairs)

    def mapped(self, shape: tuple[int, ...], change: Change, zero: np.ndarray | None) -> Trail:
        """An array whose dependences are `change` of those of this one, done once if both are the same."""
        depends = change(self.depends)
        return Trail(shape, depends, depends if self.varies is self.depends else change(self.varies), zero)


def constant(value: Any, sources: int) -> Trail:
    """The trail of a constant."""
    array = np.asarray(value)
    nothing = Dependence.nothing(array.size, sources)
    return Trail(array.shape, nothing, nothing, some(array.ravel() == 0), value)


def some(zero: np.ndarray | None) -> np.ndarray | None:
    """`zero`, or None if it is nowhere true."""
    return zero if zero is not None and zero.any() else None


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    """The number of each entry, in the array's shape."""
    return np.arange(math.prod(shape)).reshape(shape)


def broadcast(trail: Trail, shape: tuple[int, ...]) -> Trail:
    """The same entries, repeated along new axes in front and along axes of size 1."""
    if trail.shape == shape:
        return trail
    return trail.take(np.broadcast_to(numbers(trail.shape), shape).ravel(), shape)


def union_all(parts: Sequence[Dependence]) -> Dependence:
    """Entry by entry, of arrays of one size."""
    total = parts[0]
    for part in parts[1:]:
        total = total.union(part)
    return total


def united(trails: Sequence[Trail]) -> tuple[Dependence, Dependence]:
    """What entries depend on in all of some arrays of one shape, and what they vary with."""
    depends = union_all([t.depends for t in trails])
    same = all(t.varies is t.depends for t in trails)
    return depends, depends if same else union_all([t.varies for t in trails])


def all_zero(x: Trail, entries: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray | None:
    """True for the groups all of whose entries are zero."""
    if x.zero is None:
        return None
    return some(np.bincount(groups, ~x.zero[entries], count) == 0)


def summed(x: Trail, axes: tuple[int, ...]) -> Trail:
    """The sum over some axes."""
    shape = tuple(s for k, s in enumerate(x.shape) if k not in axes)
    kept = tuple(1 if k in axes else s for k, s in enumerate(x.shape))
    groups = np.broadcast_to(numbers(kept), x.shape).ravel()
    count = math.prod(shape)
    live = groups if x.zero is None else np.where(x.zero, -1, groups)
    return x.mapped(shape, lambda d: d.merged(live, count), all_zero(x, np.arange(x.size), groups, count))


def dense(trails: Sequence[Trail], shape: tuple[int, ...]) -> Trail:
    """An array each of whose entries depends on all entries of all of some arrays."""
    whole = union_all([t.depends.everything(math.prod(shape)) for t in trails])
    return Trail(shape, whole, whole)
