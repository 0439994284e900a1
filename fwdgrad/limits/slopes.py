"""Slopes on logarithmic axes."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["local_slopes", "slope"]

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
    x, y = _finest(dts, values, floor)
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else float("nan")


def local_slopes(dts: Any, values: Any, floor: float = 0.0) -> np.ndarray:
    """The slopes between neighbours of the points that `slope` is fitted through, from the smallest δt on.

    Example:
        >>> import numpy as np
        >>> local_slopes([0.4, 0.2, 0.1], [5.0, 0.04, 0.01]).round(1)
        array([2., 7.])
    """
    x, y = _finest(dts, values, floor)
    return np.diff(y) / np.diff(x)


def _finest(dts: Any, values: Any, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the points with the smallest four δt."""
    dts, values = np.asarray(dts, float), np.asarray(values, float)
    good = np.flatnonzero(np.isfinite(values) & (values > floor))
    kept = good[np.argsort(dts[good])][:FINEST]
    return np.log(dts[kept]), np.log(values[kept])
