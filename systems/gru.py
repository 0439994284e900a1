"""Gated recurrent units."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

from ._parts import initialised, ports, sigmoid, weights, whole

__all__ = ["gru"]


def gru(
    units: int = 64,
    symbols: int | None = None,
    *,
    reset: str = "after",
    inputs: int | None = None,
    outputs: int | None = None,
    init: str = "uniform",
    dtype: npt.DTypeLike = np.float64,
    seed: int = 0,
) -> fg.System:
    """A layer of gated recurrent units with a linear readout.

    Update gate z, reset gate r, candidate n:

        z = σ(W_z x + U_z h + b_z),      r = σ(W_r x + U_r h + b_r)
        n = tanh(W_n x + U_n (r∘h) + b_n)      with reset="before"
        n = tanh(W_n x + r∘(U_n h) + b_n)      with reset="after"
        h' = z∘h + (1 − z)∘n,      ŷ = V h' + b_y

    Source: Cho et al. 2014 (arXiv:1406.1078) for "before"; "after" is the form of cuDNN, without its second bias. The
    two differ in what a parameter feeds: "after", each one feeds a single state variable; "before", those of the reset
    gate feed all of them through U_n. A symbol x stands for the x-th unit vector.

    Args:
        units: the length of h.
        symbols: m, the size of the alphabet: x and y are integers 0 … m−1, ŷ scores them, the loss is in bits. 32 if
            `inputs` is not given either.
        reset: "before" or "after" the recurrent product.
        inputs: m, to read vectors of this length instead of symbols.
        outputs: k, to predict vectors of this length from vectors (1 if not given), with squared error. With symbols,
            k = m.
        init: "uniform": all parameters start uniformly within ±1/√units, the usual way. "normal": weights normal with
            variance 1/fan-in, where a symbol counts as a single input; b_z starts at 1 (a unit keeps its state), other
            biases at zero. UORO, whose noise grows with the influence, learns less steadily from there.
        dtype: float64 or float32.
        seed: of the initial parameters; h(0) is zero.

    Returns:
        A system with the parameters W_g (units, m), U_g (units, units) and b_g (units) for g = z, r, n, V (k, units)
        and b_y (k). A step costs O(units² + units·m).

    Raises:
        DeclarationError: a size is not a positive integer, `reset` or `init` is something else, or both symbols and
            vectors are asked for.

    Example:
        A 1 is followed by 2 and by 0 in turn: half a bit a symbol, unless the past is remembered.

        >>> import fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.gru(units=8, symbols=3)
        >>> list(system.params)
        ['W_z', 'U_z', 'b_z', 'W_r', 'U_r', 'b_r', 'W_n', 'U_n', 'b_n', 'V', 'b_y']
        >>> xs, ys = fg.streams.next_symbol([0, 1, 2, 1] * 300)
        >>> history = fg.Learner(system, fg.UORO(), fg.Adam(0.01)).run(xs, ys)
        >>> round(history.recent(100), 1)
        0.0
    """
    n = whole("gru", "units", units)
    port = ports("gru", symbols, inputs, outputs)
    if reset not in ("before", "after"):
        raise fg.errors.DeclarationError(
            f"gru(reset={reset!r}): expected 'before', for U_n (r∘h), or 'after', for r∘(U_n h)."
        )
    rng = np.random.default_rng(seed)

    def F(h: Any, x: Any, theta: Any) -> Any:
        def drive(gate: str) -> Any:
            return port.through(theta[f"W_{gate}"], x) + theta[f"b_{gate}"]

        z = sigmoid(drive("z") + theta["U_z"] @ h)
        r = sigmoid(drive("r") + theta["U_r"] @ h)
        recurrent = theta["U_n"] @ (r * h) if reset == "before" else r * (theta["U_n"] @ h)
        candidate = np.tanh(drive("n") + recurrent)
        return z * h + (1.0 - z) * candidate

    def Y(h: Any, x: Any, theta: Any) -> Any:
        return theta["V"] @ h + theta["b_y"]

    params: dict[str, np.ndarray] = {}
    for gate, bias in (("z", 1.0), ("r", 0.0), ("n", 0.0)):
        params[f"W_{gate}"] = weights(rng, n, port.columns, port.fan_in)
        params[f"U_{gate}"] = weights(rng, n, n)
        params[f"b_{gate}"] = np.full(n, bias)
    params["V"] = weights(rng, port.outputs, n)
    params["b_y"] = np.zeros(port.outputs)
    params = initialised("gru", init, rng, n, params)
    return fg.System(F, Y, np.zeros(n, dtype), params, port.x, port.loss, name="gru")
