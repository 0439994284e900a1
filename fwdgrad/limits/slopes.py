"""Slopes on logarithmic axes."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["slope"]

FINEST = 4
"""Points that a slope is fitted through: those of the smallest δt, where the leading order rules."""


def slope(dts: Any, values: Any, floor: float = 0.0) -> float:
    """Least squares of log value against log δt, over the smallest four δt whose values are above `floor`.

    NaN if there are fewer than two.

    Example:
        >>> import numpy as np
        >>> dts = np.array([0.4, 0.2, 0.1, 0.05])
        >>> print(f"{slope(dts, 3 * dts**2):.3f}")
        2.000
    """
    dts, values = np.asarray(dts, float), np.asarray(values, float)
    good = np.flatnonzero(np.isfinite(values) & (values > floor))
    kept = good[np.argsort(dts[good])][:FINEST]
    if len(kept) < 2:
        return float("nan")
    return float(np.polyfit(np.log(dts[kept]), np.log(values[kept]), 1)[0])
