"""Gradient estimators as points of one table: influence × window × rank, under the names they have in the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Averaged, Exact, Influence, NoInfluence, RankOne

__all__ = ["RTRL", "TBPTT", "UORO", "Estimator", "NoBackTrack", "estimator_named"]


@dataclass(frozen=True)
class Estimator:
    """How gradients are estimated: what is kept of the past, and how much is differentiated exactly.

    Args:
        influence: how the influence matrix is kept between windows; see `fwdgrad.influence`.
        window: T, the number of consecutive steps that are treated as one map. Within a window gradients are exact;
            the update is made at its end, from the sum of its losses. T states, inputs and targets are stored.
        rank: number of independent copies of a random influence that are averaged.
        name: what to call it in reports.

    Raises:
        DeclarationError: `window` or `rank` is not a positive integer, or `rank` is above 1 for an influence that is
            not random.
    """

    influence: Influence = field(default_factory=RankOne)
    window: int = 1
    rank: int = 1
    name: str = "estimator"

    def __post_init__(self) -> None:
        for label in ("window", "rank"):
            value = getattr(self, label)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DeclarationError(f"{self.name}({label}=…): expected an integer of at least 1, got {value!r}.")
        if self.rank > 1 and isinstance(self.influence, (Exact, NoInfluence)):
            raise DeclarationError(
                f"{self.name}(rank={self.rank}): copies of an influence that is not random are all the same. Use rank=1."
            )

    @property
    def kept(self) -> Influence:
        """The influence with its copies."""
        return self.influence if self.rank == 1 else Averaged(self.influence, self.rank)


def RTRL() -> Estimator:
    """Real-time recurrent learning: the exact influence matrix (Williams & Zipser 1989).

    Exact for fixed θ. Memory n·p, time O(n² p) per step for a dense system of n state variables and p parameters.
    """
    return Estimator(Exact(), name="RTRL")


def UORO(rank: int = 1, window: int = 1, signs: str = "signs") -> Estimator:
    """Unbiased online recurrent optimization (Tallec & Ollivier 2018): rank-one influence, one common scale.

    Works on any system as a black box, at a small multiple of the cost of running it. Unbiased for fixed θ.

    Args:
        rank: number of independent copies that are averaged ("rank-k UORO"); divides the variance, multiplies cost.
        window: T of "memory-T UORO": the last T steps are differentiated exactly.
        signs: "signs" or "normal", the distribution of the noise.
    """
    return Estimator(RankOne("common", signs), window, rank, "UORO")


def NoBackTrack(rank: int = 1, window: int = 1, signs: str = "signs") -> Estimator:
    """NoBackTrack, Euclidean version (Ollivier, Tallec & Charpiat 2015): rank-one influence, one scale per unit.

    Less noise than UORO where state variables have unlike scales. Needs the rows of ∂F/∂θ: cheap where each parameter
    feeds few state variables, n backward products where it does not. Unbiased for fixed θ.

    Args:
        rank: number of independent copies that are averaged; the rows are evaluated once for all of them.
        window: the last `window` steps are differentiated exactly.
        signs: "signs" or "normal", the distribution of the noise.
    """
    return Estimator(RankOne("unit", signs), window, rank, "NoBackTrack")


def TBPTT(window: int) -> Estimator:
    """Truncated backpropagation through time over non-overlapping windows of `window` steps.

    Biased: influence from before the window is ignored (UORO paper, §1 and §6). `TBPTT(1)` is one-step truncation.
    """
    return Estimator(NoInfluence(), window, 1, "TBPTT")


_NAMED: dict[str, Callable[..., Estimator]] = {"rtrl": RTRL, "uoro": UORO, "nobacktrack": NoBackTrack, "tbptt": TBPTT}


def estimator_named(text: str) -> Estimator:
    """An estimator from text such as "uoro", "nobacktrack", "rtrl" or "tbptt:16" (a window of 16).

    Raises:
        DeclarationError: there is none of that name, or the number is missing or not a number.
    """
    name, _, number = text.lower().partition(":")
    if name not in _NAMED:
        raise DeclarationError(f"estimator {text!r} is not known. Choose one of {', '.join(_NAMED)}, or tbptt:16.")
    if name == "rtrl":
        return RTRL()
    if not number and name == "tbptt":
        raise DeclarationError("estimator 'tbptt' needs a window: write tbptt:16 for 16 steps.")
    if number and not number.isdigit():
        raise DeclarationError(f"estimator {text!r}: expected a number of steps after the colon, got {number!r}.")
    return _NAMED[name](window=int(number or 1))
