"""A tanh network of leaky units."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

from ._parts import initialised, logit, ports, sigmoid, weights, whole

__all__ = ["leaky_rnn"]


def leaky_rnn(
    units: int = 64,
    symbols: int | None = None,
    *,
    inputs: int | None = None,
    outputs: int | None = None,
    horizon: float = 32.0,
    init: str = "normal",
    dtype: npt.DTypeLike = np.float64,
    seed: int = 0,
) -> fg.System:
    """A tanh network of leaky units, each of which learns how fast it forgets.

    The state h holds the activations before the tanh. A unit moves by a share α_i, its leak, towards what the tanh
    network of this catalogue would set it to:

        h'_i = (1 − α_i) h_i + α_i (b_i + R_ix + Σ_j W_ij tanh(h_j)),      α_i = σ(a_i) = 1/(1 + exp(−a_i))
        ŷ_z = c_z + Σ_i V_zi tanh(h'_i)

    Source: the leaky-integrator unit of Jaeger, Lukoševičius, Popovici and Siewert 2007, with the transition of
    Ollivier 2015 (slides "Learn as you go", which show a leaky network on aⁿbⁿ without printing its equation) as what
    it moves towards. It is the Euler step of size α of dh/dt = −h + b + R_x + W tanh(h), one α per unit. For vectors,
    R_ix is (R x)_i. Every parameter of the transition feeds one state variable.

    Args:
        units: n, the length of h.
        symbols: m, the size of the alphabet: x and y are integers 0 … m−1, ŷ scores them, the loss is in bits. 32 if
            `inputs` is not given either.
        inputs: m, to read vectors of this length instead of symbols.
        outputs: k, to predict vectors of this length from vectors (1 if not given), with squared error. With symbols,
            k = m.
        horizon: the longest initial memory 1/α, in steps, above 1.2. The units start evenly spread from 1.2 to it, on
            a logarithmic scale.
        init: "normal": weights normal with variance 1/fan-in, where a symbol counts as a single input, and biases zero.
            "uniform": all but a uniformly within ±1/√units, as gated cells start; without gates it forgets soon.
        dtype: float64 or float32.
        seed: of the initial parameters; h(0) is zero.

    Returns:
        A system with the parameters a (n), b (n), R (n, m), W (n, n), V (k, n) and c (k). A step costs O(n² + nm).

    Raises:
        DeclarationError: a size is not a positive integer, `init` is something else, `horizon` is too small, or both
            symbols and vectors are asked for.

    Example:
        A 1 is followed by 2 and by 0 in turn: half a bit a symbol, unless the past is remembered.

        >>> import fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.leaky_rnn(units=8, symbols=3)
        >>> system
        System leaky-rnn: state 8, parameters 131 (a, b, R, W, V, c), input int64[], loss CrossEntropy(base=2)
        >>> xs, ys = fg.streams.next_symbol([0, 1, 2, 1] * 300)
        >>> history = fg.Learner(system, fg.RTRL(), fg.Adam(0.01)).run(xs, ys)
        >>> round(history.recent(100), 1)
        0.0
    """
    n = whole("leaky_rnn", "units", units)
    port = ports("leaky_rnn", symbols, inputs, outputs)
    if not horizon > SHORTEST:
        raise fg.errors.DeclarationError(f"leaky_rnn(horizon=…): expected a number above {SHORTEST}, got {horizon!r}.")
    rng = np.random.default_rng(seed)

    def F(h: Any, x: Any, theta: Any) -> Any:
        target = theta["b"] + port.through(theta["R"], x) + theta["W"] @ np.tanh(h)
        return h + sigmoid(theta["a"]) * (target - h)

    def Y(h: Any, x: Any, theta: Any) -> Any:
        return theta["V"] @ np.tanh(h) + theta["c"]

    leaks = {"a": logit(1.0 / np.geomspace(SHORTEST, horizon, n))}
    params = {
        "b": np.zeros(n),
        "R": weights(rng, n, port.columns, port.fan_in),
        "W": weights(rng, n, n),
        "V": weights(rng, port.outputs, n),
        "c": np.zeros(port.outputs),
    }
    params = leaks | initialised("leaky_rnn", init, rng, n, params)
    return fg.System(F, Y, np.zeros(n, dtype), params, port.x, port.loss, name="leaky-rnn")


SHORTEST = 1.2
"""Initial memory of the fastest unit, in steps; at 1 it would not leak at all and α could not be learned."""
