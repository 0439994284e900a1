"""Covariance of fitted parameters, with residuals that need not be white."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import chdtri

__all__ = ["long_run", "longest_memory", "normalised", "quiet", "remembered", "robust"]

ROUNDING = 1e-5
"""Part of the deviation of targets up to which residuals are those of numbers, and of methods, and not noise."""

LONGEST = 0.2
"""Lags up to this part of a trajectory are taken into a long-run variance."""
MOST_LAGS, FEWEST = 10, 16
"""Lags that are tested, at most; and residuals, at least."""
CHANCE = 1e-4
"""Probability with which white residuals are taken for others."""
CLIP = 3.0
"""Normalised residuals beyond this count as this, so that no outlier makes or hides a memory."""
REACH = 4.0
"""Lags are taken up to so many times the time that residuals remember."""


def robust(covariance: np.ndarray, scores: np.ndarray, starts: Sequence[int], memory: float) -> np.ndarray:
    """Factors f ≥ 1 of the deviations: those of P S P over those of P, where these are larger; shape (p,).

    P is the covariance for independent residuals, S the long-run covariance of the scores s_t = −∂ℓ_t/∂u,
    Σ_l (1 − |l|/(L + 1)) Σ_t s_t s_{t−l}ᵀ, within trajectories: residuals with a memory tell less than their
    number (Newey and West, Econometrica 55, 1987).

    Args:
        covariance: P, shape (p, p).
        scores: shape (T, p).
        starts: the first sample of each trajectory.
        memory: samples that residuals remember.
    """
    ends = [*starts[1:], len(scores)]
    total = np.zeros_like(covariance)
    for start, end in zip(starts, ends, strict=True):
        total += long_run(scores[start:end], memory)
    sandwich = np.diag(covariance @ total @ covariance)
    return np.sqrt(np.maximum(sandwich / np.diag(covariance), 1.0))


def quiet(targets: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Which outputs have no noise to speak of, shape (m,): what is left of them is rounding, and need not be white.

    Args:
        targets: shape (T, m), NaN where nothing was observed.
        noise: variances of the residuals, shape (m,).
    """
    spread = np.array([np.std(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in targets.T])
    return np.sqrt(noise) <= ROUNDING * spread


def normalised(loss: Any, targets: np.ndarray, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Residuals of variance 1, if all is right, (T, m); NaN where nothing was observed, or there is no noise.

    Over their scale; or −∂ℓ/∂ŷ over the root of the Fisher matrix' diagonal, Pearson's residuals, of counts.

    Args:
        loss: of numbers, component by component.
        targets: shape (T, m), NaN where nothing was observed.
        outputs: ŷ, likewise.
        noise: variances of the residuals, shape (m,); of no meaning for a loss without a scale.
    """
    if hasattr(loss, "weight"):
        return np.where(quiet(targets, noise), np.nan, loss.standard((targets - outputs) / np.sqrt(noise)))
    made = np.full(outputs.shape, np.nan)
    with np.errstate(all="ignore"):
        for k, (prediction, y) in enumerate(zip(outputs, targets, strict=True)):
            made[k] = -loss.gradient(prediction, y) / np.sqrt(np.diag(loss.fisher(prediction)))
    return np.where(np.isfinite(targets), made, np.nan)


def longest_memory(z: np.ndarray, starts: Sequence[int]) -> float:
    """Samples that normalised residuals remember, shape (T, m), of the output that does most; see `remembered`."""
    return max(remembered(column, starts) for column in z.T)


def long_run(scores: np.ndarray, memory: float) -> np.ndarray:
    """The long-run covariance of a series times its length, with Bartlett's weights: shape (p, p).

    Args:
        scores: shape (T, p).
        memory: as in `robust`.
    """
    lags = int(min(LONGEST * len(scores), REACH * memory))
    made = scores.T @ scores
    for lag in range(1, lags + 1):
        cross = scores[lag:].T @ scores[:-lag]
        made = made + (1.0 - lag / (lags + 1)) * (cross + cross.T)
    return made


def remembered(z: np.ndarray, starts: Sequence[int]) -> float:
    """How many samples residuals remember: 1 + 2 Σ ρ_l of one output, where they are not white; else 1.

    A portmanteau test on the whole record (Ljung and Box, Biometrika 65, 1978): N (N + 2) Σ ρ_l²/(N − l) is χ² of as
    many degrees of freedom as there are lags, if residuals are independent. The sum goes up to the first ρ_l below 0
    (the initial positive sequence of Geyer, Statistical Science 7, 1992). Lags do not reach over trajectories.

    Args:
        z: normalised residuals of one output, shape (T,); NaN where nothing was observed.
        starts: the first sample of each trajectory.
    """
    parts = [part[np.isfinite(part)] for part in np.split(z, list(starts)[1:])]
    count, longest = sum(len(p) for p in parts), max((len(p) for p in parts), default=0)
    lags = min(MOST_LAGS, longest // 4)
    if lags < 1 or count < FEWEST:
        return 1.0
    power = sum(float(np.sum(np.clip(p, -CLIP, CLIP) ** 2)) for p in parts)
    if power <= 0:
        return 1.0
    clipped = [np.clip(p, -CLIP, CLIP) for p in parts]
    rho = np.array(
        [sum(float(np.dot(p[lag:], p[:-lag])) for p in clipped if len(p) > lag) / power for lag in range(1, lags + 1)]
    )
    statistic = count * (count + 2.0) * np.sum(rho**2 / (count - np.arange(1, lags + 1)))
    if statistic <= chdtri(lags, CHANCE):
        return 1.0
    ends = np.flatnonzero(rho < 0)
    return float(1.0 + 2.0 * np.sum(rho[: ends[0] if len(ends) else lags]))
