"""Which estimator ``estimator="auto"`` takes, and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fwdgrad.analysis.candidates import Candidate, size_of
from fwdgrad.errors import DeclarationError
from fwdgrad.estimators import TBPTT, UORO, Estimator, NoBackTrack
from fwdgrad.structure import Patterns
from fwdgrad.system import System

__all__ = ["Budget", "choose", "short", "some_of"]

FEW = 4
"""NoBackTrack is taken if the rows of ∂F/∂θ cost at most this many backward products."""

MOSTLY = 0.6
"""Its mixed form is taken if the leaves whose rows are cheap hold at least this share of the parameters."""


@dataclass(frozen=True)
class Budget:
    """What exact gradients may cost before a random estimate is preferred.

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
    """The cheapest exact estimator if it fits the budget, else the least noisy unbiased one that stays cheap; and why.

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
    allowed = max(budget.ratio * by["TBPTT(1)"].multiply_adds, budget.floor)
    exact = min([by["RTRL"]] + [by["SparseRTRL"]] * (closed < n * p), key=lambda c: c.multiply_adds)
    if exact.multiply_adds <= allowed and exact.nbytes <= budget.nbytes:
        where = "" if exact.label == "RTRL" else f" on its closed pattern ({closed:,} of {n * p:,} entries)"
        return (
            exact.make(),
            f"exact gradients{where} cost {short(exact.multiply_adds)} multiply-adds a step, "
            f"within the budget of {short(allowed)}.",
        )
    refused = (
        f"exact gradients would cost {short(exact.multiply_adds)} multiply-adds a step (budget {short(allowed)})"
        if exact.multiply_adds > allowed
        else f"exact gradients would keep {short(exact.nbytes)} bytes (budget {short(budget.nbytes)})"
    )
    rows = sum(family.count for family in patterns.row_families)
    if rows <= FEW:
        products = "one backward product gives" if rows == 1 else f"{rows} backward products give"
        return NoBackTrack(), f"{refused}; {products} all rows of ∂F/∂θ, so every state variable has its own scale."
    sparse = size_of(patterns, patterns.sparse_leaves)
    dense = some_of([k for k in patterns.influential if k not in patterns.sparse_leaves])
    if sparse >= MOSTLY * p:
        return (
            NoBackTrack(scale="mixed"),
            f"{refused}; each entry of {dense} feeds many state variables, but the other leaves "
            f"({100 * sparse // p} % of the parameters) give every state variable its scale.",
        )
    why = f"{refused}; each entry of {dense} feeds many state variables"
    if system.dt is not None:
        return UORO(scale="probe"), f"{why}, and state variables of a differential equation have unlike scales."
    return UORO(), f"{why}, so only black-box products are cheap."


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
