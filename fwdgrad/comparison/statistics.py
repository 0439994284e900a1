"""What follows from the replicas of a random estimate, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fwdgrad.comparison.cost import Cost
from fwdgrad.estimators import Estimator
from fwdgrad.support import display

__all__ = ["Estimate", "mean_interval", "squared_norm_interval", "summarise"]

LEVEL = 0.95

LARGE = 1e5
"""From here on a noncentral chi-square is taken for Gaussian."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What was found out about one estimator. g is its gradient over the whole sequence, g* the exact one.

    With R replicas (1 if the estimator is not random: intervals are points and the variance is 0), p parameters and B
    blocks:

    Attributes:
        label: its name in tables.
        estimator: itself.
        random: whether it asks for random numbers.
        gradients: g of each replica, shape (R, p).
        projections: ⟨g, g*⟩ / ‖g*‖² of each replica, shape (R,). Their mean is 1 for an unbiased estimator.
        projection: their mean.
        projection_interval: 95 % interval of ⟨E g, g*⟩ / ‖g*‖², shape (2,).
        bias: ‖E g − g*‖ / ‖g*‖, estimated without the noise's own contribution; 0 where that leaves nothing.
        bias_interval: 95 % interval of it, shape (2,).
        variance: E ‖g − E g‖² / ‖g*‖².
        block_variance: the same for the gradients made in each block, relative to the exact ones of its steps, shape
            (B,); NaN for a block whose exact gradient is zero.
        cosines: cosine of the angle between g and g* of each replica, shape (R,).
        cost: time and memory.
    """

    label: str
    estimator: Estimator
    random: bool
    gradients: np.ndarray
    projections: np.ndarray
    projection: float
    projection_interval: np.ndarray
    bias: float
    bias_interval: np.ndarray
    variance: float
    block_variance: np.ndarray
    cosines: np.ndarray
    cost: Cost

    @property
    def error(self) -> float:
        """√(E ‖g − g*‖²) / ‖g*‖: bias and noise of one estimate together."""
        return math.hypot(self.bias, math.sqrt(self.variance))

    def __repr__(self) -> str:
        noise = f", variance {self.variance:.3g}" if self.random else ""
        return f"Estimate of {self.label}: projection {self.projection:.3g}, bias {self.bias:.3g}{noise}"

    def _repr_html_(self) -> str:
        (low, high), (least, most) = self.projection_interval, self.bias_interval
        rows = [
            ("projection", f"{self.projection:.4g}, 95 % {low:.4g} to {high:.4g}"),
            ("bias", f"{self.bias:.3g}, 95 % {least:.3g} to {most:.3g}"),
            ("variance", f"{self.variance:.3g}"),
            ("cosine", f"{float(np.mean(self.cosines)):.3f}"),
            ("replicas", str(len(self.gradients))),
        ]
        return display.page(f"Estimate of {self.label}", display.pairs(rows))

    def cosine_quantiles(self, levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> np.ndarray:
        """Quantiles of the cosine of single estimates, shape (len(levels),)."""
        return np.quantile(self.cosines, levels)


def summarise(
    label: str,
    estimator: Estimator,
    gradients: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    exact: np.ndarray,
    cost: Cost,
    random: bool,
) -> Estimate:
    """The statistics of R replicas.

    Args:
        label: see `Estimate`.
        estimator: see `Estimate`.
        gradients: over the whole sequence, shape (R, p).
        sums: Σ_r (g_r − g*) in each block, shape (B, p).
        squares: Σ_r ‖g_r − g*‖² in each block, shape (B,).
        exact: g* of each block, shape (B, p).
        cost: see `Estimate`.
        random: see `Estimate`.
    """
    R, total = len(gradients), exact.sum(axis=0)
    norm = math.sqrt(total @ total)
    deviations = (gradients - total) / norm
    lengths = np.sqrt(np.sum(gradients**2, axis=1))
    projections = gradients @ total / norm**2
    projection, projection_interval = mean_interval(projections)
    squared, interval = squared_norm_interval(deviations)
    centred = deviations - deviations.mean(axis=0)
    variance, spread = 0.0, np.zeros(len(exact))
    if R > 1:
        variance = float(np.sum(centred**2) / (R - 1))
        spread = np.maximum(squares - np.sum(sums**2, axis=1) / R, 0.0) / (R - 1)
    sizes = np.sum(exact**2, axis=1)
    return Estimate(
        label=label,
        estimator=estimator,
        random=random,
        gradients=gradients,
        projections=projections,
        projection=projection,
        projection_interval=projection_interval,
        bias=math.sqrt(max(squared, 0.0)),
        bias_interval=np.sqrt(interval),
        variance=variance,
        block_variance=np.divide(spread, sizes, out=np.full(len(exact), np.nan), where=sizes > 0),
        cosines=np.divide(projections * norm, lengths, out=np.zeros(R), where=lengths > 0),
        cost=cost,
    )


def mean_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, np.ndarray]:
    """Mean of independent numbers, and Student's interval for their expectation. One number is its own interval."""
    mean, R = float(np.mean(values)), len(values)
    half = _student(R - 1, level) * float(np.std(values, ddof=1)) / math.sqrt(R) if R > 1 else 0.0
    return mean, np.array([mean - half, mean + half])


def squared_norm_interval(deviations: np.ndarray, level: float = LEVEL) -> tuple[float, np.ndarray]:
    """β = ‖E d‖² from independent vectors d_1 … d_R, shape (R, p): an unbiased estimate, and an interval.

    With the Gram matrix K_rs = ⟨d_r, d_s⟩, the mean U of its entries off the diagonal has expectation β: the noise's
    own contribution is on the diagonal. Its variance is, for the covariance matrix Σ of d and m = E d,

        Var U = 4 mᵀΣm / R + 2 tr Σ² / (R (R − 1))

    (Hoeffding 1948). Where there is no bias only the second part is left, and U is far from Gaussian: U ± t·(its
    jackknife error) would then contain 0 always, and miss small biases. But U is distributed much as a noncentral
    chi-square that is shifted and scaled so as to have this mean and this variance (Satterthwaite 1946): with σ² the
    variance along the mean of the d_r,

        R U/σ² + D  ~  χ²_D(λ),    D = tr Σ² / σ⁴,    λ = R β/σ²,

    which is exact in one dimension. The interval holds the β for which neither tail at U is less likely than that of
    Student's quantile. tr Σ² is estimated without bias (Li and Chen 2012) where R ≥ 4.

    Returns:
        U, and the interval, cut off at 0, shape (2,). For R = 1: ‖d‖² and a point.
    """
    R = len(deviations)
    mean = deviations.mean(axis=0)
    size = float(mean @ mean)
    centred = deviations - mean
    along = float(np.sum((centred @ mean) ** 2)) / max(R - 1, 1) / size if size > 0 else 0.0
    if along == 0:
        return size, np.array([size, size])
    U = size - float(np.sum(centred**2)) / (R * (R - 1))  # the mean off the diagonal, without cancellation
    unbiased, plain = _trace_of_square(centred @ centred.T)
    D = (unbiased if unbiased > 0 else plain) / along**2
    return U, along / R * _noncentrality(R * U / along + D, D, _student(R - 1, level))


def _noncentrality(x: float, D: float, t: float) -> np.ndarray:
    """The λ for which x is neither too large nor too small for χ²_D(λ), at Gaussian tails beyond t, shape (2,)."""
    if x > LARGE:  # Gaussian: (x − D − λ)² = t² (2 D + 4 λ)
        middle = x - D + 2 * t**2
        half = math.sqrt(max(middle**2 - (x - D) ** 2 + 2 * D * t**2, 0.0))
        return np.maximum([middle - half, middle + half], 0.0)
    from scipy import special  # takes longer to load than all of fwdgrad

    tail = float(special.ndtr(-t))
    low = special.chndtrinc(x, D, 1 - tail) if x > 0 and special.chdtr(D, x) > 1 - tail else 0.0
    return np.array([low, special.chndtrinc(max(x, D), D, tail)])


def _student(freedom: int, level: float) -> float:
    from scipy import special

    return float(special.stdtrit(freedom, (1 + level) / 2))


def _trace_of_square(K: np.ndarray) -> tuple[float, float]:
    """tr Σ² from the Gram matrix of R ≥ 4 centred vectors: without bias, and as it is plainly, a little too large.

    The former takes its means over two, three and four different vectors, which makes it free of their mean.
    """
    R = len(K)
    off = K - np.diag(np.diag(K))
    two = float(np.sum(off**2))
    plain = two / (R * (R - 1))
    if R < 4:
        return plain, plain
    rows = off.sum(axis=1)
    three = float(rows @ rows) - two
    four = float(rows.sum()) ** 2 - 4 * three - 2 * two
    return plain - 2 * three / (R * (R - 1) * (R - 2)) + four / (R * (R - 1) * (R - 2) * (R - 3)), plain
