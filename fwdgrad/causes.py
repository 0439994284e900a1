"""Why numbers stopped being finite in a step, where that can be told: found by making the step once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fwdgrad.program.roots import watched
from fwdgrad.trees import flatten

__all__ = ["Cause", "cause"]


class Cause(NamedTuple):
    """What it was."""

    found: str
    """A sentence."""
    quantity: str
    """What is not finite, and in short why."""
    mend: str


def cause(system: Any, given: Sequence[Any], step: Callable[[], Any]) -> Cause | None:
    """The cause, if it is one of those that can be told.

    Args:
        system: the `System`.
        given: all that the transition is given, flat.
        step: makes the transition and the prediction once more.
    """
    if isinstance(system.dt, str):
        place = [name for name in system.x for _ in flatten(system.x[name])].index(system.dt)
        if np.asarray(given[place]) == 0:
            return Cause(
                f"The time since the sample before, {system.dt!r}, is 0, and what is divided by it is not finite.",
                "the state (the time since the sample before is 0)",
                f"Leave out samples at the same time, or do not divide by {system.dt!r}: F is a rate per unit of time.",
            )
    with watched() as failures, np.errstate(all="ignore"):
        step()
    if failures:
        iterations, size = failures[0]
        implicit = f"the implicit equations of method={system.method!r}" if system.dt is not None else "an equation"
        return Cause(
            f"Newton's method does not converge for {implicit} ({iterations} iterations, last change {size:.1g}).",
            "the state (Newton's method does not converge)",
            "A shorter step (dt, or substeps=…) converges, unless a function is outside its domain (log or sqrt of a\n"
            "negative number), or the state or a parameter has already gone astray: then start nearer to what is\n"
            "sought, or let a sample move less (a smaller rate or prior).",
        )
    return None
