"""Backpropagation through time: the gradient of the losses of consecutive steps, backward through their states."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwdgrad.linear.base import Leaves, Model
from fwdgrad.program import scan
from fwdgrad.support.trees import flatten, unflatten

__all__ = ["Segment", "backpropagate", "replay"]


class Segment(NamedTuple):
    """L consecutive steps of a trajectory, or fewer, filled up with steps that do not count.

    Inputs and targets are in the containers of the system, with a leading axis L. What stands in the rows of steps that
    are not `alive` must be such that F and Y can be evaluated there; nothing else is taken from them.
    """

    states: Any
    """State before each step, shape (L, n)."""
    inputs: Any
    targets: Any
    counted: Any
    """1.0 where the loss of a step counts, else 0.0, shape (L,)."""
    factor: Any
    """What the cotangent that arrives from the following step is multiplied by, shape (L,): 1.0, usually."""
    alive: Any
    """1.0 for a step that was made, 0.0 for a filling, shape (L,)."""


def backpropagate(model: Model, params: Leaves, segment: Segment, cotangent: Any, sums: Leaves) -> tuple[Any, Leaves]:
    """Go back through a segment.

    c ← (f_t c + ∂ℓ_t/∂h_t) A_t and sums ← sums + (f_t c + ∂ℓ_t/∂h_t) B_t + d_t, for t from the last step to the first.

    Args:
        model: the system.
        params: θ, fixed.
        segment: its steps.
        cotangent: derivative, in the state after the segment, of all later losses, shape (n,).
        sums: derivative of all later losses in θ, without what goes through that state.

    Returns:
        The same two for the state before the segment. Cost: one linearization and one backward product a step.
    """
    system, names = model.system, list(sums)
    x, y = flatten(segment.inputs), flatten(segment.targets)

    def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
        c, *totals = carry
        total = dict(zip(names, totals, strict=True))
        h, counts, factor, alive, *rest = row
        given, target = unflatten(system.given, rest[: len(x)]), unflatten(system.y, rest[len(x) :])
        lin = model.linearize(h, given, params)
        slope, direct = model.observe(lin.value, given, target, params).gradient()
        seen = counts > 0  # not a product: the derivative of a loss without a target may be anything
        through, leaves = lin.vjp(alive * (factor * c + np.where(seen, slope, 0.0)))
        total = total | {k: total[k] + np.where(seen, d, 0.0) for k, d in direct.items()}
        total = total | {k: total[k] + g for k, g in leaves.items()}
        return (through + (1.0 - alive) * c, *total.values()), ()

    rows = (segment.states, segment.counted, segment.factor, segment.alive, *x, *y)
    (c, *totals), _ = scan(turn, (cotangent, *sums.values()), rows, reverse=True)
    return c, dict(zip(names, totals, strict=True))


def replay(model: Model, params: Leaves, h: Any, inputs: Any, alive: Any) -> Any:
    """The state before each of L steps from the first of them, shape (L, n); a filling leaves the state as it is."""
    system = model.system

    def turn(carry: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
        before, (made, *x) = carry[0], row
        after, _ = model.advance(before, unflatten(system.given, x), params)
        return (np.where(made > 0, after, before),), (before,)

    return scan(turn, (h,), (alive, *flatten(inputs)))[1][0]
