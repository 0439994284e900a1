"""How much counts scatter: the size of a negative binomial distribution, by maximum likelihood."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

__all__ = ["ENOUGH", "size_of"]

ENOUGH = 0.01
"""A change of the logarithm of the size below which it is found."""
WIDEST = (1e-3, 1e6)
"""Sizes that are looked for, in units of the mean count: from wild to Poisson's."""
STEP = 0.03
"""Of the difference quotient for the curvature, in logarithms."""
POISSON = 1e3
"""Size, in units of the mean count, from which counts scatter as Poisson's."""


def size_of(targets: np.ndarray, means: np.ndarray) -> tuple[float, float]:
    """The likeliest size k for counts with these means, and the deviation of log k; infinite for counts like Poisson's.

    ℓ(k) = −Σ log Γ(y + k) − log Γ(k) + k log k/(k + μ) + y log μ/(k + μ), all that depends on k. Mean and size are
    orthogonal in the Fisher matrix (Lawless, Canadian Journal of Statistics 15, 1987), so neither is known less well
    because the other one is learned.

    Args:
        targets: y, shape (T, m); NaN where nothing was observed.
        means: μ, shape (T, m).

    Example:
        >>> import numpy as np
        >>> rng, mean = np.random.default_rng(0), 10.0 * np.ones((2000, 1))
        >>> size, width = size_of(rng.negative_binomial(5.0, 5.0 / (5.0 + mean)).astype(float), mean)
        >>> print(f"{size:.1f}, to {width:.1g} of it")
        5.2, to 0.05 of it
    """
    seen = np.isfinite(targets) & (means > 0)
    from scipy.optimize import minimize_scalar  # heavy: loaded for counts only

    y, mean = targets[seen], means[seen]
    typical = float(np.mean(mean)) if len(mean) else 1.0

    def cost(u: float) -> float:
        k = math.exp(u)
        return -float(np.sum(gammaln(y + k) - gammaln(k) - k * np.log1p(mean / k) - y * np.log(mean + k)))

    low, high = (math.log(factor * typical) for factor in WIDEST)
    u = float(minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x)
    if u > math.log(POISSON * typical):
        return math.exp(u), math.inf
    curvature = (cost(u + STEP) - 2.0 * cost(u) + cost(u - STEP)) / STEP**2
    return math.exp(u), 1.0 / math.sqrt(curvature) if curvature > 0 else math.inf
