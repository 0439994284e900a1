"""Dead parameters: those with no path to the loss, whatever the values.

A large leaf is one source here: what is asked is whether any of its entries matters, so matrices cost no more than
numbers do. Of a small one each entry is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fwdgrad.program import Program
from fwdgrad.program.dependence import Dependence, SourceRows, distinct
from fwdgrad.program.rules import trails_of

__all__ = ["Paths", "paths_to_the_loss"]

SINGLY = 64
"""Entries up to which each of a leaf is followed by itself."""

UNUSED = "neither F nor Y uses it"
NO_DERIVATIVE = "it is used only where there is no derivative (a comparison, rounding, an index, a product with zero)"
UNSEEN = "what it changes never reaches the loss"


class Paths(NamedTuple):
    """How parameters reach the loss."""

    dead: dict[str, str]
    """The learned leaves that do not, whatever the values, and why."""
    steps: int
    """After so many steps, a change of any other has reached the loss on all the shortest ways there are."""
    entries: dict[str, np.ndarray]
    """Of learned leaves that do, with up to 64 entries: which of these do not, booleans of the leaf's shape."""


def paths_to_the_loss(
    transition: Program, output: Program, loss: Program | None, number: dict[str, int], trainable: Sequence[str]
) -> Paths:
    """Which leaves reach the loss, and in how many steps.

    Args:
        transition: F, with h as its first input.
        output: Y, with the same inputs; h is the next state.
        loss: with the prediction as its first input; None if its gradient is not that of its value, and so may be any.
        number: input number of each leaf in F and Y.
        trainable: the leaves that are learned.

    Cost: that of following the state and one number per leaf through the three programs.
    """
    (size,) = transition.inputs[0].shape
    shapes = {k: transition.inputs[number[k]].shape for k in number}
    counts = [math.prod(s) if math.prod(s) <= SINGLY else 1 for s in shapes.values()]
    leaves = np.repeat(list(number), counts)
    moved, shown = (_dependence(p, size, list(zip(number.values(), counts, strict=True))) for p in (transition, output))
    count = len(shown.index)
    seen = np.arange(count) if loss is None else _sources(_dependence(loss, count, []), np.arange(1))
    reached, steps = _reached(moved, shown, seen, size)
    alive = set(leaves[reached - size])
    used = {*transition.live_inputs(), *output.live_inputs()}
    felt = {leaves[k - size] for d in (moved, shown) for k in _sources(d, np.arange(len(d.index))) if k >= size}
    reasons = {k: UNUSED if number[k] not in used else UNSEEN if k in felt else NO_DERIVATIVE for k in trainable}
    lost = np.ones(len(leaves), bool)
    lost[reached - size] = False
    parts = {k: lost[leaves == k] for k in trainable if k in alive}
    entries = {k: np.reshape(part, shapes[k]) for k, part in parts.items() if part.any()}
    return Paths({k: reason for k, reason in reasons.items() if k not in alive}, steps, entries)


def _dependence(program: Program, size: int, leaves: Sequence[tuple[int, int]]) -> Dependence:
    """Of a program's output on its first input, of so many entries, and on others: number and sources of each.

    An input has as many sources as entries, or one for all of them.
    """
    total = size + sum(count for _, count in leaves)
    first: list[Dependence | None] = [None] * len(program.inputs)
    first[0] = Dependence.identity(0, size, total)
    place = size
    for k, count in leaves:
        entries = math.prod(program.inputs[k].shape)
        index = np.arange(entries) if count == entries else np.zeros(entries, np.int64)
        first[k] = Dependence(index, SourceRows(np.arange(count + 1), np.arange(place, place + count), total))
        place += count
    (trail,), _ = trails_of(program, first, np.zeros(total, bool))
    return trail.depends


def _sources(dependence: Dependence, entries: np.ndarray) -> np.ndarray:
    """What some entries depend on."""
    return distinct(dependence.rows.gather(distinct(dependence.index[entries])).sources)


def _reached(moved: Dependence, shown: Dependence, predictions: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """The sources behind some predictions, through Y and any number of times F; and how often F at most."""
    found = np.zeros(moved.sources, bool)
    followed = np.zeros(moved.rows.count, bool)  # rows of F's dependence that have been gone through
    fresh, steps = _sources(shown, predictions), 0
    while len(fresh):
        found[fresh] = True
        rows = distinct(moved.index[fresh[fresh < size]])
        rows = rows[~followed[rows]]
        followed[rows] = True
        fresh = distinct(moved.rows.gather(rows).sources)
        fresh = fresh[~found[fresh]]
        steps += 1
    return np.flatnonzero(found[size:]) + size, steps
