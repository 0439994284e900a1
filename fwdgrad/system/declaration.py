"""`System`: what a user declares. A transition, an output, an initial state, parameters, an input and a loss."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox

from fwdgrad.engines.numpy_engine import compile_program
from fwdgrad.errors import (
    DataError,
    DeclarationError,
    FirstSampleWarning,
    FwdgradError,
    HiddenStateError,
    NonFiniteError,
    ShapeError,
    StepError,
    TracingError,
    UnknownNameError,
    did_you_mean,
)
from fwdgrad.integrate import step_map
from fwdgrad.losses import Custom, Loss, as_loss
from fwdgrad.outside import Outside
from fwdgrad.program import Abstract, repeat, trace_pure
from fwdgrad.program.tracer import as_operand
from fwdgrad.support import display, frames
from fwdgrad.support.trees import flatten, leaf_names, parted, unflatten
from fwdgrad.system.causes import cause
from fwdgrad.system.parameters import Free, Parameter, Tied

__all__ = ["Simulation", "System"]


FIRST = ("initial", "next")
"""What the first sample of a trajectory is observed in: the initial state, or the state a transition later."""

OWN, GIVEN = 1.0, -1.0
"""The "start" among what a transition is given: a trajectory starts, from the system's own initial state or from one
that the user gave. It is 0 for every later sample."""


class Simulation(NamedTuple):
    """What `System.simulate` returns; time is axis 0."""

    states: Any
    """The state after each sample, in the containers it was declared with."""
    outputs: np.ndarray
    """The prediction for each sample, shape (T, *shape of the prediction)."""

    def to_frame(self, names: Sequence[str] | None = None) -> Any:
        r"""A `pandas.DataFrame` with a row for each sample: state variables by name, and outputs.

        Args:
            names: of the outputs; "output 0" and so on unless given, `EquationSystem.output_names` for one.

        Raises:
            DeclarationError: pandas is not installed.

        Example:
            >>> import fwdgrad as fg
            >>> model = fg.from_text("d x/dt = -k*x\nx(0) = 1\nparam k = 0.5\noutput level = 2*x\ndt = 0.1")
            >>> list(model.simulate(steps=3).to_frame(model.output_names).columns)
            ['x', 'level']
        """
        columns: dict[str, Any] = {}
        labels = [label.removeprefix("state_") for label in leaf_names(self.states, "state")]
        for label, values in zip(labels, flatten(self.states), strict=True):
            columns |= frames.named(values, [label] if np.ndim(values) == 1 else None, label)
        outputs = frames.named(self.outputs, names, "output")
        return frames.frame(columns | {k: v for k, v in outputs.items() if k not in columns}, None, "sample")

    def __repr__(self) -> str:
        size = sum(int(np.prod(np.shape(leaf)[1:], dtype=int)) for leaf in flatten(self.states))
        outputs = int(np.prod(self.outputs.shape[1:], dtype=int))
        parts = (display.counted(size, "state variable"), display.counted(outputs, "output"))
        return f"Simulation of {display.counted(len(self.outputs), 'sample')}: {', '.join(parts)}"

    def _repr_html_(self) -> str:
        along = ("sample 0", f"{len(self.outputs) - 1}")
        shown = self.outputs.reshape(len(self.outputs), -1).T[: display.CURVES]
        return display.page(
            repr(self), *(display.curve(v, label=f"output {k}", along=along) for k, v in enumerate(shown))
        )


class System:
    """A parametrised dynamical system with a loss: h' = F(h, x, θ), ŷ = Y(h', x, θ), ℓ(ŷ, y).

    With `dt`, F is the rate dh/dt and `method` turns it into a map.

    Args:
        F: the transition, a plain NumPy function of (state, input, parameters) that returns the next state, or its
            rate of change if `dt` is given, in the containers and shapes of `state`.
        Y: the output, a function of (next state, input, parameters) that returns the prediction ŷ, an array or a
            number. None observes the whole state.
        state: the initial state h(0): an array, or a dict of arrays. Its dtype (float32 or float64) is the system's.
            Or a function of θ that returns it, a learned initial state; see below.
        params: θ, a dict of arrays or numbers, or of what `positive`, `bounded`, `fixed` and `tied` return. Order is
            kept. These are the initial values; learning never changes them here, but in the learner.
        x: an example input: a float array, an integer (a symbol), a dict of these, or None (an autonomous system).
        loss: `SquaredError()` by default, `CrossEntropy()`, or a function of (ŷ, y) that returns a scalar.
        dt: step δt, in the model's unit of time; None if F is the map itself. Or the name of an input, if x is a dict:
            every sample then brings the time since the one before, which may be zero.
        method: integrator for `dt`; see `fwdgrad.integrate`.
        frozen: names of parameters that are not to be learned.
        substeps: the integrator makes this many steps, of δt/substeps each, for one sample.
        injection: gain K of an observer, shape (n, m) for m predictions, dense or of `scipy.sparse`: before a
            transition the state h is corrected by K (y − Y(h)) of the sample before, by nothing where that y is
            missing. A learner follows the data of a chaotic system that way, and the gradient is exact for the
            corrected system. Or the name of a parameter, whose value is the gain and is learned with the rest, or a
            function of θ that returns it (the innovations form; Ljung 1979): (n, m), (n,) for one prediction or as
            many as there are state variables, or one number in the latter case.
        y: an example target, for a loss of your own whose targets do not look like predictions.
        name: what to call it in reports.
        first: what the first sample of a trajectory is observed in. "initial": in the initial state itself; it makes no
            transition, h' = h(0), as the row at the start time of a table is. "next" (the default): a transition
            later, h' = F(h(0), x, θ), as the first input of a network is. One rule for known, learned and given
            initial states. With `dt` the name of an input leave it out: the first sample then says itself how long
            after the start it is, 0 included.

    A learned initial state is h(0) = init(θ). Its derivative ∂init/∂θ is where ∂h/∂θ starts from. `Learner.reset_state`
    starts another trajectory.

    Attributes:
        size: n, the number of numbers in the state.
        dtype: float64 or float32.
        params: the initial values that F and Y see, arrays by name.
        coordinates: what is learned, arrays by name: the parameters, but log θ for a `positive` one (see `bounded`),
            and nothing for a `tied` one. `natural` and `learned` translate.
        trainable: names of the parameters that are learned.
        first: "initial" or "next"; `first_unsaid` whether that is by default.
        given: example of all that a transition is given besides h and θ: x, or, if the system is `fed`, a dict of x
            and of what the learner's loop adds: "start", where the start of a trajectory has to be known (`marked`),
            and "seen" for injection.

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

    corrects = False
    steady = 0
    """State variables at the end of h that no gain corrects."""

    def __init__(
        self,
        F: Callable[[Any, Any, Any], Any],
        Y: Callable[[Any, Any, Any], Any] | None,
        state: Any,
        params: dict[str, Any],
        x: Any = None,
        loss: Any = None,
        dt: float | str | None = None,
        method: str = "euler",
        frozen: Iterable[str] = (),
        *,
        substeps: int = 1,
        injection: Any = None,
        y: Any = None,
        name: str | None = None,
        first: str | None = None,
    ) -> None:
        for label, function in (("F", F), ("Y", Y)):
            if not callable(function) and not (label == "Y" and function is None):
                raise DeclarationError(
                    f"System: {label} must be a function of (state, input, parameters), got {function!r}."
                )
        self.F, self.Y = F, Y
        self.name = str(name or getattr(F, "__name__", "system"))
        self.loss: Loss = as_loss(loss, y)
        self.method = method
        self._integrate = step_map(method)
        if dt is None and method != "euler":
            raise DeclarationError(f"method={method!r}: a map (dt=None) is not integrated. Give dt, if F is a rate.")
        self.substeps = _substeps(substeps, dt)

        declared = _parameters(params)
        self._tied = {k: p for k, p in declared.items() if isinstance(p, Tied)}
        held = {k: p for k, p in declared.items() if isinstance(p, Parameter)}
        init: Callable[[Any], Any] | None = state if callable(state) else None
        values = {k: _arrays(f"params[{k!r}]", p.value) for k, p in held.items()}
        self._order = tuple(declared)
        self.coordinate = {k: p.coordinate for k, p in held.items()}
        self._plain = not self._tied and all(isinstance(c, Free) for c in self.coordinate.values())
        self.coordinates: dict[str, np.ndarray] = values
        self.coordinates = self.learned(values)
        if init is not None:
            state = self._called_init(init)

        self.state = _arrays("state", state)
        if not sum(leaf.size for leaf in flatten(self.state)):
            raise DeclarationError("System: state is empty. Give an array or a dict of arrays, such as np.zeros(3).")
        self.dtype = np.result_type(*flatten(self.state))
        self.state = unflatten(self.state, [leaf.astype(self.dtype) for leaf in flatten(self.state)])
        self.size = sum(leaf.size for leaf in flatten(self.state))
        self.coordinates = {k: v.astype(self.dtype) for k, v in self.coordinates.items()}

        if not isinstance(frozen, Iterable):
            raise DeclarationError(f"frozen: expected names of parameters, got {frozen!r}. Write frozen=['W'].")
        frozen = (frozen,) if isinstance(frozen, str) else tuple(frozen)
        for k in frozen:
            if k not in self.coordinates:
                raise UnknownNameError(f"frozen: there is no parameter {k!r}. {did_you_mean(k, self.coordinates)}")
        self.frozen = tuple(k for k, p in held.items() if k in frozen or not p.learn)
        self.trainable = tuple(k for k in self.coordinates if k not in self.frozen)
        if not self.trainable:
            raise DeclarationError("System: there is no parameter to learn; params is empty or all of it is frozen.")

        x = _inputs(x)
        self.x = unflatten(x, [v if v.dtype == np.int64 else v.astype(self.dtype) for v in flatten(x)])
        self.dt = _step(dt, self.x)
        self.first = self._observed_first(first, learned=init is not None)
        asked = init is not None and self.first == "next" and not isinstance(self.dt, str)
        self.first_unsaid = first is None
        self._first = "next" if asked else first  # `replace` does not ask again
        self.marked = False
        self.init: Callable[[Any], Any] | None = None
        self.injection: Any = None
        self.given: Any = self.x
        self.fed = False
        prediction = self._try_out()
        self.prediction = np.zeros(prediction.shape, prediction.dtype)
        target = self.loss.target(self.prediction)
        self.y = unflatten(target, [np.asarray(leaf) for leaf in flatten(target)])
        self.init = init
        if injection is not None:
            self.injection, self.corrects = self._gain(injection), True
        self.marked = init is not None or self.first == "initial"
        self.fed = self.marked or self.corrects
        if self.fed:
            start = {"start": np.zeros((), self.dtype)} if self.marked else {}
            seen = {"seen": {"x": self.x, "y": self.y}} if self.corrects else {}
            self.given = {"x": self.x, **start, **seen}
        self.outside = Outside(self._functions())

    def __repr__(self) -> str:
        inputs = ", ".join(f"{v.dtype}{list(v.shape)}" for v in flatten(self.x)) or "none"
        step = f", dt={self.dt if isinstance(self.dt, str) else f'{self.dt:g}'} ({self.method})" if self.dt else ""
        count = sum(p.size for p in self.params.values())
        return (
            f"System {self.name}: state {self.size}, parameters {count} ({', '.join(self.params)}), "
            f"input {inputs}{step}, loss {self.loss!r}"
        )

    def _repr_html_(self) -> str:
        def sizes(tree: Any, prefix: str) -> str:
            names = [name.removeprefix(f"{prefix}_") for name in leaf_names(tree, prefix)]
            shapes = [f" {list(leaf.shape)}" if leaf.shape else "" for leaf in flatten(tree)]
            return ", ".join(name + shape for name, shape in zip(names, shapes, strict=True)) or "none"

        step = "a map" if self.dt is None else f"rates, step {self.dt}, {self.method}"
        step += f" in {self.substeps} substeps" if self.substeps > 1 else ""
        head = [("state", sizes(self.state, "h")), ("input", sizes(self.x, "x")), ("time", step)]
        head += [("loss", repr(self.loss)), ("first sample", f"{self.first}")]
        rows = [("parameter", "shape", "start", "learned")]
        for name, value in self.params.items():
            size = "×".join(map(str, value.shape)) or "number"
            shown = f"{float(value):.6g}" if not value.shape else f"r.m.s. {np.sqrt(np.mean(np.square(value))):.4g}"
            how = "no" if name in self.frozen else "tied" if name in self._tied else "yes"
            bounds = f", {self.coordinate[name]!r}" if name in self.trainable and self.coordinate[name].bounded else ""
            rows.append((name, size, shown, how + bounds))
        return display.page(f"System {self.name}", display.pairs(head), display.table(rows))

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

    def transition(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """The map h ↦ h' on flat vectors: corrected by what was seen, integrated over one sample if `dt` is given."""
        x = self._input(given)
        theta = self.natural(coordinates)

        begun = h
        if self.init is not None:
            begun = np.where(given["start"] > OWN / 2, self._pack(self.init(theta), "state"), h)
        before = begun if self.first == "next" else h
        if self.fed and self.corrects:
            before = self._corrected(before, given["seen"], theta)
        after = self.moved(before, x, theta)
        if not self.marked or self.first == "next":
            return after
        return np.where(np.abs(given["start"]) > OWN / 2, begun, after)

    def output(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """ŷ = Y(h', x, θ) for a flat h'; without Y the state as declared, or the flat vector if it is a dict."""
        return self.observed(h, self._input(given), self.natural(coordinates))

    def moved(self, h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        """The flat h a sample later: F, integrated if `dt` is given, and nothing else of `transition`."""

        def flat(vector: Any) -> Any:
            return self._pack(self.F(self.unpack(vector), x, theta), "F")

        if self.dt is None:
            return flat(h)
        dt = (x[self.dt] if isinstance(self.dt, str) else self.dt) / self.substeps
        if self.substeps == 1:
            return self._integrate(flat, h, dt)
        return repeat(lambda now: self._integrate(flat, now, dt), h, self.substeps)

    def observed(self, h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        """ŷ for a flat h, from θ as Y sees it."""
        if self.Y is None:
            return h if isinstance(self.state, dict) else self.unpack(h)
        return _result(self.Y(self.unpack(h), x, theta))

    def point(self, predictions: Any) -> Any:
        """What of predictions, one or several along the first axis, stands for y: all of them."""
        return predictions

    def _input(self, given: Any) -> Any:
        """What F and Y are given as x."""
        return given["x"] if self.fed else given

    def _corrected(self, h: Any, seen: Any, theta: Mapping[str, Any]) -> Any:
        """h + K (y − Y(h, x, θ)) with the sample before; components of y that are NaN correct nothing."""
        error = seen["y"] - self.observed(h, seen["x"], theta)
        error = np.reshape(np.where(np.isnan(seen["y"]), 0.0, error), (-1,))
        if isinstance(self.injection, np.ndarray):
            return h + self.injection @ error
        return h + through(self._gain_for(self.injection, theta), error, self.size)

    def _gain_for(self, injection: Any, theta: Mapping[str, Any]) -> Any:
        """The gain that a parameter, or a function of θ, is."""
        return theta[injection] if isinstance(injection, str) else _result(injection(theta))

    # ---- parameters

    def natural(self, coordinates: Mapping[str, Any]) -> dict[str, Any]:
        """θ as F and Y see it, from what is learned of it."""
        if self._plain:
            return dict(coordinates)
        made = {k: self.coordinate[k].natural(v) for k, v in coordinates.items()}
        return {k: self._tied[k].value(made[self._tied[k].name]) if k in self._tied else made[k] for k in self._order}

    def leaves_at(self, point: np.ndarray) -> dict[str, np.ndarray]:
        """Learned coordinates by leaf, from all of them in one vector, shape (p,), or numbers that go with them."""
        return parted(point, {k: self.coordinates[k] for k in self.trainable})

    def params_at(self, point: np.ndarray) -> dict[str, Any]:
        """θ as F and Y see it, at learned coordinates in one vector, shape (p,)."""
        return self.natural(self.coordinates | self.leaves_at(point))

    def learned(self, params: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """What is learned of parameters, from the values of some or all of them; the inverse of `natural`.

        Args:
            params: values as F and Y see them.
            others: what is learned of the parameters that are left out; the declared values unless given.

        Raises:
            UnknownNameError: there is no such parameter, or it is tied to another one and given another value.
            ShapeError: another shape than declared, or values that are not finite or outside the declared bounds.
        """
        made = dict(self.coordinates if others is None else others)
        for k, v in params.items():
            if k in self._tied:
                continue
            if k not in made:
                raise UnknownNameError(f"params: there is no parameter {k!r}. {did_you_mean(k, self._order)}")
            shape, coordinate = np.shape(made[k]), self.coordinate[k]
            try:
                array = np.array(v, dtype=np.asarray(made[k]).dtype)
            except (TypeError, ValueError):
                array = np.array(np.nan)
            if array.shape != shape or not np.all(np.isfinite(array)):
                raise ShapeError(f"params[{k!r}]: expected finite numbers of shape {shape}, got {v!r}.")
            with np.errstate(all="ignore"):
                made[k] = np.asarray(coordinate.learned(array))
            if not np.all(np.isfinite(made[k])):
                raise ShapeError(f"params[{k!r}]: expected values within its bounds, {coordinate!r}; got {v!r}.")
        follows = self.natural(made)
        for k in self._tied:
            if k in params and not np.allclose(params[k], follows[k]):
                raise UnknownNameError(f"params: {k!r} follows from {self._tied[k].name!r}. Set that one.")
        return made

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """The initial values of the parameters as F and Y see them, in the order of their declaration."""
        return {k: np.asarray(v) for k, v in self.natural(self.coordinates).items()}

    def replace(self, **changes: Any) -> System:
        """The same declaration with other arguments of `System`.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": 2.0}, dt=0.1)
            >>> system.replace(dt=0.05, method="heun").dt
            0.05
        """
        return System(**(self._declared(self.dtype) | changes))

    def starting_at(self, params: Mapping[str, Any]) -> System:
        """The same declaration with other initial values of some parameters, learned in the same coordinates.

        Raises:
            UnknownNameError, ShapeError: as `learned`.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.System(lambda h, x, p: p["a"] * h, None, np.ones(1), {"a": fg.positive(2.0)})
            >>> round(float(system.starting_at({"a": 3.0}).params["a"]), 9)
            3.0
        """
        return self.replace(params=self._parameters(self.natural(self.learned(params))))

    @property
    def declared(self) -> dict[str, Any]:
        """The parameters as they were declared, by name: for `replace`, with some more or other ones among them."""
        return self._parameters(self.params)

    def _parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            k: self._tied[k] if k in self._tied else Parameter(v, self.coordinate[k], learn=k not in self.frozen)
            for k, v in values.items()
        }

    def astype(self, dtype: Any) -> System:
        """The same system in another precision, float32 or float64."""
        return System(**self._declared(dtype))

    def _declared(self, dtype: Any) -> dict[str, Any]:
        """The arguments that declare this system."""

        def cast(tree: Any) -> Any:
            return unflatten(tree, [v if v.dtype == np.int64 else v.astype(dtype) for v in flatten(tree)])

        params = self.declared
        params = {k: replace(p, value=cast(p.value)) if isinstance(p, Parameter) else p for k, p in params.items()}
        return {
            "F": self.F,
            "Y": self.Y,
            "state": cast(self.state) if self.init is None else self.init,
            "params": params,
            "x": cast(self.x),
            "loss": self.loss,
            "dt": self.dt,
            "method": self.method,
            "substeps": self.substeps,
            "injection": self.injection,
            "name": self.name,
            "first": self._first,
        }

    # ---- simulation

    def simulate(
        self,
        xs: Any = None,
        *,
        steps: int | None = None,
        params: Mapping[str, Any] | None = None,
        state: Any = None,
        first: str | None = None,
    ) -> Simulation:
        """A free run: transitions and predictions without data, and without injection.

        Args:
            xs: inputs, arrays with time along axis 0 in the containers of `x`; None for an autonomous system.
            steps: how many samples, for an autonomous system.
            params: θ, or some of it, in place of the declared values; `Learner.params` will do.
            state: to start from; the declared one unless given.
            first: what the first sample is observed in, see `System`; what the system says unless given. To go on from
                a state that a sample was seen in, say "next": `simulate(xs, state=learner.state, first="next")`.

        Returns:
            The state at every sample, in the containers of `state`, and the prediction for it; time is axis 0.

        Raises:
            ShapeError, UnknownNameError: inputs, state or parameters are not as declared.
            NonFiniteError: the state stops being finite, with the number of the step.
            IndexRangeError, SingularMatrixError: F or Y reads outside of an array, or inverts a matrix that has no
                inverse; likewise.
            HiddenStateError: as `confirm`.

        Cost: a transition and an output a step, as plain NumPy calls.

        Example:
            >>> import numpy as np, fwdgrad as fg
            >>> system = fg.System(lambda h, x, p: -p["k"] * h, None, np.ones(1), {"k": 0.5}, dt=0.1, method="rk4")
            >>> states, outputs = system.simulate(steps=10)
            >>> print(round(float(states[-1, 0]), 4), round(np.exp(-0.5), 4))
            0.6065 0.6065
            >>> print(round(float(system.simulate(steps=11, first="initial").states[-1, 0]), 4))
            0.6065
        """
        inputs, count = self._simulated_inputs(xs, steps)
        step, coordinates = self._step_function, self.learned(params or {})
        self.outside.unchanged()
        rule = self.first if first is None else _checked_first(first, self.dt)
        if rule == "initial" and self.first == "next":
            return self.replace(first=rule).simulate(xs, steps=steps, params=params, state=state)
        h = start_state = self._begun(state, coordinates)
        added: list[Any] = []
        if self.marked:
            mark = GIVEN if rule == "initial" else 0.0
            added.append([np.asarray(0.0 if k else mark, self.dtype) for k in range(count)])
        if self.corrects:
            gone = np.full(self.prediction.shape, np.nan, self.prediction.dtype)
            added += [inputs[k] for k in range(len(inputs))] + [[gone] * count]
        states, outputs = np.empty((count, self.size), self.dtype), np.empty((count, *self.prediction.shape))
        leaves = list(coordinates.values())
        with np.errstate(all="ignore"):
            for k in range(count):
                try:
                    h, outputs[k] = step(h, *(row[k] for row in (*inputs, *added)), *leaves)
                except StepError as error:
                    error.placed(k, left=" of the simulation")
                    raise
                states[k] = h
        if not (np.all(np.isfinite(states)) and np.all(np.isfinite(outputs))):
            bad = ~(np.isfinite(states).all(1) & np.isfinite(outputs.reshape(count, -1)).all(1))
            wrong = int(np.argmax(bad))
            given = [row[wrong] for row in (*inputs, *added)]
            before = states[wrong - 1] if wrong else start_state
            told = cause(self, given, lambda: step(before, *given, *leaves))
            raise NonFiniteError(
                f"simulate: the state or the prediction is not finite at step {wrong}.\n"
                + (f"{told.found}\n{told.mend}" if told is not None else _CAUSES),
                step=wrong,
                quantity=told.quantity if told is not None else "the state",
            )
        shaped, start = [], 0
        for leaf in flatten(self.state):
            shaped.append(states[:, start : start + leaf.size].reshape(count, *leaf.shape))
            start += leaf.size
        return Simulation(unflatten(self.state, shaped), outputs.astype(self.prediction.dtype))

    def _begun(self, state: Any, coordinates: Mapping[str, Any]) -> np.ndarray:
        """h(0): the state that is given, or the declared one for these parameters."""
        if state is not None:
            return np.asarray(self.pack(_arrays("state", state)), self.dtype)
        if self.init is None:
            return self.initial
        with np.errstate(all="ignore"):
            return np.asarray(self._pack(self.init(self.natural(coordinates)), "state"))

    def _simulated_inputs(self, xs: Any, steps: int | None) -> tuple[list[np.ndarray], int]:
        if self.x is None:
            if xs is not None or isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
                raise ShapeError(f"simulate: the system is autonomous; expected simulate(steps=…), got {steps!r}.")
            return [], int(steps)
        if isinstance(self.x, dict) and (not isinstance(xs, Mapping) or set(xs) != set(self.x)):
            got = sorted(xs) if isinstance(xs, Mapping) else type(xs).__name__
            raise ShapeError(f"simulate: expected xs as a dict with the keys {sorted(self.x)}, got {got}.")
        rows = [np.asarray(v) for v in ([xs[k] for k in self.x] if isinstance(self.x, dict) else [xs])]
        shapes = [v.shape for v in flatten(self.x)]
        if [r.shape[1:] for r in rows] != shapes or not all(r.ndim for r in rows):
            raise ShapeError(
                f"simulate: expected inputs with time along axis 0 and shapes {shapes} a step, got arrays of shapes "
                f"{[r.shape for r in rows]}."
            )
        lengths = sorted({len(r) for r in rows})
        if len(lengths) > 1 or (steps is not None and steps > lengths[0]):
            wanted = "equally many" if steps is None else f"at least {steps}"
            raise ShapeError(f"simulate: expected {wanted} samples of every input, got {lengths}.")
        for r in rows:
            if not (np.issubdtype(r.dtype, np.number) or r.dtype == bool) or not np.all(np.isfinite(r)):
                raise DataError(f"simulate: expected finite inputs, got {r.dtype} with NaN or infinity, or no numbers.")
        made = [r.astype(v.dtype) for r, v in zip(rows, flatten(self.x), strict=True)]
        return made, lengths[0] if steps is None else int(steps)

    @cached_property
    def _step_function(self) -> Callable[..., Any]:
        """(h, inputs, coordinates) ↦ (h', ŷ), all flat; traced, if it can be."""
        names, count = list(self.coordinates), len(flatten(self.given))

        def step(h: Any, *rest: Any) -> Any:
            given, theta = unflatten(self.given, rest[:count]), dict(zip(names, rest[count:], strict=True))
            after = self.transition(h, given, theta)
            return after, self.output(after, given, theta)

        self.confirm()
        example = [self.initial, *flatten(self.given), *self.coordinates.values()]
        try:
            return compile_program(trace_pure(step, [Abstract.of(a) for a in example], name="simulate"))
        except HiddenStateError:
            raise
        except TracingError:
            return step

    @cached_property
    def initial(self) -> np.ndarray:
        """h(0) as a flat vector, for the initial parameters."""
        return np.asarray(self.pack(self.state))

    # ---- checking

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
        named["injection"] = self.injection if callable(self.injection) else None
        named |= {f"params[{k!r}]": tied.function for k, tied in self._tied.items()}
        return {k: function for k, function in named.items() if function is not None}

    def _calls(self, spread: float) -> list[dict[str, Callable[[], Any]]]:
        """Calls of transition, output and loss at two points, as far as that from the declared example."""
        rng = np.random.default_rng(0)
        return [self._calls_near(rng, spread) for _ in range(2)]

    def _calls_near(self, rng: np.random.Generator, spread: float) -> dict[str, Callable[[], Any]]:
        h, given, theta, y = (
            unflatten(tree, [_near(leaf, rng, spread) for leaf in flatten(tree)])
            for tree in (self.initial, self.given, self.coordinates, self.y)
        )
        after = np.array(self.transition(h, given, theta))
        prediction = np.array(self.output(after, given, theta))
        calls: dict[str, Callable[[], Any]] = {
            "F": lambda: self.transition(h, given, theta),
            "Y": lambda: self.output(after, given, theta),
            "the loss": lambda: self.loss.value(prediction, y),
        }
        init = self.init
        return calls if init is None else calls | {"state": lambda: self._pack(init(self.natural(theta)), "state")}

    def _observed_first(self, first: Any, learned: bool) -> str:
        """The rule for the first sample, from what is declared of it."""
        if first is not None:
            return _checked_first(first, self.dt)
        if learned and not isinstance(self.dt, str):
            warnings.warn(
                f"{self.name}: the initial state is learned, and it is not said what the first sample of a trajectory "
                'is observed in. As with a known initial state, that is the state a transition later: first="next".\n'
                'For the initial state itself, the first row of a table that begins at the start, say first="initial".',
                FirstSampleWarning,
                stacklevel=4,
            )
        return "next"

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

    def _called_init(self, init: Callable[[Any], Any]) -> Any:
        """The state that a function of θ gives for the declared values."""
        try:
            return init({k: _copy(v) for k, v in self.params.items()})
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
            gain = None if isinstance(injection, Mapping) else _arrays("injection", injection).astype(self.dtype)
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
            gain = self._gain_for(injection, {k: _copy(v) for k, v in self.params.items()})
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

    def _try_out(self) -> Any:
        """Call F and Y once with copies of the example values; what Y returns."""
        h = np.asarray(self._pack(self.state, "state"))
        x = unflatten(self.x, [_copy(leaf) for leaf in flatten(self.x)])
        params = {k: _copy(v) for k, v in self.coordinates.items()}

        with np.errstate(all="ignore"):
            after = self._called("F", self.transition, h, x, params)
            prediction = self._called("Y", self.output, np.asarray(after), x, params)
        if np.issubdtype(prediction.dtype, np.complexfloating) or not np.issubdtype(prediction.dtype, np.floating):
            raise ShapeError(
                f"Y: expected real floating-point numbers, got dtype {prediction.dtype}.\n"
                "Return an array of floats; symbols are predicted by one score each, with CrossEntropy."
            )
        return prediction


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


def _near(value: np.ndarray, rng: np.random.Generator, spread: float) -> np.ndarray:
    """Numbers around others; symbols stay."""
    if not np.issubdtype(value.dtype, np.floating):
        return value
    factor = 1.0 + spread * rng.uniform(-1, 1, value.shape)
    return np.asarray(value * factor + 0.1 * spread * rng.uniform(0, 1, value.shape)).astype(value.dtype)


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


_CAUSES = (
    "Usual causes: a step δt too long for the integrator, a system that is unstable, or a function\n"
    "outside its domain (log or sqrt of a negative number, a division by zero)."
)


def _step(dt: Any, x: Any) -> float | str | None:
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


def _checked_first(first: Any, dt: Any) -> str:
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


def _substeps(substeps: Any, dt: Any) -> int:
    if isinstance(substeps, bool) or not isinstance(substeps, (int, np.integer)) or substeps < 1:
        raise DeclarationError(f"substeps: expected an integer of at least 1, got {substeps!r}.")
    if dt is None and substeps != 1:
        raise DeclarationError(f"substeps={substeps}: a map (dt=None) has no steps to divide. Give dt.")
    return int(substeps)


def _parameters(params: Any) -> dict[str, Parameter | Tied]:
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
