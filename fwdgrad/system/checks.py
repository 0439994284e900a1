"""What declarations are looked at for, one argument after the other."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox

from fwdgrad.errors import DeclarationError, ShapeError, UnknownNameError, did_you_mean
from fwdgrad.integrate import Adaptive, At, Delay, When
from fwdgrad.program.tracer import as_operand
from fwdgrad.support.trees import flatten
from fwdgrad.system.parameters import Parameter, Tied

__all__ = [
    "FIRST",
    "GIVEN",
    "OWN",
    "arrays",
    "check_delays",
    "checked_first",
    "events_of",
    "inputs",
    "near",
    "packed",
    "parameters_of",
    "read_only",
    "result",
    "source_line",
    "step_of",
    "substeps_of",
    "timed",
]

FIRST = ("initial", "next")
"""What the first sample of a trajectory is observed in: the initial state, or the state a transition later."""

OWN, GIVEN = 1.0, -1.0
"""The "start" among what a transition is given: a trajectory starts, from the system's own initial state or from one
that the user gave. It is 0 for every later sample."""


def packed(value: Any, expected: Any, dtype: np.dtype, who: str) -> Any:
    """A state in the containers of `expected`, flat; `who` returned it.

    Raises:
        ShapeError: it has other keys, shapes or dtypes.
    """
    what = "the state" if who == "F" else "the declared state"
    hint = "F must return the next state (or its rate). " if who == "F" else ""
    if isinstance(expected, dict):
        if not isinstance(value, dict) or set(value) != set(expected):
            got = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise ShapeError(
                f"{who}: expected a dict with the keys of {what}, {sorted(expected)}; got {got}.\n"
                f"Return a dict with exactly these keys."
            )
        leaves = [result(value[k]) for k in expected]
    else:
        if value is None or isinstance(value, dict):
            got = "None" if value is None else f"a dict with the keys {sorted(value)}"
            raise ShapeError(
                f"{who}: expected an array of shape {expected.shape}, that of {what}; got {got}.\n"
                "Return an array, or declare the state as a dict of arrays."
            )
        leaves = [result(value)]
    names = list(expected) if isinstance(expected, dict) else [""]
    for key, leaf, like in zip(names, leaves, flatten(expected), strict=True):
        label = f"{who}[{key!r}]" if key else who
        if np.shape(leaf) != like.shape:
            raise ShapeError(
                f"{label}: expected shape {like.shape}, that of {what}; got {np.shape(leaf)}.\n"
                f"{hint}Check the shapes of the parameters, or declare the state with another shape."
            )
        if leaf.dtype == object:
            raise ShapeError(f"{label}: expected an array of numbers, got dtype object. Build it with np.stack.")
        if np.issubdtype(leaf.dtype, np.complexfloating) or not np.issubdtype(leaf.dtype, np.number):
            raise ShapeError(
                f"{label}: expected real numbers ({dtype}), got dtype {leaf.dtype}.\n"
                "Split complex numbers into real and imaginary parts."
            )
        if who == "F" and leaf.dtype != like.dtype:
            other = f", or declare the state in {leaf.dtype}" if leaf.dtype in (np.float32, np.float64) else ""
            raise ShapeError(
                f"{label}: expected dtype {like.dtype}, that of the state; got {leaf.dtype}.\n"
                f"Return {like.dtype} numbers: cast constants with .astype{other}."
            )
    flat = [np.reshape(leaf, (-1,)) if np.ndim(leaf) != 1 else leaf for leaf in leaves]
    flat = [leaf if leaf.dtype == dtype else leaf.astype(dtype) for leaf in flat]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def arrays(what: str, value: Any) -> Any:
    """Floating-point copies of an array, number or dict of these."""
    if isinstance(value, dict):
        return {str(k): arrays(f"{what}[{k!r}]", v) for k, v in value.items()}
    try:
        array = np.array(value)
    except (ValueError, TypeError) as error:
        raise DeclarationError(f"{what}: expected an array or a number, got {value!r} ({error}).") from None
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number):
        raise DeclarationError(f"{what}: expected numbers, got dtype {array.dtype}: {value!r}.")
    if np.issubdtype(array.dtype, np.complexfloating):
        raise DeclarationError(f"{what}: expected real numbers, got {array.dtype}. Split real and imaginary parts.")
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.dtype not in (np.float32, np.float64):
        raise DeclarationError(f"{what}: expected float32 or float64, got {array.dtype}.")
    if not np.all(np.isfinite(array)):
        raise DeclarationError(f"{what}: expected finite numbers, got NaN or infinity.")
    return array


def inputs(x: Any) -> Any:
    """An example input: integers stay integers, everything else is float."""
    if x is None:
        return None
    if isinstance(x, dict):
        return {str(k): inputs(v) for k, v in x.items()}
    array = np.array(x)
    if array.dtype == bool or np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float64) if array.dtype != np.float32 else array
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64)
    raise DeclarationError(
        f"x: expected an example input (a float array, an integer, a dict of these, or None), got {x!r}."
    )


def step_of(dt: Any, x: Any) -> float | str | None:
    """δt, or the name of the input that brings it, or None for a map."""
    if dt is None:
        return None
    if isinstance(dt, str):
        leaf = x.get(dt) if isinstance(x, dict) else None
        if not isinstance(leaf, np.ndarray) or leaf.shape != () or not np.issubdtype(leaf.dtype, np.floating):
            raise DeclarationError(
                f"dt={dt!r}: expected the name of an input that is one number, in x; got x={x!r}.\n"
                f"Write x={{{dt!r}: 1.0, …}}, and give each sample the time since the one before."
            )
        return dt
    if isinstance(dt, bool) or not isinstance(dt, (int, float, np.number)) or not 0 < dt < float("inf"):
        raise DeclarationError(
            f"dt: expected a positive step, or None if F is the map itself (discrete time); got {dt!r}."
        )
    return float(dt)


def checked_first(first: Any, dt: Any) -> str:
    """The rule for the first sample, if it is one and goes with `dt`."""
    if first not in FIRST:
        raise DeclarationError(
            f"first: expected 'initial' (the first sample of a trajectory is observed in the initial state) or 'next'\n"
            f"(in the state a transition later); got {first!r}."
        )
    if first == "initial" and isinstance(dt, str):
        raise DeclarationError(
            f"first='initial', with dt={dt!r}: every sample says how long it is since the one before, the first one\n"
            f"since the start. Give the first one 0 where it is at the start, and leave first out."
        )
    return str(first)


def substeps_of(substeps: Any, dt: Any) -> int:
    """How many steps an integrator makes for one sample."""
    if isinstance(substeps, bool) or not isinstance(substeps, (int, np.integer)) or substeps < 1:
        raise DeclarationError(f"substeps: expected an integer of at least 1, got {substeps!r}.")
    if dt is None and substeps != 1:
        raise DeclarationError(f"substeps={substeps}: a map (dt=None) has no steps to divide. Give dt.")
    return int(substeps)


def events_of(events: Any, dt: Any) -> tuple[At | When, ...]:
    """What changes the state between samples."""
    made = tuple(events) if isinstance(events, Iterable) else (events,)
    for event in made:
        if not isinstance(event, (At, When)):
            raise DeclarationError(
                f"events: expected a list of fwdgrad.At(times, change) and fwdgrad.When(condition, change), got "
                f"{event!r} in it."
            )
    if made and dt is None:
        raise DeclarationError("events: a map (dt=None) has no moments between samples. Give dt, or change h in F.")
    return made


def check_delays(delays: Any, state: Any, dt: Any, integrator: Any) -> None:
    """Refuse delays where there is no past on a grid.

    Raises:
        DeclarationError: they are none; or there are no steps of one size, or no names.
    """
    if not isinstance(delays, Mapping) or not all(isinstance(d, Delay) for d in delays.values()):
        raise DeclarationError(f"delays: expected a dict of fwdgrad.Delay(of, by), by label; got {delays!r}.")
    if not isinstance(state, Mapping):
        raise DeclarationError(
            "delays: the state has no names.\nDeclare a dict of arrays, such as state={'x': 1.0}, for Delay('x', …)."
        )
    if dt is None:
        raise DeclarationError(
            "delays: a map (dt=None) has no time. Give dt, or keep past values in the state: {'x': …, 'x1': h['x']}."
        )
    if isinstance(dt, str):
        raise DeclarationError(
            f"delays: the past is kept on a grid of steps of one size, and dt={dt!r} is an input.\n"
            "Give a number dt, and targets that are NaN between the samples that there are."
        )
    if isinstance(integrator, Adaptive):
        raise DeclarationError(
            f"delays: the past is kept on a grid of steps of one size, and method={str(integrator)!r} chooses them.\n"
            "Say method='rk4' (or 'sdirk2', for stiff systems) and substeps=…; fg.check tells whether they are enough."
        )


def timed(state: Any) -> None:
    """Refuse a state that does not know the time."""
    if not isinstance(state, Mapping) or "t" not in state or np.shape(state["t"]) != ():
        raise DeclarationError(
            "events: the state does not know the time.\nDeclare a dict with a number 't', and 1 for its rate: "
            "state={…, 't': np.zeros(())}."
        )


def parameters_of(params: Any) -> dict[str, Parameter | Tied]:
    """Every parameter as what it was declared as."""
    if not isinstance(params, Mapping):
        raise DeclarationError(
            f"System: params must be a dict of arrays or numbers, got {type(params).__name__}.\n"
            "Write params={'W': W, 'b': b}, and use theta['W'] in F and Y."
        )
    made = {str(k): v if isinstance(v, (Parameter, Tied)) else Parameter(v) for k, v in params.items()}
    for k, p in made.items():
        if isinstance(p, Tied) and not isinstance(made.get(p.name), Parameter):
            reason = "which is tied itself" if p.name in made else "which is not there"
            raise UnknownNameError(
                f"params: {k!r} is tied to {p.name!r}, {reason}. {did_you_mean(p.name, [n for n in made if n != k])}"
            )
    return made


def result(value: Any) -> Any:
    """What a user's function returned, as one array; lists and object arrays of numbers are stacked."""
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
        if any(isbox(v) for v in np.asarray(value, dtype=object).ravel()):
            return anp.array([result(v) for v in value])
        return as_operand(value)
    return value if hasattr(value, "dtype") else np.asarray(value)


def read_only(value: Any) -> Any:
    """A copy that cannot be assigned to."""
    made = np.array(value)
    made.setflags(write=False)
    return made


def near(value: np.ndarray, rng: np.random.Generator, spread: float) -> np.ndarray:
    """Numbers around others; symbols stay."""
    if not np.issubdtype(value.dtype, np.floating):
        return value
    factor = 1.0 + spread * rng.uniform(-1, 1, value.shape)
    return np.asarray(value * factor + 0.1 * spread * rng.uniform(0, 1, value.shape)).astype(value.dtype)


def source_line(error: BaseException, function: Any) -> str:
    """Where in the user's file an error came from."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" at {file}:{lines[-1]}" if lines else ""
