"""Whether targets that were fitted as numbers with Gaussian noise are counts, or yes and no."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import fdtrc

from fwdgrad.losses import SquaredError

__all__ = ["counted"]

FEWEST = 16
"""Targets of an output, at least."""
CHANCE = 1e-3
"""Probability with which residuals of one size are taken for some that grow with the prediction."""
KINDS = {
    "yes and no": "losses.Bernoulli(), likelihood = bernoulli, with an output that is the logarithm of the odds",
    "counts": "losses.Poisson() or losses.NegativeBinomial(), likelihood = poisson or negative_binomial",
}


def counted(loss: object, names: Sequence[str], targets: np.ndarray, outputs: np.ndarray) -> list[str]:
    """A sentence for each kind of outputs that are whole numbers, none of them negative, in a Gaussian fit.

    Such counts are told of where their residuals grow with the prediction, as those of counts do: whole numbers may be
    measurements that were rounded, and where the variance is about the same everywhere, its estimate is right.

    Args:
        loss: of the system.
        names: of the outputs.
        targets: shape (T, m), NaN where missing.
        outputs: what was fitted, likewise.
    """
    if type(loss) is not SquaredError:
        return []
    found: dict[str, list[str]] = {}
    for name, y, mean in zip(names, targets.T, outputs.T, strict=True):
        seen = np.isfinite(y)
        y, mean = y[seen], mean[seen]
        if len(y) < FEWEST or np.any(y < 0) or np.any(y != np.round(y)) or np.ptp(y) == 0:
            continue
        if np.max(y) <= 1:
            found.setdefault("yes and no", []).append(name)
        elif _grow(y - mean, mean):
            found.setdefault("counts", []).append(name)
    return [
        f"{' and '.join(outputs)}: whole numbers, none negative, look like {kind}, whose noise is not Gaussian: "
        f"deviations may be wrong ({KINDS[kind]})"
        for kind, outputs in found.items()
    ]


def _grow(residuals: np.ndarray, means: np.ndarray) -> bool:
    """Whether residuals are larger in the half where predictions are, by Fisher's test of two variances."""
    order = np.argsort(means, kind="stable")
    half = len(order) // 2
    small, large = (float(np.mean(residuals[part] ** 2)) for part in (order[:half], order[-half:]))
    return small == 0 < large or bool(small > 0 and fdtrc(half, half, large / small) < CHANCE)
