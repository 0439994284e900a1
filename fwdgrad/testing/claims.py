"""What is claimed, and which systems are small enough to hold it against all noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Influence, Layout
from fwdgrad.system import System
from fwdgrad.testing.failures import Subject
from fwdgrad.testing.noise import MOST, count, draw
from fwdgrad.testing.problems import Problem, families, model_of

__all__ = ["Claim", "accepted", "checked", "claim_of", "fitting", "refuses"]

Claim = Literal["exact", "unbiased", "biased"]
CLAIMS = ("exact", "unbiased", "biased")


def checked(who: str, claim: Any, steps: Any) -> None:
    """Refuse arguments that make no sense.

    Raises:
        DeclarationError: they make none.
    """
    if claim is not None and claim not in CLAIMS:
        raise DeclarationError(f"{who}(claim=…): expected one of {', '.join(CLAIMS)}, or None; got {claim!r}.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
        raise DeclarationError(
            f"{who}(steps=…): expected an integer of at least 2, got {steps!r}.\n"
            "After a single step there is no past that could have been forgotten."
        )


def claim_of(influence: Influence, problem: Problem, claim: Claim | None) -> Claim:
    """The claim, inferred if it is None."""
    return claim or ("unbiased" if influence.noise(_layout(problem)) else "exact")


def _layout(problem: Problem) -> Layout:
    system, model = problem.system, model_of(problem.system)
    shapes = {k: system.coordinates[k].shape for k in model.leaves}
    return Layout(system.size, shapes, system.dtype, lambda: model.patterns)


def accepted(
    subject: Subject, influence: Influence, system: System | None, steps: int, seed: int
) -> Iterator[list[Problem]]:
    """The problems of each family, but for families that the influence refuses with a DeclarationError.

    Raises:
        AssertionError: it refuses all of them.
        DeclarationError: it refuses the system that is given.
    """
    refused, found = [], False
    for problems in families(system, steps, seed):
        error = refuses(influence, problems[-1])
        if error is None:
            found = True
            yield problems
        elif system is not None:
            raise error
        else:
            refused.append(f"{problems[-1]}: {error}")
    subject.require(found, "every built-in system is refused; give one that fits", "system=…", "\n".join(refused))


def refuses(influence: Influence, problem: Problem) -> DeclarationError | None:
    """Why the influence does not take a system, if it says so."""
    layout = _layout(problem)
    try:
        influence.init(layout, draw(tuple(influence.noise(layout)), "start", np.random.default_rng(0), layout.dtype))
    except DeclarationError as error:
        return error
    return None


def fitting(
    influence: Influence, problems: list[Problem], steps: int, nodes: int, most: float = MOST
) -> tuple[Problem, int, bool]:
    """The largest problem, then the most steps, whose patterns can all be tried: (problem, steps, whether they can)."""
    for problem, length in [*((p, steps) for p in problems), *((problems[-1], t) for t in range(steps - 1, 1, -1))]:
        specs = influence.noise(_layout(problem))
        if count(specs, "start", nodes) * count(specs, "step", nodes) ** length <= most:
            return problem, length, True
    return problems[-1], steps, False
