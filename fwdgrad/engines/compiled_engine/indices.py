"""Index arithmetic: where an element of one array stands in another, as sums of loop variables.

An `Affine` is Σ coefficient·atom + constant. Atoms are loop variables (`Axis`), quotients and remainders, which
reshapes make, and numbers read from data (`Datum`). Everything that moves numbers without changing them (reshape,
transpose, slices, broadcasting, gathers) is a rewriting of such expressions, and costs nothing at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

__all__ = ["Affine", "Axis", "Datum", "Quotient", "Remainder", "flat", "fresh", "spread"]


@dataclass(eq=False)
class Axis:
    """A loop variable that runs from 0 to `size` − 1; `name`, if it is that of a loop around the whole block."""

    size: int
    name: str | None = None


@dataclass(frozen=True)
class Quotient:
    """of // by."""

    of: Affine
    by: int


@dataclass(frozen=True)
class Remainder:
    """of % by."""

    of: Affine
    by: int


@dataclass(frozen=True)
class Datum:
    """An index that is itself data: ``node[index]``, counted from the end if negative, kept within 0 … size − 1."""

    node: Any
    index: tuple[Affine, ...]
    size: int


Atom = Any


@dataclass(frozen=True)
class Affine:
    """Σ coefficient · atom + constant."""

    terms: tuple[tuple[Atom, int], ...] = ()
    constant: int = 0

    @staticmethod
    def of(value: Any) -> Affine:
        """An integer, an axis (of size 1: always 0) or an atom as an expression."""
        if isinstance(value, Affine):
            return value
        if isinstance(value, Axis):
            return Affine(((value, 1),)) if value.size != 1 else Affine()
        if isinstance(value, (Quotient, Remainder, Datum)):
            return Affine(((value, 1),))
        return Affine((), int(value))

    def __add__(self, other: Affine | int) -> Affine:
        other = Affine.of(other)
        coefficients = dict(self.terms)
        for atom, c in other.terms:
            coefficients[atom] = coefficients.get(atom, 0) + c
        kept = tuple((a, c) for a, c in coefficients.items() if c)
        return _rejoined(Affine(kept, self.constant + other.constant))

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(tuple((a, c * factor) for a, c in self.terms), self.constant * factor)

    def bounds(self) -> tuple[int, int]:
        """The least and the largest value."""
        low = high = self.constant
        for atom, c in self.terms:
            least, most = _bounds(atom)
            low += min(c * least, c * most)
            high += max(c * least, c * most)
        return low, high

    def over(self, by: int) -> Affine:
        """The quotient by a positive integer."""
        return self._divided(by)[0]

    def modulo(self, by: int) -> Affine:
        """The remainder."""
        return self._divided(by)[1]

    def _divided(self, by: int) -> tuple[Affine, Affine]:
        if by == 1:
            return self, Affine()
        whole = Affine(tuple((a, c // by) for a, c in self.terms if c % by == 0), self.constant // by)
        rest = Affine(tuple((a, c) for a, c in self.terms if c % by), self.constant % by)
        low, high = rest.bounds()
        if low >= 0 and high < by:
            return whole, rest
        for unit in sorted({gcd(by, c) for _, c in rest.terms} - {1}, reverse=True):
            # (unit·a + b) // (unit·n) is a // n where b is less than a unit
            fine = Affine(tuple((a, c) for a, c in rest.terms if c % unit), rest.constant % unit)
            low, high = fine.bounds()
            if low >= 0 and high < unit:
                coarse = Affine(tuple((a, c // unit) for a, c in rest.terms if not c % unit), rest.constant // unit)
                quotient, remainder = coarse._divided(by // unit)
                return whole + quotient, remainder * unit + fine
        return whole + Affine.of(Quotient(rest, by)), Affine.of(Remainder(rest, by))

    def replaced(self, by: Mapping[Axis, Affine]) -> Affine:
        """With loop variables replaced by expressions."""
        if not by:
            return self
        result = Affine((), self.constant)
        for atom, c in self.terms:
            result = result + _replaced(atom, by) * c
        return result

    def axes(self) -> set[Axis]:
        """The loop variables it depends on."""
        return {axis for atom, _ in self.terms for axis in _axes(atom)}


def _rejoined(sum_: Affine) -> Affine:
    """With a·(x // n)·n + a·(x % n) written as a·x: a reshape and its inverse leave nothing behind."""
    coefficients = dict(sum_.terms)
    for rest, c in sum_.terms:
        if isinstance(rest, Remainder):
            whole = Quotient(rest.of, rest.by)
            if coefficients.get(whole) == c * rest.by:
                kept = tuple((a, b) for a, b in sum_.terms if a not in (rest, whole))
                return Affine(kept, sum_.constant) + rest.of * c
    return sum_


def _bounds(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Axis):
        return 0, max(atom.size - 1, 0)
    if isinstance(atom, Quotient):
        low, high = atom.of.bounds()
        return low // atom.by, high // atom.by
    return 0, max((atom.by if isinstance(atom, Remainder) else atom.size) - 1, 0)


def _replaced(atom: Atom, by: Mapping[Axis, Affine]) -> Affine:
    if isinstance(atom, Axis):
        return by.get(atom, Affine.of(atom))
    if isinstance(atom, Quotient):
        return atom.of.replaced(by).over(atom.by)
    if isinstance(atom, Remainder):
        return atom.of.replaced(by).modulo(atom.by)
    return Affine.of(Datum(atom.node, tuple(i.replaced(by) for i in atom.index), atom.size))


def _axes(atom: Atom) -> set[Axis]:
    if isinstance(atom, Axis):
        return {atom}
    if isinstance(atom, Datum):
        return {axis for i in atom.index for axis in i.axes()}
    return atom.of.axes()


def fresh(shape: Iterable[int]) -> tuple[Axis, ...]:
    """New loop variables over `shape`."""
    return tuple(Axis(size) for size in shape)


def flat(index: Sequence[Affine], shape: Sequence[int]) -> Affine:
    """The place, in C order, of an element of an array of `shape`."""
    place = Affine()
    for number, i in enumerate(index):
        place = place + i * prod(shape[number + 1 :])
    return place


def spread(place: Affine, shape: Sequence[int]) -> tuple[Affine, ...]:
    """The index that stands at a place in C order: the inverse of `flat`."""
    index: list[Affine] = []
    for number in range(len(shape)):
        below = prod(shape[number + 1 :])
        part = place.over(below) if below else Affine()
        index.append(part if number == 0 else part.modulo(shape[number]) if shape[number] else Affine())
    return tuple(index)
