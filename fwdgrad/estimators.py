"""Gradient estimators as points of one table: influence × window × rank, under the names they have in the field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from fwdgrad.errors import DeclarationError, nearly
from fwdgrad.influence import (
    Averaged,
    Directional,
    Exact,
    Influence,
    Kronecker,
    Masked,
    NoInfluence,
    RankOne,
    Split,
    TensorProduct,
)
from fwdgrad.windows import RandomEnd, Sliding, WholeSequence, window_of

__all__ = [
    "ARTBP",
    "BPTT",
    "KFRTRL",
    "RTRL",
    "TBPTT",
    "UORO",
    "Estimator",
    "ForwardGradient",
    "Hybrid",
    "NoBackTrack",
    "SnAp",
    "SparseRTRL",
    "TensorNoBackTrack",
    "estimator_named",
]


@dataclass(frozen=True)
class Estimator:
    """How gradients are estimated: what is kept of the past, and how much is differentiated exactly.

    Args:
        influence: how the influence matrix is kept between windows; see `fwdgrad.influence`.
        window: T, the number of consecutive steps that are treated as one map, or one of the classes in
            `fwdgrad.windows`. Within a window gradients are exact; the update is made at its end, from the sum of its
            losses. T states, inputs and targets are stored. Rate schedules count updates, so they see one for every T
            steps.
        rank: number of independent copies of a random influence that are averaged.
        name: what to call it in reports.

    Raises:
        DeclarationError: `window` or `rank` is not a positive integer, or they do not go with the influence.
    """

    influence: Influence = field(default_factory=RankOne)
    window: Any = 1
    rank: int = 1
    name: str = "estimator"

    def __post_init__(self) -> None:
        label = self.name.partition("(")[0]
        try:
            object.__setattr__(self, "window", window_of(self.window))
        except DeclarationError as error:
            raise DeclarationError(f"{label}: {error} Write window=1 for the plain algorithm.") from None
        if isinstance(self.influence, type):
            raise DeclarationError(
                f"{label}: expected an influence, got the class {self.influence.__name__}. "
                f"Call it: {self.influence.__name__}()."
            )
        if isinstance(self.rank, bool) or not isinstance(self.rank, (int, np.integer)) or self.rank < 1:
            raise DeclarationError(
                f"{label}(rank=…): expected an integer of at least 1, got {self.rank!r}.\n"
                "Write 1 for the plain algorithm."
            )
        object.__setattr__(self, "rank", int(self.rank))
        parts = tuple(_parts(self.influence))
        if self.rank > 1 and all(isinstance(part, (Exact, Masked, NoInfluence)) for part in parts):
            raise DeclarationError(
                f"{self.name}(rank={self.rank}): copies of what is not random are all the same. Use rank=1."
            )
        if self.window != Sliding(1) and any(isinstance(part, Masked) for part in parts):
            raise DeclarationError(
                f"{self.name}: the pattern is that of a single step, not of a window of {self.window}. Use window=1, "
                "or Hybrid."
            )
        if self.window != Sliding(1) and any(isinstance(part, (Kronecker, TensorProduct)) for part in parts):
            raise DeclarationError(
                f"{self.name}: over a window of {self.window} a matrix is used in several products W @ a, one a step.\n"
                "Use window=1, or UORO, which takes windows of any length."
            )
        if not isinstance(self.window, Sliding) and not isinstance(self.influence, NoInfluence):
            raise DeclarationError(
                f"{self.name}: a window of {self.window} has nothing before it to keep an influence of.\n"
                "Use NoInfluence(), or a window of a fixed number of steps."
            )

    @property
    def kept(self) -> Influence:
        """The influence with its copies."""
        return self.influence if self.rank == 1 else Averaged(self.influence, self.rank)


def _parts(influence: Influence) -> Iterator[Influence]:
    """The influences that keep something."""
    if isinstance(influence, Averaged):
        yield from _parts(influence.influence)
    elif isinstance(influence, Split):
        yield from _parts(influence.first)
        yield from _parts(influence.rest)
    else:
        yield influence


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
        raise DeclarationError(
            f"{name}(scale=…): expected one of {', '.join(allowed)}, got {scale!r}." + nearly(scale, allowed)
        )


def KFRTRL(others: str | Influence | None = None, rank: int = 1) -> Estimator:
    """Kronecker-factored RTRL (Mujika, Meier & Steger 2018): a random Kronecker product for each matrix in z = W @ a.

    G̃ = u ⊗ H, reduced from u ⊗ (A H) + a ⊗ D with one random sign. Less noise than UORO for more work: memory r + n·m
    for a matrix (m, r), time O(n² m) per step. Unbiased for fixed θ. Windows of one step.

    A parameter that the transition uses otherwise than in one product with a vector (W @ a, a @ W, R[:, x], and the
    like), such as a bias, has no such form.

    Args:
        others: how these are kept: "uoro", "nobacktrack", "rtrl" (exact: for biases no dearer than the products), or an
            influence. None refuses them, when a learner is made.
        rank: number of independent copies that are averaged, `others` included.

    Raises:
        DeclarationError: `others` is none of these.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return np.tanh(theta["W"] @ h + theta["b"] + x)
        >>> system = fg.System(F, None, np.zeros(2), {"W": np.eye(2), "b": np.zeros(2)}, np.zeros(2))
        >>> learner = fg.Learner(system, fg.KFRTRL(others="rtrl"))
        >>> learner.influence_nbytes()  # u: 2, H: 2·2, and G of b: 2·2 numbers
        80
    """
    kept: Influence = Kronecker() if others is None else Split(Kronecker(), _other("KFRTRL", others))
    return Estimator(kept, 1, rank, "KFRTRL")


def TensorNoBackTrack(others: str | Influence = "uoro", rank: int = 1) -> Estimator:
    """Rank-one influence of order 3, by cube roots of unity: less memory than the parameters themselves.

    For each matrix W (m, r) that enters through one product z = W @ a, G̃ = Re v ⊗ a ⊗ b with complex vectors, v shared
    by all: 2(n + m + r) numbers in place of UORO's n + m·r. NoBackTrack's reduction for tensors of order 3 (Ollivier
    2015, slides). Time per step: two forward products and one backward product. Noisier than UORO: worth it where the
    m·r numbers of UORO's influence cannot be kept. Unbiased for fixed θ. Windows of one step.

    Args:
        others: how parameters are kept that the transition uses otherwise than in one product with a vector (biases
            and the like): "uoro", "nobacktrack", "rtrl", or an influence.
        rank: number of independent copies that are averaged, `others` included.

    Raises:
        DeclarationError: `others` is none of these; or, when a learner is made, no parameter enters through a product.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return np.tanh(theta["W"] @ h + theta["b"] + x)
        >>> n = 32
        >>> system = fg.System(F, None, np.zeros(n), {"W": np.eye(n), "b": np.zeros(n)}, np.zeros(n))
        >>> learner = fg.Learner(system, fg.TensorNoBackTrack())
        >>> learner.influence_nbytes()  # v, a, b: 2·32 each, and 2·32 + 1 numbers for UORO on b
        2056
        >>> learner.params["W"].nbytes
        8192
    """
    return Estimator(Split(TensorProduct(), _other("TensorNoBackTrack", others)), 1, rank, "TensorNoBackTrack")


def _other(name: str, others: Any) -> Influence:
    """The influence of the leaves that a form of influence does not take."""
    rest = _OTHERS.get(others) if isinstance(others, str) else others
    if not all(hasattr(rest, method) for method in ("init", "noise", "pull", "advance")):
        none = ", or None" if name == "KFRTRL" else ""
        raise DeclarationError(
            f"{name}(others=…): expected one of {', '.join(map(repr, _OTHERS))}, an influence{none}, got {others!r}."
        )
    return cast(Influence, rest)


_OTHERS: dict[str, Influence] = {"uoro": RankOne(), "nobacktrack": RankOne("unit"), "rtrl": Exact()}


def ForwardGradient(directions: str = "normal", rank: int = 1, window: int = 1) -> Estimator:
    """Forward gradient (Baydin et al. 2022): the derivative along one random direction u of the parameters, times u.

    v = G u is carried forward by one product a step, and g = (c·v) u. The cheapest of the unbiased estimators, one
    forward product more than truncation, and the noisiest: variance about p‖g‖². Unbiased for fixed θ, as a mean over
    directions.

    The direction is drawn once per trajectory. On an endless stream one trajectory means one direction for ever: θ
    then moves along u alone, but for what the last step tells exactly. `Learner.reset_state` starts a new trajectory
    and draws a new direction; do so as often as the task allows, or use `UORO`, which draws at every step.

    Args:
        directions: "normal", or "signs" (less variance).
        rank: number of independent directions, whose estimates are averaged.
        window: the last `window` steps are differentiated exactly.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return theta["a"] * h + x
        >>> system = fg.System(F, None, np.zeros(1), {"a": 0.5}, np.zeros(1))
        >>> learner = fg.Learner(system, fg.ForwardGradient("signs"))
        >>> history = learner.run(np.ones((3, 1)), np.full((3, 1), np.nan))  # no targets: θ stays
        >>> learner.influence_matrix()  # of a single parameter it is exact, since u² = 1
        array([[2.]])
    """
    if directions not in ("normal", "signs"):
        raise DeclarationError(f"ForwardGradient(directions=…): expected normal or signs, got {directions!r}.")
    return Estimator(Directional(directions), window, rank, "ForwardGradient")


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


def BPTT(checkpoints: bool = False) -> Estimator:
    """Backpropagation through time over the whole sequence: one exact gradient at its end.

    A sequence ends with `Learner.run`, `Learner.finish` or `Learner.reset_state`. Memory O(T n) for T steps, besides
    inputs and targets; time of about two runs forward and one product backward per step.

    Args:
        checkpoints: store O(√T) states and compute the others again: one more run forward.
    """
    return Estimator(NoInfluence(), WholeSequence(checkpoints), 1, "BPTT, checkpoints" if checkpoints else "BPTT")


def ARTBP(probability: float) -> Estimator:
    """Anticipated reweighted truncated backpropagation (Tallec & Ollivier 2017): windows that end at random.

    After each step the window ends with `probability`; what flows back through a step where it did not end is divided
    by 1 − probability. Unbiased for fixed θ, over a whole sequence: E Σ g = Σ ∂ℓ_t/∂θ. Its variance grows with the
    length of the memory that matters, exponentially where 1/(1 − probability) outweighs the system's own forgetting.
    Windows have 1/probability steps on average, with no bound.
    """
    return Estimator(NoInfluence(), RandomEnd(probability), 1, f"ARTBP({probability:g})")


def Hybrid(window: int | None = None) -> Estimator:
    """Exact influence over windows of T steps (Schmidhuber 1992): RTRL, once per window, with BPTT inside it.

    Exact for fixed θ. The influence matrix is multiplied once per window, so a dense system of n state variables and
    n² parameters costs O(n⁴/T + n³) a step; with T = n, the default, O(n³) in place of RTRL's O(n⁴). Memory n·p for G
    and T states.
    """
    return Estimator(Exact(), Sliding(window), 1, f"Hybrid({window})" if window else "Hybrid")


def _stride(stride: int | None) -> str:
    return "" if stride is None else f", stride={stride}"


_NAMED: dict[str, tuple[Callable[..., Estimator], Callable[[str], Any] | None]] = {
    "rtrl": (RTRL, None),
    "sparse-rtrl": (SparseRTRL, None),
    "snap": (SnAp, int),
    "nobacktrack": (lambda window=1: NoBackTrack(window=window), int),
    "uoro": (lambda window=1: UORO(window=window), int),
    "kfrtrl": (KFRTRL, str),
    "tensornobacktrack": (TensorNoBackTrack, str),
    "forward-gradient": (ForwardGradient, str),
    "hybrid": (Hybrid, int),
    "bptt": (BPTT, None),
    "tbptt": (TBPTT, int),
    "artbp": (ARTBP, float),
}
"""Name → the estimator, and what to read the number after a colon as."""
_NUMBERED = {"tbptt": "a window: write tbptt:16 for 16 steps", "artbp": "a probability: write artbp:0.1"}


def estimator_named(text: str, rank: int = 1) -> Estimator:
    """An estimator from text: "uoro", "rtrl", "bptt", "hybrid", "snap:2", "tbptt:16" (a window of 16), "artbp:0.1".

    Likewise "kfrtrl:uoro" and "tensornobacktrack:rtrl" (how other leaves are kept), and "forward-gradient:signs".

    Raises:
        DeclarationError: there is none of that name, or its number is missing, or not a number, or not allowed.
    """
    name, colon, number = text.lower().partition(":")
    if name not in _NAMED:
        raise DeclarationError(
            f"estimator {text!r} is not known. Choose one of {', '.join(_NAMED)}, or tbptt:16." + nearly(name, _NAMED)
        )
    make, read = _NAMED[name]
    if name in _NUMBERED and not number:
        raise DeclarationError(f"estimator {name!r} needs {_NUMBERED[name]}.")
    try:
        options = [] if not colon or read is None else [read(number)]
        if colon and read is None:
            raise ValueError
    except ValueError:
        raise DeclarationError(f"estimator {text!r}: expected {name}{' and a number' * (read is not None)}.") from None
    made = make(*options)
    return made if rank == 1 else replace(made, rank=rank)
