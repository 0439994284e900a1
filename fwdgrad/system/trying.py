"""Calling what a user declared, with the declared values: whether it fits, and whether it is a function at all."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fwdgrad.errors import (
    DeclarationError,
    FirstSampleWarning,
    FwdgradError,
    ShapeError,
    UnknownNameError,
    did_you_mean,
)
from fwdgrad.integrate import Adaptive, At, Past, When
from fwdgrad.integrate.explicit import euler
from fwdgrad.losses import Custom, Loss
from fwdgrad.outside import Outside
from fwdgrad.support.trees import flatten, unflatten
from fwdgrad.system.checks import arrays, checked_first, near, packed, read_only, result, source_line, timed
from fwdgrad.system.parametrised import Parametrised

__all__ = ["Tried", "through"]


class Tried(Parametrised):
    """What a `System` does with the functions that it is given."""

    F: Callable[[Any, Any, Any], Any]
    Y: Callable[[Any, Any, Any], Any] | None
    name: str
    loss: Loss
    state: Any
    x: Any
    y: Any
    dt: float | str | None
    dtype: np.dtype
    size: int
    steady: int
    given: Any
    init: Callable[[Any], Any] | None
    injection: Any
    algebraic: Callable[[Any, Any, Any], Any] | None
    integrator: Any
    substeps: int
    events: tuple[At | When, ...]
    past: Past | None
    prediction: np.ndarray
    outside: Outside
    initial: Any

    @abstractmethod
    def transition(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """h ↦ h'."""

    @abstractmethod
    def output(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """ŷ."""

    def _pack(self, value: Any, who: str) -> Any:
        """A state that `who` returned, flat; one that was declared with the past that it begins with."""
        if self.past is not None and who == "state":
            value = self.past.extended(value)
        return packed(value, self.state, self.dtype, who)

    def confirm(self) -> None:
        """Whether F, Y, the loss and the initial state are functions of their arguments, which all else relies on.

        They are called at two points around the declared example, each after itself and after the other one; the first
        time that is asked.

        Raises:
            HiddenStateError: one returns something else when it is called again, changes something outside that it
                remembers, or uses something outside that is not what it was when the system was declared.
        """
        self.outside.confirm(self._calls)

    def _functions(self) -> dict[str, Any]:
        """The user's functions, by the names that messages call them."""
        loss = self.loss.function if isinstance(self.loss, Custom) else self.loss
        named: dict[str, Any] = {"F": self.F, "Y": self.Y, "the loss": loss, "state": self.init}
        named["algebraic"] = self.algebraic
        named["injection"] = self.injection if callable(self.injection) else None
        named |= {f"params[{k!r}]": tied.function for k, tied in self._tied.items()}
        named |= {f"events[{k}]": event.change for k, event in enumerate(self.events)}
        named |= {
            f"times of events[{k}]": e.times
            for k, e in enumerate(self.events)
            if isinstance(e, At) and callable(e.times)
        }
        if self.past is not None:
            named |= {f"delays[{k!r}]": d.by for k, d in self.past.delays.items() if callable(d.by)}
        named |= {f"condition of events[{k}]": e.condition for k, e in enumerate(self.events) if isinstance(e, When)}
        return {k: function for k, function in named.items() if function is not None}

    def _calls(self, spread: float) -> list[dict[str, Callable[[], Any]]]:
        """Calls of transition, output and loss at two points, as far as that from the declared example."""
        rng = np.random.default_rng(0)
        return [self._calls_near(rng, spread) for _ in range(2)]

    def _calls_near(self, rng: np.random.Generator, spread: float) -> dict[str, Callable[[], Any]]:
        h, given, theta, y = (
            unflatten(tree, [near(leaf, rng, spread) for leaf in flatten(tree)])
            for tree in (self.initial, self.given, self.coordinates, self.y)
        )
        short = self._shortened()
        after = np.array(short.transition(h, given, theta))
        prediction = np.array(self.output(after, given, theta))
        calls: dict[str, Callable[[], Any]] = {
            "F": lambda: short.transition(h, given, theta),
            "Y": lambda: self.output(after, given, theta),
            "the loss": lambda: self.loss.value(prediction, y),
        }
        init = self.init
        return calls if init is None else calls | {"state": lambda: self._pack(init(self.natural(theta)), "state")}

    def _shortened(self) -> Any:
        """This system with one step of Euler's a sample: whether F is a function, a single call of it shows."""
        if self.dt is None:
            return self
        short = copy.copy(self)
        short.integrator, short.substeps = euler, 1
        return short

    def _observed_first(self, first: Any, learned: bool) -> str:
        """The rule for the first sample, from what is declared of it."""
        if first is not None:
            return checked_first(first, self.dt)
        if learned and not isinstance(self.dt, str):
            warnings.warn(
                f"{self.name}: the initial state is learned, and it is not said what the first sample of a trajectory "
                'is observed in. As with a known initial state, that is the state a transition later: first="next".\n'
                'For the initial state itself, the first row of a table that begins at the start, say first="initial".',
                FirstSampleWarning,
                stacklevel=5,
            )
        return "next"

    def _try_out(self) -> Any:
        """Call F and Y once with copies of the example values; what Y returns."""
        h = np.asarray(self._pack(self.state, "state"))
        if isinstance(self.integrator, Adaptive):
            self.integrator.check(len(h))
        if any(isinstance(event, At) for event in self.events):
            timed(self.state)
        x = unflatten(self.x, [read_only(leaf) for leaf in flatten(self.x)])
        params = {k: read_only(v) for k, v in self.coordinates.items()}

        with np.errstate(all="ignore"):
            after = self._called("F", self.transition, h, x, params)
            prediction = self._called("Y", self.output, np.asarray(after), x, params)
        if np.issubdtype(prediction.dtype, np.complexfloating) or not np.issubdtype(prediction.dtype, np.floating):
            raise ShapeError(
                f"Y: expected real floating-point numbers, got dtype {prediction.dtype}.\n"
                "Return an array of floats; symbols are predicted by one score each, with CrossEntropy."
            )
        return prediction

    def _called(self, who: str, function: Callable[..., Any], h: np.ndarray, x: Any, params: dict[str, Any]) -> Any:
        """What F or Y returns for example values; whatever goes wrong in it is said with what it was given."""
        try:
            return function(read_only(h), x, params)
        except FwdgradError:
            raise
        except Exception as error:
            given = ", ".join(f"{k} {list(np.shape(v))}" for k, v in self.params.items())
            inputs = ", ".join(f"{v.dtype}{list(v.shape)}" for v in flatten(self.x)) or "None"
            mend = "Check these shapes and names; both functions take (state, input, parameters)."
            if "read-only" in str(error):
                mend = "It assigns to what it is given: build a new array (np.array([...]), np.stack, h + dh) instead."
            raise DeclarationError(
                f"{who} fails with the declared values{source_line(error, self.F if who == 'F' else self.Y)}: "
                f"{type(error).__name__}: {error}\n"
                f"It was given state {[list(leaf.shape) for leaf in flatten(self.state)]}, x {inputs}, "
                f"params {given}.\n{mend}"
            ) from error

    def _called_init(self, init: Callable[[Any], Any]) -> Any:
        """The state that a function of θ gives for the declared values."""
        try:
            return init({k: read_only(v) for k, v in self.params.items()})
        except FwdgradError:
            raise
        except Exception as error:
            raise DeclarationError(
                f"state, a function of θ, fails with the declared values: {type(error).__name__}: {error}\n"
                f"It was given a dict of the parameters {', '.join(self._order)}; it must return the initial state."
            ) from error

    def _gain(self, injection: Any) -> Any:
        """The gain of an observer, shape (n, m), or what it is computed by."""
        shape = (self.size, int(np.prod(self.prediction.shape, dtype=int)))
        if isinstance(injection, str) or (callable(injection) and not hasattr(injection, "toarray")):
            gain: Any = injection
            self._check_gain_for(injection, *shape)
        else:
            if hasattr(injection, "toarray"):  # of scipy.sparse
                injection = injection.toarray()
            gain = None if isinstance(injection, Mapping) else arrays("injection", injection).astype(self.dtype)
            if gain is None or gain.shape != shape:
                raise ShapeError(
                    f"injection: expected a gain of shape {shape}, state size by predictions; got "
                    f"{np.shape(injection)}.\n"
                    "Row i says by how much of each prediction's error state variable i is corrected."
                )
        y = self.y
        if not isinstance(y, np.ndarray) or y.shape != self.prediction.shape or y.dtype != self.prediction.dtype:
            raise DeclarationError(
                f"injection: expected targets like predictions, {self.prediction.dtype}{list(self.prediction.shape)}; "
                f"the loss {self.loss!r} has others.\nUse SquaredError, or a loss whose targets look like predictions."
            )
        return gain

    def _check_gain_for(self, injection: Any, n: int, m: int) -> None:
        """Refuse a parameter, or a function of θ, that is no gain.

        Raises:
            UnknownNameError, ShapeError, DeclarationError: there is no such parameter; it has another shape; the
                function fails.
        """
        who = f"injection={injection!r}" if isinstance(injection, str) else "injection, a function of θ"
        if isinstance(injection, str) and injection not in self.params:
            raise UnknownNameError(f"{who}: there is no parameter of this name. {did_you_mean(injection, self.params)}")
        try:
            gain = self._gain_for(injection, {k: read_only(v) for k, v in self.params.items()})
        except FwdgradError:
            raise
        except Exception as error:
            raise DeclarationError(
                f"{who}, fails with the declared values: {type(error).__name__}: {error}\n"
                f"It was given a dict of the parameters {', '.join(self._order)}; it must return the gain."
            ) from error
        free, shape = n - self.steady, np.shape(gain)
        fitting = [(free, m), (free,) if m in (1, free) else None, () if m == free else None]
        if self.steady:
            fitting.append((n, m))
        if shape not in fitting:
            shapes = ", ".join(str(s) for s in fitting if s is not None)
            raise ShapeError(
                f"{who}: expected a gain of shape {shapes} for {free} state variables and {m} predictions; got "
                f"{shape}.\nRow i says by how much of each prediction's error state variable i is corrected."
            )

    def _gain_for(self, injection: Any, theta: Mapping[str, Any]) -> Any:
        """The gain that a parameter, or a function of θ, is."""
        return theta[injection] if isinstance(injection, str) else result(injection(theta))


def through(gain: Any, error: Any, size: int) -> Any:
    """What a gain makes of an innovation, shape (n,); zeros for state variables at the end that it has no rows for.

    Args:
        gain: (n, m); (n,) for m = 1, or, one factor for each state variable, for m = n; or one factor for all of them.
        error: the innovation, shape (m,).
        size: n.
    """
    shape = np.shape(gain)
    made = gain @ error if len(shape) == 2 else gain * error
    rest = size - made.shape[0]
    return made if not rest else np.concatenate([made, np.zeros(rest, made.dtype)])
