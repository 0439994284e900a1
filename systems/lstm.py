"""Long short-term memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

from ._parts import initialised, ports, sigmoid, weights, whole

__all__ = ["lstm"]


def lstm(
    units: int = 64,
    symbols: int | None = None,
    *,
    inputs: int | None = None,
    outputs: int | None = None,
    init: str = "uniform",
    dtype: npt.DTypeLike = np.float64,
    seed: int = 0,
) -> fg.System:
    """A layer of long short-term memory cells with a linear readout.

    The state is {"c": cells, "h": what they let out}. Gates i (input), f (forget) and o (output), candidate g:

        i, f, o = σ(W x + U h + b),      g = tanh(W x + U h + b),      each with a W, U and b of its own
        c' = f∘c + i∘g,      h' = o∘tanh(c'),      ŷ = V h' + b_y

    Source: Hochreiter and Schmidhuber 1997 with the forget gate of Gers, Schmidhuber and Cummins 2000, no peepholes.
    A symbol x stands for the x-th unit vector. The parameters of i, f and g feed two state variables, c'_j and h'_j,
    those of o one.

    Args:
        units: the length of c and of h; the state has 2·units numbers.
        symbols: m, the size of the alphabet: x and y are integers 0 … m−1, ŷ scores them, the loss is in bits. 32 if
            `inputs` is not given either.
        inputs: m, to read vectors of this length instead of symbols.
        outputs: k, to predict vectors of this length from vectors (1 if not given), with squared error. With symbols,
            k = m.
        init: "uniform": all parameters start uniformly within ±1/√units, the usual way. "normal": weights normal with
            variance 1/fan-in, where a symbol counts as a single input; b_f starts at 1 (cells keep their content),
            other biases at zero. UORO, whose noise grows with the influence, learns less steadily from there.
        dtype: float64 or float32.
        seed: of the initial parameters; c(0) and h(0) are zero.

    Returns:
        A system with the parameters W_g (units, m), U_g (units, units) and b_g (units) for each gate g = i, f, o, g,
        V (k, units) and b_y (k). A step costs O(units² + units·m).

    Raises:
        DeclarationError: a size is not a positive integer, `init` is something else, or both symbols and vectors are
            asked for.

    Example:
        A 1 is followed by 2 and by 0 in turn: half a bit a symbol, unless the past is remembered.

        >>> import fwdgrad as fg
        >>> from fwdgrad import systems
        >>> system = systems.lstm(units=8, symbols=3)
        >>> {name: leaf.shape for name, leaf in system.state.items()}
        {'c': (8,), 'h': (8,)}
        >>> xs, ys = fg.streams.next_symbol([0, 1, 2, 1] * 300)
        >>> history = fg.Learner(system, fg.UORO(), fg.Adam(0.01)).run(xs, ys)
        >>> round(history.recent(100), 1)
        0.0
    """
    n = whole("lstm", "units", units)
    port = ports("lstm", symbols, inputs, outputs)
    rng = np.random.default_rng(seed)

    def F(state: Any, x: Any, theta: Any) -> Any:
        c, h = state["c"], state["h"]

        def drive(gate: str) -> Any:
            return port.through(theta[f"W_{gate}"], x) + theta[f"U_{gate}"] @ h + theta[f"b_{gate}"]

        after = sigmoid(drive("f")) * c + sigmoid(drive("i")) * np.tanh(drive("g"))
        return {"c": after, "h": sigmoid(drive("o")) * np.tanh(after)}

    def Y(state: Any, x: Any, theta: Any) -> Any:
        return theta["V"] @ state["h"] + theta["b_y"]

    params: dict[str, np.ndarray] = {}
    for gate, bias in (("i", 0.0), ("f", 1.0), ("o", 0.0), ("g", 0.0)):
        params[f"W_{gate}"] = weights(rng, n, port.columns, port.fan_in)
        params[f"U_{gate}"] = weights(rng, n, n)
        params[f"b_{gate}"] = np.full(n, bias)
    params["V"] = weights(rng, port.outputs, n)
    params["b_y"] = np.zeros(port.outputs)
    params = initialised("lstm", init, rng, n, params)
    state = {"c": np.zeros(n, dtype), "h": np.zeros(n, dtype)}
    return fg.System(F, Y, state, params, port.x, port.loss, name="lstm")
