"""Random influence in factors, for matrices that enter through a product: KF-RTRL, and tensors of order 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from fwdgrad.errors import DeclarationError
from fwdgrad.estimators.base import Estimator
from fwdgrad.estimators.costs import Candidate, Costs, size_of
from fwdgrad.estimators.named import Named
from fwdgrad.influence import Exact, Influence, Kronecker, KroneckerSum, RankOne, Split, TensorProduct
from fwdgrad.influence.kronecker_sum import groups_of
from fwdgrad.support.arguments import suggests

__all__ = ["KFRTRL", "NAMES", "OK", "TensorNoBackTrack"]


@suggests
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
        DeclarationError: `others` is something else.

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


@suggests
def OK(rank: int = 4, others: str | Influence | None = None) -> Estimator:
    """Optimal Kronecker-sum RTRL (Benzing et al. 2019): r random Kronecker products for matrices in z = W @ a.

    G̃ = Σ_j u_j ⊗ H_j, j = 1 … r, reduced from Σ_j u_j ⊗ (A H_j) + a ⊗ D, r + 1 terms, with the least variance: what is
    large is kept as it is, and random signs merge the small rest. Unlike copies of `KFRTRL`, whose variance falls as
    1/r, its variance falls with the singular values: on networks of some tens of units r = 4 has a hundredth of
    KFRTRL's, and learns as exact gradients do. Matrices that meet the same vector are one matrix;
    what meets a vector of at most r numbers is exact. Memory r (length of a + n·m), time O(r n² m) a step.

    Unbiased for fixed θ. Windows of one step.

    Args:
        rank: r.
        others: as for `KFRTRL`: how parameters are kept that the transition uses otherwise, such as biases. "rtrl" is
            exact, and no dearer than a product. None refuses them, when a learner is made.

    Raises:
        DeclarationError: `rank` is not a positive integer, or `others` is something else.

    Example:
        >>> import numpy as np, fwdgrad as fg
        >>> def F(h, x, theta):
        ...     return np.tanh(theta["W"] @ h + theta["b"] + x)
        >>> system = fg.System(F, None, np.zeros(6), {"W": np.eye(6), "b": np.zeros(6)}, np.zeros(6))
        >>> learner = fg.Learner(system, fg.OK(2, others="rtrl"))
        >>> learner.influence_nbytes()  # u: 2·6, H: 2·6·6, and G of b: 6·6 numbers
        960
    """
    kept = KroneckerSum(rank)
    return Estimator(kept if others is None else Split(kept, _other("OK", others)), 1, 1, f"OK({rank})")


@suggests
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
        DeclarationError: `others` is something else; or, when a learner is made, no parameter enters through a product.

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
        none = ", or None" if name in ("KFRTRL", "OK") else ""
        raise DeclarationError(
            f"{name}(others=…): expected one of {', '.join(map(repr, _OTHERS))}, an influence{none}, got {others!r}."
        )
    return cast(Influence, rest)


_OTHERS: dict[str, Influence] = {"uoro": RankOne(), "nobacktrack": RankOne("unit"), "rtrl": Exact()}


NO_PRODUCT = "no parameter enters F in one product W @ a"


def _rest(costs: Costs) -> tuple[int, float]:
    """The parameters that are in no product, and what UORO takes for them."""
    n, products = costs.size, costs.products
    p = costs.influential - size_of(costs.patterns, tuple(costs.patterns.products))
    return p, (products.forward + products.others + 8.0 * p + 6 * n + 25) if p else 0.0


def _kronecker(costs: Costs) -> Iterator[Candidate]:
    """A H by forward products, D by backward ones, four norms, and the sums; other leaves as in UORO."""
    matrices = costs.patterns.products
    make = lambda: KFRTRL("uoro")  # noqa: E731
    if not matrices:
        yield Candidate.refused("KFRTRL", make, NO_PRODUCT)
        return
    n, patterns, products = costs.size, costs.patterns, costs.products
    widths = [patterns.shapes[k][1 - product.axis] for k, product in matrices.items()]
    m, r = sum(widths), sum(patterns.shapes[k][product.axis] for k, product in matrices.items())
    colours = sum(int(result.colours.max(initial=-1)) + 1 for result in patterns.results.values())
    p, rest = _rest(costs)
    through = n * products.forward + n * n * m if n <= m else m * products.forward
    apart = colours * products.sensitivities / len(matrices)
    work = through + apart + 6.0 * n * m + 4.0 * r + n * m + size_of(patterns, tuple(matrices))
    yield Candidate(
        "KFRTRL",
        make,
        costs.base + work + rest,
        8.0 * (n * m + r + (n + p if p else 0)),
        1 + colours + bool(p),
        min(n, m) + bool(p),
        variance="random signs, Kronecker factors",
    )


OK_RANK = 4
"""Products of each group in the row of `OK`."""


def _kronecker_sum(costs: Costs) -> Iterator[Candidate]:
    """A H for r products by way of A, their mixing, and D by backward products; other leaves as in RTRL."""
    matrices = costs.patterns.products
    make = lambda: OK(OK_RANK, "rtrl")  # noqa: E731
    if not matrices:
        yield Candidate.refused(f"OK({OK_RANK})", make, NO_PRODUCT)
        return
    n, patterns, products = costs.size, costs.patterns, costs.products
    groups = groups_of(patterns)
    m = sum(g.ends[-1] for g in groups)
    kept = sum(min(OK_RANK, g.length) * g.ends[-1] for g in groups)
    vectors = sum(OK_RANK * g.length for g in groups if g.length > OK_RANK)
    colours = sum(int(result.colours.max(initial=-1)) + 1 for result in patterns.results.values())
    p = _rest(costs)[0]
    rest = p * products.both if p < n else n * products.backward + (n + 1.0) * n * p
    through = n * products.forward + n * n * kept if n <= kept else kept * products.forward
    apart = colours * products.sensitivities / len(matrices)
    # the triangle of the terms, and as much for mixing them
    mixing = 2.0 * (OK_RANK + 1) * n * (m + kept) if vectors else 0.0
    yield Candidate(
        f"OK({OK_RANK})",
        make,
        costs.base + through + apart + mixing + n * kept + OK_RANK * size_of(patterns, tuple(matrices)) + rest,
        8.0 * (n * kept + vectors + n * p),
        1 + colours + (n if p >= n else 0),
        min(n, kept) + (p if p < n else 0),
        variance="random signs, small components",
    )


def _tensor(costs: Costs) -> Iterator[Candidate]:
    """The tensors of matrices in products; other leaves as in UORO."""
    matrices = tuple(costs.patterns.products)
    if not matrices:
        yield Candidate.refused("TensorNoBackTrack", TensorNoBackTrack, NO_PRODUCT)
        return
    n, patterns, products = costs.size, costs.patterns, costs.products
    entries, sides = size_of(patterns, matrices), sum(sum(patterns.shapes[k]) for k in matrices)
    p, rest = _rest(costs)
    # A v twice; v, a and b scaled, merged and measured; two outer products for the pull at G̃, and one sum
    tensor = 2 * products.forward + products.sensitivities + 4.0 * entries + 14.0 * (n + sides) + 100
    yield Candidate(
        "TensorNoBackTrack",
        TensorNoBackTrack,
        costs.narrow + tensor + rest,
        8.0 * (2 * (n + sides) + (n + p if p else 0)),
        3 if p else 2,
        3 if p else 2,
        variance="random signs and cube roots",
    )


NAMES = (
    Named("kfrtrl", KFRTRL, _kronecker, "OTHERS"),
    Named("ok", lambda rank=OK_RANK: OK(rank, "rtrl"), _kronecker_sum, "N", int),
    Named("tensornobacktrack", TensorNoBackTrack, _tensor, "OTHERS"),
)
