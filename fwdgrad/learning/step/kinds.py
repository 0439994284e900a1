"""The kinds of steps that there are: what each is called, what it is given, and what it does.

`Execution` prepares a kind when it is first needed, as a function of flat arrays on its engine. Loops call kinds by the
constants here. A kind that goes through several samples in one call is another function for each number of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.learning.step.gradient import Carry
from fwdgrad.learning.step.windowed import Older, Samples, walk, window
from fwdgrad.linear import Segment
from fwdgrad.support.trees import flatten, leaf_names, unflatten
from fwdgrad.system import System

__all__ = [
    "ADVANCE",
    "APPLY",
    "BACKWARD",
    "FORWARD",
    "IDLE",
    "KINDS",
    "LEARN",
    "PREDICT",
    "PREDICTIVE_VARIANCE",
    "REPLAY",
    "TRANSIT",
    "WALK",
    "WINDOW",
    "StepKind",
    "examples",
    "repeated",
]

LEARN, TRANSIT = "learn", "transit"
"""One sample, with a target and without: (*carry, loss, prediction, health)."""
PREDICT, PREDICTIVE_VARIANCE = "predict", "predictive_variance"
"""(h', prediction); (prediction, its variance over what is not known of θ)."""
FORWARD = "forward"
"""Inside a window: (h', loss, prediction, health)."""
REPLAY = "replay"
"""The states of a segment, again, from the one before it."""
BACKWARD = "backward"
"""Back through a segment: (cotangent, *sums) before it from those behind it."""
APPLY = "apply"
"""The update at the end of a window, from the losses of so many samples: (*carry, health)."""
ADVANCE = "advance"
"""The influence after consecutive steps: (*influence, health)."""
WALK = "walk"
"""A step inside of a window, as one of a stream: (*carry, state before it, loss, prediction, health)."""
WINDOW, IDLE = "window", "idle"
"""All of a window, with targets and without: (*carry, *older, losses, predictions, health)."""


class StepKind(NamedTuple):
    """One kind of step."""

    given: str
    """What it is given after the carry, in order: labels of `examples`."""
    body: Callable[..., Any]
    """(steps, carry, what it is given…) ↦ its results, in containers."""
    often: bool = True
    """Whether it is made so often that compiling it may be worth while."""
    strides: bool = False
    """Whether its samples are those between two updates."""


KINDS: dict[str, StepKind] = {
    LEARN: StepKind("x y noise", lambda s, *given: s.learn(*given)),
    TRANSIT: StepKind("x noise", lambda s, *given: s.transit(*given)),
    PREDICT: StepKind("x", lambda s, c, x: s.predict(c.h, c.params, x), often=False),
    PREDICTIVE_VARIANCE: StepKind("x", lambda s, *given: s.predictive_variance(*given), often=False),
    FORWARD: StepKind("x y", lambda s, c, x, y: s.forward(c.h, c.params, x, y)),
    REPLAY: StepKind("inputs alive", lambda s, c, inputs, alive: s.replay(c.h, c.params, inputs, alive)),
    BACKWARD: StepKind("segment derivatives", lambda s, c, segment, d: s.backward(c.params, segment, *d)),
    APPLY: StepKind("derivatives samples", lambda s, c, d, samples: s.apply(c, *d, samples)),
    ADVANCE: StepKind("states inputs value noise", lambda s, *given: s.advance(*given)),
    WALK: StepKind("x y counted", walk),
    WINDOW: StepKind("older rows noise", partial(window, learns=True), strides=True),
    IDLE: StepKind("older rows noise", partial(window, learns=False), strides=True),
}
"""Every kind of step, by name."""


def examples(
    label: str, system: System, carry: Carry, noise: tuple[Any, ...], older: Older | None, length: int
) -> tuple[Any, list[str]]:
    """An example of what a step is given under a label, and names of its arrays.

    Args:
        label: "carry", or one of those in `StepKind.given`.
        system: the declared system.
        carry: an example.
        noise: what is drawn for a step.
        older: steps that stay in a window when it moves.
        length: how many samples the step goes through.
    """
    marks, states = np.zeros(length, system.dtype), np.zeros((length, system.size), system.dtype)
    inputs, targets = (repeated(like, length) for like in (system.given, system.y))
    rows = [*leaf_names(system.given, "xs"), *leaf_names(system.y, "ys")]
    match label:
        case "carry":
            return carry, _carry_names(carry)
        case "x":
            return system.given, leaf_names(system.given, "x")
        case "y":
            return system.y, leaf_names(system.y, "y")
        case "noise":
            return noise, [f"noise{i}" for i in range(len(noise))]
        case "states":
            return states, ["states"]
        case "inputs":
            return inputs, leaf_names(system.given, "xs")
        case "alive":
            return marks, ["alive"]
        case "value":
            return system.initial, ["value"]
        case "segment":
            segment = Segment(states, inputs, targets, marks, marks, marks)
            return segment, ["states", *rows, "counted", "factor", "alive"]
        case "derivatives":
            cotangent = np.zeros(system.size, system.dtype)
            sums = {k: np.zeros_like(system.coordinates[k]) for k in system.trainable}
            return (cotangent, sums), ["cotangent", *(f"sum_{k}" for k in sums)]
        case "samples":
            return np.ones(()), ["samples"]
        case "older":
            return older, ["older_states", *leaf_names(system.given, "older_xs")] if older else []
        case "rows":
            return Samples(inputs, targets, marks, marks), [*rows, "counted", "alive"]
        case "counted":
            return np.ones((), system.dtype), ["counted"]
    raise KeyError(label)


def repeated(like: Any, count: int) -> Any:
    """Containers of arrays with a leading axis of so many rows."""
    return unflatten(like, [np.zeros((count, *leaf.shape), leaf.dtype) for leaf in flatten(like)])


def _carry_names(carry: Carry) -> list[str]:
    return [
        "h",
        *carry.params,
        *(name.removeprefix("influence_") for name in leaf_names(carry.influence, "influence")),
        *leaf_names(carry.optimizer, "optimizer"),
        *(f"rate{k}" for k in range(len(carry.constants))),
    ]
