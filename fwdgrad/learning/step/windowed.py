"""A window as one step: forward through its samples, back through them, one update, and the influence carried on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwdgrad.learning.step.gradient import Carry, Outcome, Steps
from fwdgrad.linear import Segment, Window, backpropagate
from fwdgrad.program import scan
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.support.types import Leaves

__all__ = ["Older", "Samples", "walk", "window"]


class Older(NamedTuple):
    """The steps of an overlapping window that were learned from before: state before each (Q, n), and input."""

    states: Any
    inputs: Any


class Samples(NamedTuple):
    """The newest s samples, in the containers of the system, with a leading axis s; see `Segment` for the masks."""

    inputs: Any
    targets: Any
    counted: Any
    """1.0 where a sample has a target, else 0.0."""
    alive: Any
    """1.0 for a sample, 0.0 for a filling behind the last one: fewer than s only where nothing is older."""


def walk(steps: Steps, carry: Carry, x: Any, y: Any, counted: Any) -> tuple[Carry, Any, Outcome]:
    """A step inside of a window: the state goes on, nothing is learned. Also the state before it."""
    h, seen = steps.forward(carry.h, carry.params, x, y)
    return carry._replace(h=h), carry.h, _counted(steps, seen, counted)


def window(
    steps: Steps, carry: Carry, older: Older | None, samples: Samples, noise: tuple[Any, ...], learns: bool
) -> tuple[Carry, Older | None, Outcome]:
    """What `forward`, `backward`, `apply` and `advance` of `Steps` do for a full window, in one.

    Args:
        steps: those of the estimator.
        carry: its state is that before the newest samples, its influence that of the state before the oldest step.
        older: None where windows do not overlap.
        samples: the newest samples.
        noise: of the influence.
        learns: whether there is a target; without one nothing is learned.

    Returns:
        The same after the samples, their losses (NaN without a target) and predictions with a leading axis, and a
        health that is finite exactly if that of each part is, unless their sum is too large a number.
    """
    after, states, seen = _forward(steps, carry, samples)
    made, health = carry, seen.health
    if learns:
        count = np.sum(samples.counted).astype(np.float64)
        made, magnitude = steps.apply(carry, *_backward(steps, carry, older, states, samples), count)
        health = health + magnitude
    leaving, alive, kept = Older(states, samples.inputs), samples.alive, None
    if older is not None:
        leaving, kept = _moved(older, leaving)
        alive = None
    if flatten(carry.influence):
        end = after if kept is None else kept.states[0]
        influence, magnitude = steps.advance(carry, *leaving, end, noise, alive)
        made, health = made._replace(influence=influence), health + magnitude
    return made._replace(h=after), kept, seen._replace(health=health)


def _moved(older: Older, newest: Older) -> tuple[Older, Older]:
    """The steps that leave the window, and those that stay."""
    count = newest.states.shape[0]
    columns = [np.concatenate(pair) for pair in zip(flatten(older), flatten(newest), strict=True)]
    first, last = ([column[part] for column in columns] for part in (slice(None, count), slice(count, None)))
    return unflatten(older, first), unflatten(older, last)


def _forward(steps: Steps, carry: Carry, samples: Samples) -> tuple[Any, Any, Outcome]:
    """The state after the samples, the one before each, and what was seen, all healths added up."""
    system = steps.model.system
    x, y = flatten(samples.inputs), flatten(samples.targets)

    def turn(state: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, Any]:
        (h,), (counted, alive, *rest) = state, row
        given, target = unflatten(system.given, rest[: len(x)]), unflatten(system.y, rest[len(x) :])
        after, seen = steps.forward(h, carry.params, given, target)
        seen = _counted(steps, seen, counted)
        return (np.where(alive > 0, after, h),), (h, *seen)

    (h,), (states, *seen) = scan(turn, (carry.h,), (samples.counted, samples.alive, *x, *y))
    losses, predictions, healths = seen
    return h, states, Outcome(losses, predictions, np.sum(healths))


def _counted(steps: Steps, seen: Outcome, counted: Any) -> Outcome:
    """A step's outcome with a loss, and a health that knows of it, only where the step has a target."""
    there, no_loss = counted > 0, np.asarray(np.nan, steps.layout.dtype)
    health = seen.health + np.where(there, seen.loss, 0.0)
    return Outcome(np.where(there, seen.loss, no_loss), seen.prediction, health)


def _backward(steps: Steps, carry: Carry, older: Older | None, states: Any, samples: Samples) -> tuple[Any, Leaves]:
    """Derivatives of the newest losses in the state before the oldest step, and in θ from there on."""
    system, params = steps.model.system, carry.params
    nothing = np.zeros(system.size, system.dtype), {k: np.zeros_like(system.coordinates[k]) for k in system.trainable}
    inputs, targets, counted, alive = samples
    segment = Segment(states, inputs, targets, counted, np.ones(alive.shape, system.dtype), alive)
    cotangent, sums = backpropagate(steps.model, params, segment, *nothing)
    if older is None:
        return cotangent, sums
    cotangent, past = Window(steps.model, *older, carry.h, params).vjp(cotangent)
    return cotangent, sums | {k: sums[k] + v for k, v in past.items()}
