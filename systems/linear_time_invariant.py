"""A linear system with learned matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

from ._parts import weights, whole

__all__ = ["linear_time_invariant"]


def linear_time_invariant(
    units: int = 8,
    inputs: int = 1,
    outputs: int = 1,
    *,
    radius: float = 0.9,
    dtype: npt.DTypeLike = np.float64,
    seed: int = 0,
) -> fg.System:
    """A linear time-invariant system whose three matrices are learned: identification from inputs and outputs.

        h' = A h + B x,      ŷ = C h',      ℓ = ½ ‖ŷ − y‖²

    Source: the state-space form of linear systems; h' in ŷ gives x an immediate effect, C B. The matrices can be known
    up to a change of basis of h only, so judge what was learned by predictions or by the response C A^k B. Every
    parameter of the transition feeds one state variable.

    Args:
        units: n, the length of h.
        inputs: m, the length of x.
        outputs: k, the length of y.
        radius: spectral radius of the initial A, at least 0; below 1 the system starts stable.
        dtype: float64 or float32.
        seed: of the initial matrices: normal, B and C with variance 1/fan-in, A scaled to `radius`. h(0) is zero.

    Returns:
        A system with the parameters A (n, n), B (n, m) and C (k, n). A step costs O(n² + nm + nk).

    Raises:
        DeclarationError: a size is not a positive integer, or `radius` is negative or not finite.

    Example:
        A second-order filter, learned by one with more states:

        >>> import numpy as np, fwdgrad as fg
        >>> from fwdgrad import systems
        >>> xs = np.random.default_rng(0).normal(size=(3000, 1))
        >>> ys = np.zeros((3000, 1))
        >>> for t in range(2, 3000):
        ...     ys[t] = 0.8 * ys[t - 1] - 0.5 * ys[t - 2] + 0.5 * xs[t]
        >>> system = systems.linear_time_invariant(units=4)
        >>> history = fg.Learner(system, fg.RTRL(), fg.SGD(0.05)).run(xs, ys)
        >>> print(f"{history.loss[:300].mean():.2f} at first, {history.recent(300):.2f} in the end")
        0.02 at first, 0.00 in the end
    """
    n = whole("linear_time_invariant", "units", units)
    m = whole("linear_time_invariant", "inputs", inputs)
    k = whole("linear_time_invariant", "outputs", outputs)
    if not 0 <= radius < np.inf:
        raise fg.errors.DeclarationError(
            f"linear_time_invariant(radius=…): expected a number of at least 0, got {radius!r}."
        )
    rng = np.random.default_rng(seed)

    def F(h: Any, x: Any, theta: Any) -> Any:
        return theta["A"] @ h + theta["B"] @ x

    def Y(h: Any, x: Any, theta: Any) -> Any:
        return theta["C"] @ h

    A = weights(rng, n, n)
    A *= radius / np.max(np.abs(np.linalg.eigvals(A)))
    params = {"A": A, "B": weights(rng, n, m), "C": weights(rng, k, n)}
    return fg.System(F, Y, np.zeros(n, dtype), params, np.zeros(m), fg.losses.SquaredError(), name="linear")
