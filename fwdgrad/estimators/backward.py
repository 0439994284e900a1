"""Backward through windows: truncated, whole, with random ends, and with exact influence of the time before."""

from __future__ import annotations

from collections.abc import Iterator

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import Candidate, Costs
from fwdgrad.estimators.named import Named
from fwdgrad.estimators.windows import RandomEnd, Sliding, WholeSequence
from fwdgrad.influence import Exact, NoInfluence
from fwdgrad.support.arguments import suggests

__all__ = ["ARTBP", "BPTT", "NAMES", "TBPTT", "Hybrid"]


@suggests
def TBPTT(window: int, stride: int | None = None) -> Estimator:
    """Truncated backpropagation through time over windows of `window` steps.

    Biased: influence from before the window is ignored (UORO paper, §1 and §6). `TBPTT(1)` is one-step truncation.

    Args:
        window: T, steps that are stored and gone back through.
        stride: steps from one update to the next, a divisor of `window`. If it is less, windows overlap, and each
            loss counts once, in the first window it is in. By default windows do not overlap.
    """
    if window is None:
        raise DeclarationError("TBPTT(window=…): expected an integer of at least 1, got None. Write TBPTT(16).")
    return Estimator(NoInfluence(), Sliding(window, stride), 1, f"TBPTT({window}{_stride(stride)})")


@suggests
def BPTT(checkpoints: bool = False) -> Estimator:
    """Backpropagation through time over the whole sequence: one exact gradient at its end.

    A sequence ends with `Learner.run`, `Learner.finish` or `Learner.reset_state`. Memory O(T n) for T steps, besides
    inputs and targets; time of about two runs forward and one product backward per step.

    Args:
        checkpoints: store O(√T) states and compute the others again: one more run forward.
    """
    return Estimator(NoInfluence(), WholeSequence(checkpoints), 1, "BPTT, checkpoints" if checkpoints else "BPTT")


@suggests
def ARTBP(probability: float) -> Estimator:
    """Anticipated reweighted truncated backpropagation (Tallec & Ollivier 2017): windows that end at random.

    After each step the window ends with `probability`; what flows back through a step where it did not end is divided
    by 1 − probability. Unbiased for fixed θ, over a whole sequence: E Σ g = Σ ∂ℓ_t/∂θ. Its variance grows with the
    length of the memory that matters, exponentially where 1/(1 − probability) outweighs the system's own forgetting.
    Windows have 1/probability steps on average, with no bound.
    """
    return Estimator(NoInfluence(), RandomEnd(probability), 1, f"ARTBP({probability:g})")


@suggests
def Hybrid(window: int | None = None) -> Estimator:
    """Exact influence over windows of T steps (Schmidhuber 1992): RTRL, once per window, with BPTT inside it.

    Exact for fixed θ. The influence matrix is multiplied once per window, so a dense system of n state variables and
    n² parameters costs O(n⁴/T + n³) a step; with T = n, the default, O(n³) in place of RTRL's O(n⁴). Memory n·p for G
    and T states.
    """
    return Estimator(Exact(), Sliding(window), 1, f"Hybrid({window})" if window else "Hybrid")


def _stride(stride: int | None) -> str:
    return "" if stride is None else f", stride={stride}"


TYPICAL = 0.1
"""Probability of an end in the row of `ARTBP`."""


def _walked(costs: Costs, length: float) -> float:
    """A step of a window: forward, back again from the stored state, and a share of the update."""
    update = costs.ends - costs.products.observed
    there, back = costs.products.model, costs.products.observed + costs.products.backward + costs.learned
    return there + back + update / length


def _hybrid(costs: Costs) -> Iterator[Candidate]:
    """Back through the window once for each row of the influence, or forward for each column."""
    n, p, products = costs.size, costs.influential, costs.products
    columns = costs.by_columns
    carried = p * products.both if columns else n * (products.backward + n + p) + (n + 1.0) * p
    yield Candidate(
        f"Hybrid({n})",
        Hybrid,
        _walked(costs, n) + carried + 3.0 * p,
        8.0 * (n * p + n * n),
        1 if columns else 1 + n,
        p if columns else 0,
    )


def _whole(costs: Costs) -> Iterator[Candidate]:
    yield Candidate("BPTT", BPTT, _walked(costs, float("inf")), float("inf"), 1, 0)


def _truncated(costs: Costs) -> Iterator[Candidate]:
    past = costs.influential and costs.patterns.transition.state.nnz
    bias = "forgets the past" if past else "none"
    yield Candidate("TBPTT(1)", lambda: TBPTT(1), costs.ends + costs.products.parameters, 0.0, 1, 0, bias)


def _random_ends(costs: Costs) -> Iterator[Candidate]:
    length = 1 / TYPICAL
    yield Candidate(
        f"ARTBP({TYPICAL:g})",
        lambda: ARTBP(TYPICAL),
        _walked(costs, length),
        8.0 * costs.size * length,
        1,
        0,
        variance="random ends of windows",
    )


NAMES = (
    Named("hybrid", Hybrid, _hybrid, "N", int),
    Named("bptt", BPTT, _whole),
    Named("tbptt", TBPTT, _truncated, "N", int, "a window: write tbptt:16 for 16 steps"),
    Named("artbp", ARTBP, _random_ends, "P", float, "a probability: write artbp:0.1"),
)
