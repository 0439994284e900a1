"""A diagonal linear recurrence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

from ._parts import ports, weights, whole

__all__ = ["diagonal_recurrence"]


def diagonal_recurrence(
    units: int = 64,
    symbols: int | None = None,
    *,
    inputs: int | None = None,
    outputs: int | None = None,
    horizon: float = 32.0,
    dtype: npt.DTypeLike = np.float64,
    seed: int = 0,
) -> fg.System:
    """A diagonal linear recurrence with a tanh readout: units that do not see each other.

        h' = λ∘h + B x,      λ_i = exp(−exp(a_i)) in (0, 1),      ŷ = V tanh(h') + c

    Unit i remembers for about exp(−a_i) steps, whatever a_i is: the state cannot diverge. A unit depends only on its
    own parameters, a_i and the i-th row of B, so ∂h/∂θ has one non-zero row per parameter, and exact gradients forward
    in time cost as much as the system itself. A symbol x stands for the x-th unit vector.

    Source: Mozer 1989 ("A focused backpropagation algorithm for temporal pattern recognition") for units with their
    own decay; λ as in Orvieto et al. 2023 (arXiv:2303.06349), real instead of complex.

    Args:
        units: n, the length of h.
        symbols: m, the size of the alphabet: x and y are integers 0 … m−1, ŷ scores them, the loss is in bits. 32 if
            `inputs` is not given either.
        inputs: m, to read vectors of this length instead of symbols.
        outputs: k, to predict vectors of this length from vectors (1 if not given), with squared error. With symbols,
            k = m.
        horizon: the longest initial memory, in steps, at least 1. The units start evenly spread from 1 to it, on a
            logarithmic scale.
        dtype: float64 or float32.
        seed: of the initial weights: normal with variance 1/fan-in, where a symbol counts as a single input; the rows
            of B times √(1 − λ²), so that unrelated inputs give every unit the same variance. c and h(0) are zero.

    Returns:
        A system with the parameters a (n), B (n, m), V (k, n) and c (k). A step costs O(nm + nk).

    Raises:
        DeclarationError: a size is not a positive integer, `horizon` is below 1, or both symbols and vectors are asked
            for.

    Example:
        A 1 is followed by 2 and by 0 in turn: half a bit a symbol, unless the past is remembered.

        >>> import fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.diagonal_recurrence(units=8, symbols=3)
        >>> system
        System diagonal: state 8, parameters 59 (a, B, V, c), input int64[], loss CrossEntropy(base=2)
        >>> xs, ys = fg.streams.next_symbol([0, 1, 2, 1] * 300)
        >>> history = fg.Learner(system, fg.RTRL(), fg.Adam(0.01)).run(xs, ys)
        >>> round(history.recent(100), 1)
        0.0
    """
    n = whole("diagonal_recurrence", "units", units)
    port = ports("diagonal_recurrence", symbols, inputs, outputs)
    if not 1 <= horizon < np.inf:
        raise fg.errors.DeclarationError(
            f"diagonal_recurrence(horizon=…): expected a number of steps of at least 1, got {horizon!r}."
        )
    rng = np.random.default_rng(seed)

    def F(h: Any, x: Any, theta: Any) -> Any:
        return np.exp(-np.exp(theta["a"])) * h + port.through(theta["B"], x)

    def Y(h: Any, x: Any, theta: Any) -> Any:
        return theta["V"] @ np.tanh(h) + theta["c"]

    rates = 1.0 / np.geomspace(1.0, horizon, n)
    params = {
        "a": np.log(rates),
        "B": weights(rng, n, port.columns, port.fan_in) * np.sqrt(-np.expm1(-2.0 * rates))[:, None],
        "V": weights(rng, port.outputs, n),
        "c": np.zeros(port.outputs),
    }
    return fg.System(F, Y, np.zeros(n, dtype), params, port.x, port.loss, name="diagonal")
