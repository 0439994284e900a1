"""Which parameters belong to which unit, and which of them is its bias: from the analyzer, or given by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwdgrad.errors import UnknownNameError, did_you_mean
from fwdgrad.optimizers.base import declaration_error, describe
from fwdgrad.optimizers.informed import Setting
from fwdgrad.program import operations as ops
from fwdgrad.structure import Patterns
from fwdgrad.structure.units import units_of

__all__ = ["Group", "Places", "UnitsLike", "checked_units", "units_for"]

UnitsLike = Any
"""None, or for each group of units a mapping leaf → axis; kept as tuples of pairs."""


@dataclass(frozen=True, eq=False)
class Group:
    """Units of the transition, or of the readout."""

    count: int
    owner: dict[str, np.ndarray]
    """Unit of each entry of each leaf of the group, −1 for none."""
    bias: list[tuple[str, int] | None]
    """For each unit its bias: (leaf, flat index)."""


def checked_units(who: str, units: Any) -> tuple[tuple[tuple[str, int], ...], ...] | None:
    """Units given by hand, as tuples.

    Raises:
        DeclarationError: they are not a sequence of mappings leaf → axis.
    """
    if units is None:
        return None
    try:
        groups = tuple(tuple((g.items()) if isinstance(g, Mapping) else g) for g in units)
        made = tuple(tuple((str(k), int(axis)) for k, axis in group) for group in groups)
    except (TypeError, ValueError):
        raise declaration_error(
            f"{who}(units)",
            "a dict for each group of units, leaf → axis that counts the units",
            describe(units),
            'write e.g. units=[{"W": 0, "b": 0}, {"V": 0, "c": 0}]',
        ) from None
    return made


def units_for(who: str, setting: Setting, units: Any, biases: Iterable[str]) -> list[Group]:
    """The groups of units.

    Args:
        who: for messages.
        setting: the leaves.
        units: as `checked_units` gives them; None to ask the analyzer.
        biases: leaves that hold biases, besides those that the analyzer finds.

    Raises:
        DeclarationError: the functions cannot be traced and no units are given, or they do not fit the leaves.
        UnknownNameError: there is no such leaf.
    """
    if units is not None:
        return _with_biases(who, setting, _by_hand(who, setting, units), tuple(biases))
    patterns = setting.analyse()
    if patterns is None:
        raise declaration_error(
            f"{who}: units",
            "functions that can be traced, or units given by hand",
            "neither",
            'give units=[{"W": 0, "b": 0}, …] (leaf → axis that counts the units), or use Diagonal()',
        )
    found = [
        _found(only, leaves)
        for only, leaves in (
            (patterns, setting.groups.get("transition", ())),
            (_readout(patterns, setting.groups.get("readout", ())), setting.groups.get("readout", ())),
        )
        if leaves
    ]
    return _with_biases(who, setting, found, tuple(biases))


def _readout(patterns: Patterns, leaves: tuple[str, ...]) -> Patterns:
    """The output as if it were a transition of these leaves only."""
    return replace(patterns, transition=patterns.output, trainable=leaves, _parts={})


def _found(patterns: Patterns, leaves: tuple[str, ...]) -> Group:
    units = units_of(patterns)
    nothing = {k: np.full(patterns.shapes[k], -1) for k in leaves}
    return Group(units.count, {k: units.parameters.get(k, nothing[k]) for k in leaves}, list(units.bias))


def _by_hand(who: str, setting: Setting, units: Any) -> list[Group]:
    made: list[Group] = []
    seen: set[str] = set()
    for name in (k for group in units for k, _ in group):
        _known(who, setting, name)
    for group in units:
        counts = {_length(who, k, setting.shapes[k], axis) for k, axis in group}
        if len(counts) != 1 or seen & {k for k, _ in group}:
            raise declaration_error(
                f"{who}(units): the group {dict(group)}",
                "leaves that are as long along their axes, each in one group",
                f"lengths {sorted(counts)}" if len(counts) != 1 else "a leaf in two groups",
                "give each leaf once, with the axis that counts the units",
            )
        seen |= {k for k, _ in group}
        (count,) = counts
        owner = {}
        for k, axis in group:
            shape = setting.shapes[k]
            line = np.reshape(np.arange(count), [-1 if a == axis % len(shape) else 1 for a in range(len(shape))])
            owner[k] = np.broadcast_to(line, shape).copy()
        made.append(Group(count, owner, [None] * count))
    others = {k: np.full(s, -1) for k, s in setting.shapes.items() if k not in seen}
    return [*made, Group(0, others, [])] if others else made


def _with_biases(who: str, setting: Setting, groups: list[Group], biases: tuple[str, ...]) -> list[Group]:
    """The groups with the entries of these leaves as biases of the units that they belong to.

    Raises:
        UnknownNameError: there is no such leaf.
        DeclarationError: a unit would have two biases, or an entry belongs to no unit.
    """
    made = [replace(group, bias=list(group.bias)) for group in groups]
    taken: set[tuple[int, int]] = set()
    for k in biases:
        _known(who, setting, k)
        (number,) = (number for number, group in enumerate(made) if k in group.owner)
        owner = made[number].owner[k].ravel().tolist()
        new = {(number, unit) for unit in owner}
        if -1 in owner or len(new) < len(owner) or new & taken:
            raise declaration_error(
                f"{who}(biases): {k!r}",
                "a leaf with one parameter for each of its units, which have no other bias",
                "parameters of no unit" if -1 in owner else f"{len(owner)} for {len(new - taken)} units",
                'write e.g. units=[{"W": 0, "b": 0}, {"V": 0, "c": 0}], biases=["b", "c"]',
            )
        taken |= new
        for index, unit in enumerate(owner):
            made[number].bias[unit] = (k, index)
    return made


def _known(who: str, setting: Setting, name: str) -> None:
    if name not in setting.shapes:
        raise UnknownNameError(f"{who}: there is no learned leaf {name!r}. {did_you_mean(name, setting.shapes)}")


def _length(who: str, name: str, shape: tuple[int, ...], axis: int) -> int:
    if not -len(shape) <= axis < len(shape):
        raise declaration_error(
            f"{who}(units): {name!r}", f"an axis of shape {shape}", f"axis {axis}", "count axes from 0"
        )
    return shape[axis]


class Places:
    """Spreads one number per unit over the entries of a leaf, and sums the entries of each unit.

    Where the unit is `offset` plus the position along one axis of the leaf, no table is needed.
    """

    def __init__(self, owner: np.ndarray, count: int) -> None:
        self._owner, self._count = owner, count
        self._axis, self._offset = _along(owner)

    def spread(self, vector: Any, nothing: float = 0.0) -> Any:
        """An array that broadcasts to the leaf's shape; `nothing` at entries of no unit."""
        if self._axis is None:
            owner = self._owner
            if not self._count:
                return np.full(owner.shape, nothing, vector.dtype)
            picked = np.take(vector, np.maximum(owner, 0))
            return picked if (owner >= 0).all() else np.where(owner >= 0, picked, np.asarray(nothing, vector.dtype))
        shape = self._owner.shape
        length = shape[self._axis]
        mine = vector if length == self._count else vector[self._offset : self._offset + length]
        return np.reshape(mine, tuple(length if k == self._axis else 1 for k in range(len(shape))))

    def sums(self, values: Any) -> Any:
        """Sum of the entries of each unit, shape (count,)."""
        if self._axis is None:
            here = np.flatnonzero(self._owner >= 0)
            index = (("operand",),)
            return ops.scatter_add(np.ravel(values)[here], self._owner.ravel()[here], index=index, shape=(self._count,))
        made = np.sum(values, axis=tuple(k for k in range(self._owner.ndim) if k != self._axis))
        if made.shape[0] == self._count:
            return made
        place = (("slice", self._offset, self._offset + made.shape[0], None),)
        return ops.scatter_add(made, index=place, shape=(self._count,))


def _along(owner: np.ndarray) -> tuple[int | None, int]:
    """The axis along which the unit counts up, and where it begins."""
    for axis in range(owner.ndim):
        line = np.moveaxis(owner, axis, 0).reshape(owner.shape[axis], -1)
        if line.size and line[0, 0] >= 0:
            wanted = (line[0, 0] + np.arange(len(line)))[:, None]
            if np.array_equal(line, np.broadcast_to(wanted, line.shape)):
                return axis, int(line[0, 0])
    return None, 0
