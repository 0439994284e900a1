"""`System`: what a user declares. A transition, an output, an initial state, parameters, an input and a loss."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox

from fwdgrad.errors import DeclarationError, FwdgradError, ShapeError, UnknownNameError, did_you_mean
from fwdgrad.integrate import step_map
from fwdgrad.losses import Loss, as_loss
from fwdgrad.program.tracer import as_operand
from fwdgrad.trees import flatten, unflatten

__all__ = ["System"]


class System:
    """A parametrised dynamical system with a loss: h' = F(h, x, θ), ŷ = Y(h', x, θ), ℓ(ŷ, y).

    With `dt`, F is the rate dh/dt and `method` turns it into a map.

    Args:
        F: the transition, a plain NumPy function of (state, input, parameters) that returns the next state, or its
            rate of change if `dt` is given, in the containers and shapes of `state`.
        Y: the output, a function of (next state, input, parameters) that returns the prediction ŷ, an array or a
            number. None observes the whole state.
        state: the initial state h(0): an array, or a dict of arrays. Its dtype (float32 or float64) is the system's.
        params: θ, a dict of arrays or numbers. Order is kept. These are the initial values; learning never changes
            them here, but in the learner.
        x: an example input: a float array, an integer (a symbol), a dict of these, or None (an autonomous system).
        loss: `SquaredError()` by default, `CrossEntropy()`, or a function of (ŷ, y) that returns a scalar.
        dt: step δt, in the model's unit of time; None if F is the map itself.
        method: integrator for `dt`; see `fwdgrad.integrate`.
        frozen: names of parameters that are not to be learned.
        y: an example target, for a loss of your own whose targets do not look like predictions.
        name: what to call it in reports.

    Attributes:
        size: n, the number of numbers in the state.
        dtype: float64 or float32.
        trainable: names of the parameters that are learned.

    Raises:
        DeclarationError, ShapeError, UnknownNameError: the declaration contradicts itself; F and Y are called once,
            with the example values.

    Example:
        >>> import numpy as np
        >>> def F(h, x, theta):
        ...     return theta["a"] * h + x
        >>> system = System(F, None, state=np.zeros(2), params={"a": 0.5}, x=np.zeros(2))
        >>> system
        System F: state 2, parameters 1 (a), input float64[2], loss SquaredError(scale=1.0)
    """

    def __init__(
        self,
        F: Callable[[Any, Any, Any], Any],
        Y: Callable[[Any, Any, Any], Any] | None,
        state: Any,
        params: dict[str, Any],
        x: Any = None,
        loss: Any = None,
        dt: float | None = None,
        method: str = "euler",
        frozen: Iterable[str] = (),
        *,
        y: Any = None,
        name: str | None = None,
    ) -> None:
        for label, function in (("F", F), ("Y", Y)):
            if not callable(function) and not (label == "Y" and function is None):
                raise DeclarationError(
                    f"System: {label} must be a function of (state, input, parameters), got {function!r}."
                )
        self.F, self.Y = F, Y
        self.name = str(name or getattr(F, "__name__", "system"))
        self.loss: Loss = as_loss(loss, y)
        self.dt = _step(dt)
        self.method = method
        self._integrate = step_map(method)

        self.state = _arrays("state", state)
        if not sum(leaf.size for leaf in flatten(self.state)):
            raise DeclarationError("System: state is empty. Give an array or a dict of arrays, such as np.zeros(3).")
        self.dtype = np.result_type(*flatten(self.state))
        self.state = unflatten(self.state, [leaf.astype(self.dtype) for leaf in flatten(self.state)])
        self.size = sum(leaf.size for leaf in flatten(self.state))

        if not isinstance(params, Mapping):
            raise DeclarationError(
                f"System: params must be a dict of arrays or numbers, got {type(params).__name__}.\n"
                "Write params={'W': W, 'b': b}, and use theta['W'] in F and Y."
            )
        self.params: dict[str, np.ndarray] = {
            str(k): _arrays(f"params[{k!r}]", v).astype(self.dtype) for k, v in params.items()
        }
        if not isinstance(frozen, Iterable):
            raise DeclarationError(f"frozen: expected names of parameters, got {frozen!r}. Write frozen=['W'].")
        frozen = (frozen,) if isinstance(frozen, str) else tuple(frozen)
        for k in frozen:
            if k not in self.params:
                raise UnknownNameError(f"frozen: there is no parameter {k!r}. {did_you_mean(k, self.params)}")
        self.frozen = frozen
        self.trainable = tuple(k for k in self.params if k not in frozen)
        if not self.trainable:
            raise DeclarationError("System: there is no parameter to learn; params is empty or all of it is frozen.")

        x = _inputs(x)
        self.x = unflatten(x, [v if v.dtype == np.int64 else v.astype(self.dtype) for v in flatten(x)])
        prediction = self._try_out()
        self.prediction = np.zeros(prediction.shape, prediction.dtype)
        target = self.loss.target(self.prediction)
        self.y = unflatten(target, [np.asarray(leaf) for leaf in flatten(target)])

    def __repr__(self) -> str:
        inputs = ", ".join(f"{v.dtype}{list(v.shape)}" for v in flatten(self.x)) or "none"
        step = f", dt={self.dt:g} ({self.method})" if self.dt else ""
        count = sum(p.size for p in self.params.values())
        return (
            f"System {self.name}: state {self.size}, parameters {count} ({', '.join(self.params)}), "
            f"input {inputs}{step}, loss {self.loss!r}"
        )

    # ---- the functions in flat form: the state is one vector h of length n

    def pack(self, state: Any) -> Any:
        """A state in the user's containers as one vector of length `size`.

        Raises:
            ShapeError: `state` has other keys or shapes than the declared one.
        """
        return self._pack(state, "state")

    def unpack(self, h: Any) -> Any:
        """The vector h in the containers and shapes that the user declared."""
        leaves = flatten(self.state)
        if len(leaves) == 1:
            return unflatten(self.state, [np.reshape(h, leaves[0].shape) if leaves[0].shape != h.shape else h])
        made, start = [], 0
        for leaf in leaves:
            made.append(np.reshape(h[start : start + leaf.size], leaf.shape))
            start += leaf.size
        return unflatten(self.state, made)

    def transition(self, h: Any, x: Any, params: Mapping[str, Any]) -> Any:
        """The map h ↦ h' on flat vectors, integrated over one step if `dt` is given."""

        def flat(vector: Any) -> Any:
            return self._pack(self.F(self.unpack(vector), x, params), "F")

        return flat(h) if self.dt is None else self._integrate(flat, h, self.dt)

    def output(self, h: Any, x: Any, params: Mapping[str, Any]) -> Any:
        """ŷ = Y(h', x, θ) for a flat h'; without Y the state as declared, or the flat vector if it is a dict."""
        if self.Y is None:
            return h if isinstance(self.state, dict) else self.unpack(h)
        return _result(self.Y(self.unpack(h), x, params))

    @cached_property
    def initial(self) -> np.ndarray:
        """h(0) as a flat vector."""
        return np.asarray(self.pack(self.state))

    # ---- checking

    def _pack(self, value: Any, who: str) -> Any:
        expected = self.state
        what = "the state" if who == "F" else "the declared state"
        if isinstance(expected, dict):
            if not isinstance(value, dict) or set(value) != set(expected):
                got = sorted(value) if isinstance(value, dict) else type(value).__name__
                raise ShapeError(
                    f"{who}: expected a dict with the keys of {what}, {sorted(expected)}; got {got}.\n"
                    f"Return a dict with exactly these keys."
                )
            leaves = [_result(value[k]) for k in expected]
        else:
            if value is None or isinstance(value, dict):
                got = "None" if value is None else f"a dict with the keys {sorted(value)}"
                raise ShapeError(
                    f"{who}: expected an array of shape {expected.shape}, that of {what}; got {got}.\n"
                    "Return an array, or declare the state as a dict of arrays."
                )
            leaves = [_result(value)]
        names = list(expected) if isinstance(expected, dict) else [""]
        for key, leaf, like in zip(names, leaves, flatten(expected), strict=True):
            label = f"{who}[{key!r}]" if key else who
            if np.shape(leaf) != like.shape:
                raise ShapeError(
                    f"{label}: expected shape {like.shape}, that of {what}; got {np.shape(leaf)}.\n"
                    f"{_hint(who)}Check the shapes of the parameters, or declare the state with another shape."
                )
            if leaf.dtype == object:
                raise ShapeError(f"{label}: expected an array of numbers, got dtype object. Build it with np.stack.")
            if np.issubdtype(leaf.dtype, np.complexfloating) or not np.issubdtype(leaf.dtype, np.number):
                raise ShapeError(
                    f"{label}: expected real numbers ({self.dtype}), got dtype {leaf.dtype}.\n"
                    "Split complex numbers into real and imaginary parts."
                )
            if who == "F" and leaf.dtype != like.dtype:
                other = f", or declare the state in {leaf.dtype}" if leaf.dtype in (np.float32, np.float64) else ""
                raise ShapeError(
                    f"{label}: expected dtype {like.dtype}, that of the state; got {leaf.dtype}.\n"
                    f"Return {like.dtype} numbers: cast constants with .astype{other}."
                )
        flat = [np.reshape(leaf, (-1,)) if np.ndim(leaf) != 1 else leaf for leaf in leaves]
        flat = [leaf if leaf.dtype == self.dtype else leaf.astype(self.dtype) for leaf in flat]
        return flat[0] if len(flat) == 1 else np.concatenate(flat)

    def _called(self, who: str, function: Callable[..., Any], h: np.ndarray, x: Any, params: dict[str, Any]) -> Any:
        """What F or Y returns for example values; whatever goes wrong in it is said with what it was given."""
        try:
            return function(_copy(h), x, params)
        except FwdgradError:
            raise
        except Exception as error:
            given = ", ".join(f"{k} {list(np.shape(v))}" for k, v in self.params.items())
            inputs = ", ".join(f"{v.dtype}{list(v.shape)}" for v in flatten(self.x)) or "None"
            mend = "Check these shapes and names; both functions take (state, input, parameters)."
            if "read-only" in str(error):
                mend = "It assigns to what it is given: build a new array (np.array([...]), np.stack, h + dh) instead."
            raise DeclarationError(
                f"{who} fails with the declared values{_source_line(error, self.F if who == 'F' else self.Y)}: "
                f"{type(error).__name__}: {error}\n"
                f"It was given state {[list(leaf.shape) for leaf in flatten(self.state)]}, x {inputs}, "
                f"params {given}.\n{mend}"
            ) from error

    def _try_out(self) -> Any:
        """Call F and Y once with copies of the example values; what Y returns."""
        h = np.asarray(self._pack(self.state, "state"))
        x = unflatten(self.x, [_copy(leaf) for leaf in flatten(self.x)])
        params = {k: _copy(v) for k, v in self.params.items()}

        with np.errstate(all="ignore"):
            after = self._called("F", self.transition, h, x, params)
            prediction = self._called("Y", self.output, np.asarray(after), x, params)
        if np.issubdtype(prediction.dtype, np.complexfloating) or not np.issubdtype(prediction.dtype, np.floating):
            raise ShapeError(
                f"Y: expected real floating-point numbers, got dtype {prediction.dtype}.\n"
                "Return an array of floats; symbols are predicted by one score each, with CrossEntropy."
            )
        return prediction


def _source_line(error: BaseException, function: Any) -> str:
    """Where in the user's file an error came from."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" at {file}:{lines[-1]}" if lines else ""


def _hint(who: str) -> str:
    return "F must return the next state (or its rate). " if who == "F" else ""


def _copy(value: Any) -> Any:
    made = np.array(value)
    made.setflags(write=False)
    return made


def _result(value: Any) -> Any:
    """What a user's function returned, as one array; lists and object arrays of numbers are stacked."""
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
        if any(isbox(v) for v in np.asarray(value, dtype=object).ravel()):
            return anp.array([_result(v) for v in value])
        return as_operand(value)
    return value if hasattr(value, "dtype") else np.asarray(value)


def _arrays(what: str, value: Any) -> Any:
    """Floating-point copies of an array, number or dict of these."""
    if isinstance(value, dict):
        return {str(k): _arrays(f"{what}[{k!r}]", v) for k, v in value.items()}
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


def _inputs(x: Any) -> Any:
    """An example input: integers stay integers, everything else is float."""
    if x is None:
        return None
    if isinstance(x, dict):
        return {str(k): _inputs(v) for k, v in x.items()}
    array = np.array(x)
    if array.dtype == bool or np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float64) if array.dtype != np.float32 else array
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64)
    raise DeclarationError(
        f"x: expected an example input (a float array, an integer, a dict of these, or None), got {x!r}."
    )


def _step(dt: Any) -> float | None:
    if dt is None:
        return None
    if isinstance(dt, bool) or not isinstance(dt, (int, float)) or not 0 < dt < float("inf"):
        raise DeclarationError(
            f"dt: expected a positive step, or None if F is the map itself (discrete time); got {dt!r}."
        )
    return float(dt)
