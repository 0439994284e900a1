"""Approximate influence, as it is or with an unbiased estimate of what it drops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import SIGNS, Candidate, Costs
from fwdgrad.estimators.exact import snap_row
from fwdgrad.estimators.named import Named
from fwdgrad.influence import Debiased as DebiasedInfluence
from fwdgrad.influence import Decayed as DecayedInfluence
from fwdgrad.influence import Influence, Masked, NoInfluence
from fwdgrad.structure import MOST
from fwdgrad.support.arguments import suggests

__all__ = ["NAMES", "Debiased", "Decayed"]


@suggests
def Decayed(decay: float = 0.0) -> Estimator:
    """Influence that fades by a factor λ a step: S ← λ S + B, in place of A S + B. RFLO (Murray 2019).

    For leaky units, which keep their state but for what leaks, take the factor that they keep. λ = 0 sees the step
    before the last. The cheapest of all that look back. Biased, unless ∂F/∂h is λ times the identity.

    Args:
        decay: λ, in [0, 1].

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> system = fg.System(lambda h, x, p: 0.9 * h + p["a"] * x, None, np.zeros(1), {"a": 1.0}, np.zeros(1))
        >>> exact, faded = fg.Learner(system, fg.RTRL()), fg.Learner(system, fg.Decayed(0.9))
        >>> for learner in (exact, faded):
        ...     history = learner.run(np.ones((9, 1)), np.full((9, 1), np.nan))
        >>> np.allclose(exact.influence_matrix(), faded.influence_matrix())
        True
    """
    return Estimator(DecayedInfluence(decay), name=f"Decayed({decay:g})")


@suggests
def Debiased(approximation: str | Influence = "snap:1", rank: int = 1, watch: bool = False) -> Estimator:
    """An approximation made unbiased: what it drops is carried on by a random influence of rank one.

    Where the approximation is good there is little to estimate, so there is less noise than with UORO and NoBackTrack,
    which estimate all of G: 4 to 20 times less variance on networks with SnAp-1, and orders of magnitude on chains and
    fields with SnAp-k. Unbiased for fixed θ. Windows of one step.

    Args:
        approximation: "snap:k", "decayed:λ", "none" (this is UORO), or an influence that is not random. What estimates
            the rest may be named, too: "snap:k+nobacktrack".
        rank: number of independent copies that are averaged.
        watch: add up what the random part pulls, which is an unbiased estimate of what the approximation's gradient
            lacks: `Learner.bias` then says how biased the approximation would be on the data so far. For rank 1.

    Raises:
        DeclarationError: `approximation` is something else, or `watch` does not go with `rank`.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return np.tanh(theta["W"] @ h + x)
        >>> system = fg.System(F, None, np.zeros(3), {"W": 0.5 * np.eye(3)}, np.zeros(3))
        >>> fg.Debiased("snap:1").name
        'Debiased(SnAp-1)'
        >>> learner = fg.Learner(system, fg.Debiased("snap:1"))
        >>> learner.influence_nbytes()  # SnAp-1: 9 numbers; v and w: 3 + 9, and one for ‖w‖²
        176
    """
    kept, label = _read(approximation)
    if watch and rank != 1:
        raise DeclarationError(f"Debiased(watch=True, rank={rank}): what is watched is one estimate. Use rank=1.")
    return Estimator(DebiasedInfluence(kept, bool(watch)), 1, rank, f"Debiased({label})")


def _read(given: Any) -> tuple[Influence, str]:
    """The approximation, and what to call it."""
    if not isinstance(given, str):
        return given, type(given).__name__
    name, _, number = given.lower().removesuffix("+nobacktrack").partition(":")
    try:
        value = {"snap": int, "decayed": float, "none": str}[name](number or "0")
    except (KeyError, ValueError):
        raise DeclarationError(
            f"Debiased(approximation=…): expected 'snap:k', 'decayed:λ', 'none' or an influence that is not random, "
            f"got {given!r}."
        ) from None
    if name == "snap":
        order = value if number else 1
        return Masked(order), f"SnAp-{order}"
    return (DecayedInfluence(value), f"Decayed({value:g})") if name == "decayed" else (NoInfluence(), "none")


def _decayed(costs: Costs) -> Iterator[Candidate]:
    first = sum(costs.patterns.transition.leaves[k].nnz for k in costs.patterns.influential)
    bias = "takes ∂F/∂h for λ times the identity" if costs.patterns.transition.state.nnz else "none"
    work = costs.base + sum(costs.row_products) + 6.0 * first
    yield Candidate("Decayed(0)", Decayed, work, 8.0 * first, 1 + sum(costs.rows), 0, bias)


def _debiased(costs: Costs) -> Iterator[Candidate]:
    """SnAp-1 and its remainder; of that the terms which `Masked.dropped` has."""
    snap = snap_row(costs)
    n, p = costs.size, costs.influential
    first = sum(costs.patterns.transition.leaves[k].nnz for k in costs.patterns.influential)
    if costs.columns > MOST:
        dropped = costs.products.forward + costs.products.sizes + 6.0 * n
    else:
        dropped = 3.0 * costs.patterns.transition.state.nnz
    remainder = costs.reduced + costs.scales + dropped + 4.0 * first
    yield Candidate(
        "Debiased(SnAp-1)", Debiased, snap.multiply_adds + remainder, snap.nbytes + 8.0 * (n + p), snap.vjps,
        snap.jvps + (2 if costs.columns > MOST else 1), "none", f"{SIGNS}, what SnAp-1 drops",
    )  # fmt: skip


NAMES = (
    Named("decayed", Decayed, _decayed, "λ", float),
    Named("debiased", Debiased, _debiased, "APPROXIMATION"),
)
