"""Covariance of fitted parameters, with residuals that need not be white."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["long_run", "robust"]

LONGEST = 0.2
"""Lags up to this part of a trajectory are taken into a long-run variance."""
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
