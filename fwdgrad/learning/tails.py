"""Residuals of which a few are far off, and make up much of the sum of squares that a fit lessens."""

from __future__ import annotations

import numpy as np

__all__ = ["far_off"]

FAR, NORMAL_MEDIAN = 5.0, 1.4826
"""Deviations from which a residual is far off; one of them in units of the median size, for normal residuals."""
SOME, MUCH = 0.2, 0.1
"""Part of the residuals that may be far off, and part of the sum of squares that these make up, at least."""
ENOUGH = 16
"""Residuals of an output, at least."""


def far_off(residuals: np.ndarray) -> str:
    """What is said of them, and what mends it; nothing if there are none.

    Args:
        residuals: of a squared error, shape (T, m), NaN where nothing was observed.

    Example:
        >>> made = np.random.default_rng(0).normal(size=(100, 1))
        >>> far_off(made)
        ''
        >>> made[[10, 50, 51]] += 20.0
        >>> far_off(made)
        '3 residuals are far off and weigh much: losses.StudentT() lets such data count less'
    """
    count = 0
    for column in residuals.T:
        seen = column[np.isfinite(column)]
        if len(seen) < ENOUGH:
            continue
        far = np.abs(seen) > FAR * NORMAL_MEDIAN * np.median(np.abs(seen))
        if 0 < np.mean(far) < SOME and np.sum(seen[far] ** 2) > MUCH * np.sum(seen**2):
            count += int(np.sum(far))
    if not count:
        return ""
    what = "1 residual is far off and weighs" if count == 1 else f"{count} residuals are far off and weigh"
    return f"{what} much: losses.StudentT() lets such data count less"
