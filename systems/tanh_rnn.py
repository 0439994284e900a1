"""A fully connected tanh network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

from ._parts import initialised, ports, weights, whole

__all__ = ["tanh_rnn"]


def tanh_rnn(
    units: int = 64,
    symbols: int | None = None,
    *,
    inputs: int | None = None,
    outputs: int | None = None,
    init: str = "normal",
    dtype: npt.DTypeLike = np.float64,
    seed: int = 0,
) -> fg.System:
    """A fully connected tanh network that reads symbols (or vectors) and predicts the next one.

    The state h holds the activations before the tanh:

        h'_i = b_i + R_ix + Σ_j W_ij tanh(h_j),      ŷ_z = c_z + Σ_i V_zi tanh(h'_i)

    Source: Ollivier, Tallec and Charpiat 2015, eqs. 27 and 28 (their W is the transpose of this one). For vectors, R_ix
    is (R x)_i. Every parameter of the transition feeds one state variable.

    Args:
        units: n, the length of h.
        symbols: m, the size of the alphabet: x and y are integers 0 … m−1, ŷ scores them, the loss is in bits. 32 if
            `inputs` is not given either.
        inputs: m, to read vectors of this length instead of symbols.
        outputs: k, to predict vectors of this length from vectors (1 if not given), with squared error. With symbols,
            k = m.
        init: "normal": weights normal with variance 1/fan-in, where a symbol counts as a single input, and biases zero.
            "uniform": all parameters uniformly within ±1/√units, as gated cells start; without gates it forgets soon.
        dtype: float64 or float32.
        seed: of the initial parameters; h(0) is zero.

    Returns:
        A system with the parameters b (n), R (n, m), W (n, n), V (k, n) and c (k). A step costs O(n² + nm).

    Raises:
        DeclarationError: a size is not a positive integer, `init` is something else, or both symbols and vectors are
            asked for.

    Example:
        A 1 is followed by 2 and by 0 in turn: half a bit a symbol, unless the past is remembered.

        >>> import fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.tanh_rnn(units=8, symbols=3)
        >>> system
        System tanh-rnn: state 8, parameters 123 (b, R, W, V, c), input int64[], loss CrossEntropy(base=2)
        >>> xs, ys = fg.streams.next_symbol([0, 1, 2, 1] * 300)
        >>> history = fg.Learner(system, fg.UORO(), fg.Adam(0.01)).run(xs, ys)
        >>> round(history.recent(100), 1)
        0.0
    """
    n = whole("tanh_rnn", "units", units)
    port = ports("tanh_rnn", symbols, inputs, outputs)
    rng = np.random.default_rng(seed)

    def F(h: Any, x: Any, theta: Any) -> Any:
        return theta["b"] + port.through(theta["R"], x) + theta["W"] @ np.tanh(h)

    def Y(h: Any, x: Any, theta: Any) -> Any:
        return theta["V"] @ np.tanh(h) + theta["c"]

    params = {
        "b": np.zeros(n),
        "R": weights(rng, n, port.columns, port.fan_in),
        "W": weights(rng, n, n),
        "V": weights(rng, port.outputs, n),
        "c": np.zeros(port.outputs),
    }
    params = initialised("tanh_rnn", init, rng, n, params)
    return fg.System(F, Y, np.zeros(n, dtype), params, port.x, port.loss, name="tanh-rnn")
