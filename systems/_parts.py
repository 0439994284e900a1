"""What systems of the catalogue share: inputs that are symbols or vectors, initial weights, equations, sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fwdgrad as fg

__all__ = ["Ports", "declared", "initialised", "logit", "number", "ports", "sigmoid", "weights", "whole"]

SYMBOLS = 32
"""Size of the alphabet where a builder is told nothing."""


class Ports(NamedTuple):
    """How a network takes inputs and what it predicts."""

    x: Any
    """An example input: the number 0 for symbols, zeros of shape (inputs,) for vectors."""

    columns: int
    """Columns of a matrix that the input goes through: one per symbol or component."""

    fan_in: int
    """How many of these columns act at a time."""

    outputs: int
    """Length of the prediction."""

    loss: Any
    """Cross-entropy in bits for symbols, squared error for vectors."""

    through: Callable[[Any, Any], Any]
    """(R, x) ↦ R[:, x] for a symbol, R x for a vector."""


def ports(who: str, symbols: int | None, inputs: int | None, outputs: int | None) -> Ports:
    """Either symbols in and scores of the next symbol out, or vectors in and out.

    Args:
        who: the builder, for messages.
        symbols: size of the alphabet; 32 if neither this nor `inputs` is given.
        inputs: length of the input vectors.
        outputs: length of the predicted vectors, with `inputs`; 1 if not given.

    Raises:
        DeclarationError: both kinds are asked for, or a size is not a positive integer.
    """
    if inputs is None:
        if outputs is not None:
            raise fg.errors.DeclarationError(
                f"{who}(outputs={outputs!r}): a network that reads symbols predicts a score for each of them.\n"
                "Leave it out, or give inputs= as well, for vectors in and out."
            )
        m = whole(who, "symbols", SYMBOLS if symbols is None else symbols)
        return Ports(0, m, 1, m, fg.losses.CrossEntropy(base=2), lambda R, x: R[:, x])
    if symbols is not None:
        raise fg.errors.DeclarationError(
            f"{who}(symbols={symbols!r}, inputs={inputs!r}): expected one of the two.\n"
            "Give symbols= for a stream of symbols, inputs= (and outputs=) for a stream of vectors."
        )
    m = whole(who, "inputs", inputs)
    k = whole(who, "outputs", 1 if outputs is None else outputs)
    return Ports(np.zeros(m), m, m, k, fg.losses.SquaredError(), lambda R, x: R @ x)


def weights(rng: np.random.Generator, rows: int, columns: int, fan_in: int | None = None) -> np.ndarray:
    """Normal entries of variance 1/fan-in, shape (rows, columns): sums of `fan_in` terms start with variance 1.

    Args:
        rng: source of the draws.
        rows: of the matrix.
        columns: of the matrix.
        fan_in: how many columns act at a time; all of them unless given.
    """
    return rng.normal(size=(rows, columns)) / np.sqrt(columns if fan_in is None else fan_in)


def initialised(
    who: str, init: str, rng: np.random.Generator, units: int, params: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Initial parameters of a network, by the name of the initialisation.

    Args:
        who: the builder, for messages.
        init: "normal" for `params` as they are; "uniform" for numbers between −1/√units and 1/√units, biases included,
            as recurrent layers of other libraries start (PyTorch's `GRU` and `LSTM`).
        rng: source of the draws.
        units: the length of h.
        params: what the builder makes of "normal".

    Raises:
        DeclarationError: another name.
    """
    if init not in ("uniform", "normal"):
        raise fg.errors.DeclarationError(f"{who}(init=…): expected 'uniform' or 'normal', got {init!r}.")
    if init == "normal":
        return params
    bound = 1.0 / np.sqrt(units)
    return {name: rng.uniform(-bound, bound, leaf.shape) for name, leaf in params.items()}


def sigmoid(a: Any) -> Any:
    """1/(1 + exp(−a)), written with tanh so that nothing overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def logit(p: Any) -> Any:
    """The a with sigmoid(a) = p, for 0 < p < 1."""
    return np.log(p) - np.log1p(-p)


def declared(equations: str, name: str, dt: float, method: str, dtype: npt.DTypeLike) -> fg.EquationSystem:
    """A system from equation text.

    Args:
        equations: see `fwdgrad.from_text`.
        name: what to call it.
        dt: time between two samples, and from the start to the first one.
        method: the integrator.
        dtype: float64 or float32.
    """
    return fg.from_text(equations, dt=dt, method=method, name=name, first="next").astype(dtype)


def number(who: str, name: str, value: Any) -> float:
    """`value` as a float.

    Raises:
        DeclarationError: it is not a finite number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < np.inf:
        raise fg.errors.DeclarationError(f"{who}({name}=…): expected a number above 0, got {value!r}.")
    return float(value)


def whole(who: str, name: str, value: Any, least: int = 1) -> int:
    """`value` as an int.

    Raises:
        DeclarationError: it is not an integer of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise fg.errors.DeclarationError(f"{who}({name}=…): expected an integer of at least {least}, got {value!r}.")
    return int(value)
