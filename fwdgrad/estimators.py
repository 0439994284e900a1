"""Gradient estimators as points of one table: influence × window × rank, under the names they have in the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fwdgrad.errors import DeclarationError
from fwdgrad.influence import Averaged, Exact, Influence, Masked, NoInfluence, RankOne

__all__ = ["RTRL", "TBPTT", "UORO", "Estimator", "NoBackTrack", "SnAp", "SparseRTRL", "estimator_named"]


@dataclass(frozen=True)
class Estimator:
    """How gradients are estimated: what is kept of the past, and how much is differentiated exactly.

    Args:
        influence: how the influence matrix is kept between windows; see `fwdgrad.influence`.
        window: T, the number of consecutive steps that are treated as one map. Within a window gradients are exact;
            the update is made at its end, from the sum of its losses. T states, inputs and targets are stored. Rate
            schedules count updates, so they see one for every T steps.
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
                raise DeclarationError(
                    f"{self.name.partition('(')[0]}({label}=…): expected an integer of at least 1, got {value!r}.\n"
                    "Write 1 for the plain algorithm."
                )
        if self.rank > 1 and isinstance(self.influence, (Exact, Masked, NoInfluence)):
            raise DeclarationError(
                f"{self.name}(rank={self.rank}): copies of what is not random are all the same. Use rank=1."
            )
        if self.window > 1 and isinstance(self.influence, Masked):
            raise DeclarationError(
                f"{self.name}(window={self.window}): the pattern is that of a single step. Use window=1, or RTRL."
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


def SparseRTRL() -> Estimator:
    """Real-time recurrent learning on the closed pattern of the influence matrix: what is always zero is not kept.

    Exact for fixed θ. O(p) for diagonal recurrences; `analyze` says how large the pattern is.
    """
    return Estimator(Masked(), name="SparseRTRL")


def SnAp(order: int = 1) -> Estimator:
    """Sparse n-step approximation (Menick et al. 2021): influence that takes more than `order` steps is dropped.

    Biased, unless the pattern of `order` steps is closed.
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise DeclarationError(f"SnAp(order=…): expected an integer of at least 1, got {order!r}. Write SnAp(1).")
    return Estimator(Masked(order), name=f"SnAp-{order}")


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
        raise DeclarationError(f"{name}(scale=…): expected one of {', '.join(allowed)}, got {scale!r}.")


def TBPTT(window: int) -> Estimator:
    """Truncated backpropagation through time over non-overlapping windows of `window` steps.

    Biased: influence from before the window is ignored (UORO paper, §1 and §6). `TBPTT(1)` is one-step truncation.
    """
    return Estimator(NoInfluence(), window, 1, f"TBPTT({window})")


_NAMED: dict[str, Callable[..., Estimator]] = {
    "rtrl": RTRL,
    "sparse-rtrl": SparseRTRL,
    "snap": SnAp,
    "nobacktrack": NoBackTrack,
    "uoro": UORO,
    "tbptt": TBPTT,
}
_NUMBER = {"snap": "order", "nobacktrack": "window", "uoro": "window", "tbptt": "window"}


def estimator_named(text: str, rank: int = 1) -> Estimator:
    """An estimator from text: "uoro", "nobacktrack", "rtrl", "sparse-rtrl", "snap:2", "tbptt:16" (a window of 16).

    Raises:
        DeclarationError: there is none of that name, or its number is missing, or not a number, or not allowed.
    """
    name, colon, number = text.lower().partition(":")
    if name not in _NAMED:
        raise DeclarationError(f"estimator {text!r} is not known. Choose one of {', '.join(_NAMED)}, or tbptt:16.")
    if name == "tbptt" and not number:
        raise DeclarationError("estimator 'tbptt' needs a window: write tbptt:16 for 16 steps.")
    if colon and (name not in _NUMBER or not number.isdigit()):
        raise DeclarationError(f"estimator {text!r}: expected {name}{' and a number' * (name in _NUMBER)}.")
    options = {_NUMBER[name]: int(number)} if number else {}
    made = _NAMED[name](**options)
    return made if rank == 1 else Estimator(made.influence, made.window, rank, made.name)
