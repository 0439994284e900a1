"""Dead parameters: those with no path to the loss, whatever the values.

Every leaf is one source here, however large: what is asked is whether any of its entries matters, so matrices cost no
more than numbers do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fwdgrad.program import Program
from fwdgrad.structure.dependence import Dependence, Rows, distinct
from fwdgrad.structure.rules import trails_of

__all__ = ["Paths", "paths_to_the_loss"]

UNUSED = "neither F nor Y uses it"
NO_DERIVATIVE = "it is used only where there is no derivative (a comparison, rounding, an index, a product with zero)"
UNSEEN = "what it changes never reaches the loss"


class Paths(NamedTuple):
    """How parameters reach the loss."""

    dead: dict[str, str]
    """The learned leaves that do not, whatever the values, and why."""
    steps: int
    """After so many steps, a change of any other has reached the loss on all the shortest ways there are."""


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
    leaves = list(number)
    moved, shown = (_dependence(program, size, [number[k] for k in leaves]) for program in (transition, output))
    count = len(shown.index)
    seen = np.arange(count) if loss is None else _sources(_dependence(loss, count, []), np.arange(1))
    reached, steps = _reached(moved, shown, seen, size)
    alive = {leaves[k - size] for k in reached}
    used = {*transition.live_inputs(), *output.live_inputs()}
    felt = {leaves[k - size] for d in (moved, shown) for k in _sources(d, np.arange(len(d.index))) if k >= size}
    reasons = {k: UNUSED if number[k] not in used else UNSEEN if k in felt else NO_DERIVATIVE for k in trainable}
    return Paths({k: reason for k, reason in reasons.items() if k not in alive}, steps)


def _dependence(program: Program, size: int, numbers: Sequence[int]) -> Dependence:
    """Of a program's output on its first input, of so many entries, and on other inputs, one source each."""
    total = size + len(numbers)
    first: list[Dependence | None] = [None] * len(program.inputs)
    first[0] = Dependence.identity(0, size, total)
    for place, k in enumerate(numbers):
        entries = math.prod(program.inputs[k].shape)
        first[k] = Dependence(np.zeros(entries, np.int64), Rows(np.array([0, 1]), np.array([size + place]), total))
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
