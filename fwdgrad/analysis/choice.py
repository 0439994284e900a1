"""Which estimator ``estimator="auto"`` takes, and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import TBPTT, Candidate, Estimator, size_of
from fwdgrad.structure import Patterns
from fwdgrad.support.arguments import suggests
from fwdgrad.system import System

__all__ = ["Budget", "choose", "short", "some_of"]

FEW = 4
"""NoBackTrack is taken if the rows of ∂F/∂θ cost at most this many backward products."""

MOSTLY = 0.6
"""Its mixed form is taken if the leaves whose rows are cheap hold at least this share of the parameters."""


HANDFUL = 8
"""With at most this many numbers to learn exact gradients are taken whatever they cost.

A random estimate costs as much as two or three columns of ∂h/∂θ, and its variance is that of all columns together.
"""

NEAR = 2.5
"""Exact gradients are taken if they cost at most this many times what the random estimate does."""


@suggests
@dataclass(frozen=True)
class Budget:
    """What exact gradients may cost before a random estimate is preferred.

    However small it is, exact gradients are taken where they are about as cheap as the random estimate would be (at
    most 2.5 times as many multiply-adds, within `nbytes`), and for at most eight numbers to learn.

    Args:
        ratio: multiply-adds per step, as a multiple of those of one-step truncation (which every estimator contains).
        floor: multiply-adds per step that are always allowed: below it, a step costs more in overhead than in numbers.
        nbytes: memory of the influence.

    Raises:
        DeclarationError: one of them is not a number of at least 0.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> F = lambda h, x, theta: np.tanh(theta["W"] @ h)
        >>> system = fg.System(F, None, np.zeros(8), {"W": np.eye(8)})
        >>> fg.analyze(system).choice.name, fg.analyze(system, fg.Budget(floor=1000)).choice.name
        ('RTRL', 'NoBackTrack')
    """

    ratio: float = 4.0
    floor: float = 20_000.0
    nbytes: float = 1e9

    def __post_init__(self) -> None:
        for label in ("ratio", "floor", "nbytes"):
            value = getattr(self, label)
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not number or not value >= 0:
                raise DeclarationError(f"Budget({label}=…): expected a number of at least 0, got {value!r}.")


def choose(
    system: System, patterns: Patterns, closed: int, candidates: Sequence[Candidate], budget: Budget
) -> tuple[Estimator, str]:
    """The cheapest exact estimator where it is affordable, else the least noisy unbiased one that is cheap; and why.

    Exact gradients are affordable within the budget, at no more than `NEAR` times the cost of the random estimate that
    would take their place, and always for a `HANDFUL` of numbers to learn.

    Args:
        system: as declared.
        patterns: of its Jacobians.
        closed: entries of the closed influence pattern.
        candidates: all of them.
        budget: what exact gradients may cost.
    """
    n, p = patterns.size, size_of(patterns, patterns.influential)
    if not p:
        return TBPTT(1), "no learned parameter feeds the state, so the direct gradient is all there is."
    by = {c.label: c for c in candidates}
    exact = min([by["RTRL"]] + [by["SparseRTRL"]] * (closed < n * p), key=lambda c: c.multiply_adds)
    label, why = _random(system, patterns, p)
    random = by[label]
    where = "" if exact.label == "RTRL" else f" on its closed pattern ({closed:,} of {n * p:,} entries)"
    costs = f"exact gradients{where} cost {short(exact.multiply_adds)} multiply-adds a step"
    allowed = max(budget.ratio * by["TBPTT(1)"].multiply_adds, budget.floor)
    fits = exact.nbytes <= budget.nbytes
    if fits and exact.multiply_adds <= allowed:
        return exact.make(), f"{costs}, within the budget of {short(allowed)}."
    if fits and exact.multiply_adds <= NEAR * random.multiply_adds:
        return exact.make(), f"{costs}, and {random.label}, which is random, {short(random.multiply_adds)}."
    if p <= HANDFUL:
        return exact.make(), f"{costs}, and for {p} number{'s' * (p > 1)} to learn no random estimate is as good."
    refused = (
        f"exact gradients would cost {short(exact.multiply_adds)} multiply-adds a step (budget {short(allowed)})"
        if exact.multiply_adds > allowed
        else f"exact gradients would keep {short(exact.nbytes)} bytes (budget {short(budget.nbytes)})"
    )
    return random.make(), f"{refused}; {why}"


def _random(system: System, patterns: Patterns, p: int) -> tuple[str, str]:
    """The label of the unbiased random estimator to take if none is exact, and why that one."""
    rows = sum(family.count for family in patterns.row_families)
    if rows <= FEW:
        products = "one backward product gives" if rows == 1 else f"{rows} backward products give"
        return "NoBackTrack", f"{products} all rows of ∂F/∂θ, so every state variable has its own scale."
    sparse = size_of(patterns, patterns.sparse_leaves)
    dense = some_of([k for k in patterns.influential if k not in patterns.sparse_leaves])
    why = f"each entry of {dense} feeds many state variables"
    if sparse >= MOSTLY * p:
        share = f"the other leaves ({100 * sparse // p} % of the parameters) give every state variable its scale."
        return "NoBackTrack, mixed", f"{why}, but {share}"
    if system.dt is not None:
        return "UORO, probe-scaled", f"{why}, and state variables of a differential equation have unlike scales."
    return "UORO", f"{why}, so only black-box products are cheap."


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many there are besides."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} others"


def short(number: float) -> str:
    """A count in a few characters: 950, 12.3k, 4.5M."""
    if number < 9999.5:
        return f"{number:.0f}"
    for size, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")):
        if number < 999.5 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.2g}" if math.isfinite(number) else "∞"
