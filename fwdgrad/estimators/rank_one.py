"""Random influence of rank one: UORO and NoBackTrack."""

from __future__ import annotations

from collections.abc import Iterator

from fwdgrad.errors import DeclarationError, nearly
from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import SIGNS, Candidate, Costs
from fwdgrad.estimators.named import Named
from fwdgrad.influence import RankOne
from fwdgrad.support.arguments import suggests

__all__ = ["NAMES", "UORO", "NoBackTrack"]


@suggests
def UORO(scale: str = "common", rank: int = 1, window: int = 1, signs: str = "signs") -> Estimator:
    """Unbiased online recurrent optimization (Tallec & Ollivier 2018): rank-one influence of a black box.

    Works on any system at a small multiple of the cost of running it. Unbiased for fixed θ.

    Args:
        scale: "common" as in the paper: one scale for all state variables. "probe": one for each, learned from past
            steps by one more forward product, for state variables of unlike scales.
        rank: number of independent copies that are averaged ("rank-k UORO"); divides the variance, multiplies cost.
        window: T of "memory-T UORO": the last T steps are differentiated exactly.
        signs: "signs" or "normal", the distribution of the noise.
    """
    _among("UORO", scale, ("common", "probe"))
    return Estimator(RankOne(scale, signs), window, rank, "UORO")


@suggests
def NoBackTrack(scale: str = "unit", rank: int = 1, window: int = 1, signs: str = "signs") -> Estimator:
    """NoBackTrack, Euclidean version (Ollivier, Tallec & Charpiat 2015): rank-one influence, one scale per unit.

    Less noise than UORO where state variables have unlike scales. Needs the rows of ∂F/∂θ: one backward product where
    each parameter feeds one state variable, n where a parameter feeds all. Unbiased for fixed θ.

    Args:
        scale: "unit" as in the paper; "mixed" takes the scales from the leaves whose rows are cheap, and treats the
            others as UORO does.
        rank: number of independent copies that are averaged; the rows are evaluated once for all of them.
        window: the last `window` steps are differentiated exactly.
        signs: "signs" or "normal", the distribution of the noise.
    """
    _among("NoBackTrack", scale, ("unit", "mixed"))
    return Estimator(RankOne(scale, signs), window, rank, "NoBackTrack")


def _among(name: str, scale: str, allowed: tuple[str, ...]) -> None:
    if scale not in allowed:
        raise DeclarationError(
            f"{name}(scale=…): expected one of {', '.join(allowed)}, got {scale!r}." + nearly(scale, allowed)
        )


def _by_rows(costs: Costs) -> Iterator[Candidate]:
    """NoBackTrack: all rows of B, which are squared and weighted; or those of leaves that have few."""
    (few, many), (coloured, one_by_one), (entries, others) = costs.rows, costs.row_products, costs.row_entries
    begun, nbytes = costs.narrow + costs.reduced, 8.0 * (costs.size + costs.influential)
    yield Candidate(
        "NoBackTrack",
        NoBackTrack,
        begun + costs.scales + coloured + one_by_one + 3.0 * (entries + others),
        nbytes,
        1 + few + many,
        1,
        variance=f"{SIGNS}, one scale per variable",
    )
    yield Candidate(
        "NoBackTrack, mixed",
        lambda: NoBackTrack(scale="mixed"),
        begun + bool(few) * costs.scales + coloured + 3.0 * entries + costs.row_once,
        nbytes,
        1 + few + bool(many),
        1,
        variance=f"{SIGNS}, scales of sparse leaves",
    )


def _black_box(costs: Costs) -> Iterator[Candidate]:
    """UORO: one product backward with random signs in place of the rows."""
    n, p, products = costs.size, costs.influential, costs.products
    begun = costs.narrow + costs.reduced + products.parameters
    yield Candidate(
        "UORO, probe-scaled",
        lambda: UORO(scale="probe"),
        begun + costs.scales + products.both + p + 5.0 * n,
        8.0 * (2 * n + p),
        2,
        2,
        variance=f"{SIGNS}, scales from past steps",
    )
    yield Candidate("UORO", UORO, begun + 2.0 * p, 8.0 * (n + p), 2, 1, variance=f"{SIGNS}, one common scale")


NAMES = (
    Named("nobacktrack", lambda window=1: NoBackTrack(window=window), _by_rows, "N", int),
    Named("uoro", lambda window=1: UORO(window=window), _black_box, "N", int),
)
