"""`System`: what a user declares. A transition, an output, an initial state, parameters, an input and a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from fwdgrad.errors import DeclarationError, UnknownNameError, did_you_mean
from fwdgrad.integrate import DEFAULT, Adaptive, At, Delay, When, step_map
from fwdgrad.losses import Loss, as_loss
from fwdgrad.outside import Outside
from fwdgrad.support import display
from fwdgrad.support.arguments import suggests
from fwdgrad.support.trees import cut, flatten, leaf_names, unflatten
from fwdgrad.system.checks import (
    OWN,
    arrays,
    events_of,
    inputs,
    parameters_of,
    result,
    step_of,
    substeps_of,
)
from fwdgrad.system.constraints import Constraint
from fwdgrad.system.moving import Moving
from fwdgrad.system.parameters import Free, Parameter, Tied
from fwdgrad.system.trying import through

__all__ = ["System"]


@suggests
class System(Moving):
    """A parametrised dynamical system with a loss: h' = F(h, x, θ), ŷ = Y(h', x, θ), ℓ(ŷ, y).

    With `dt`, F is the rate dh/dt and `method` turns it into a map.

    Args:
        F: the transition, a plain NumPy function of (state, input, parameters) that returns the next state, or its
            rate of change if `dt` is given, in the containers and shapes of `state`.
        Y: the output, a function of (next state, input, parameters) that returns the prediction ŷ, an array or a
            number. None observes the whole state.
        state: the initial state h(0): an array, or a dict of arrays. Its dtype (float32 or float64) is the system's.
            Or a function of θ that returns it, a learned initial state; see below.
        params: θ, a dict of arrays or numbers, or of what `positive`, `bounded`, `fixed` and `tied` return; {} if
            there are none, and the system is only simulated, or filtered (`fwdgrad.filtered`). Order is kept. These are
            the initial values; learning never changes them here, but in the learner.
        x: an example input: a float array, an integer (a symbol), a dict of these, or None (an autonomous system).
        loss: `SquaredError()` by default, `CrossEntropy()`, or a function of (ŷ, y) that returns a scalar.
        dt: step δt, in the model's unit of time; None if F is the map itself. Or the name of an input, if x is a dict:
            every sample then brings the time since the one before, which may be zero.
        method: integrator for `dt`, by name; see `fwdgrad.integrate`. "rk4" unless given. Or an `Adaptive`, which says
            with what tolerances steps are chosen.
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
        events: changes of the state at given times, such as doses (`fwdgrad.At`), between samples or at them. The state
            is then a dict with the time, a number "t" of rate 1.
        delays: state variables as they were a while ago, by the labels under which F and Y find them among the state:
            `{"late": fwdgrad.Delay("x", "tau")}` is x(t − τ) as h["late"]. The state is then a dict.
        algebraic: equations 0 = g beside the rates: a function of (state, input, parameters) that returns, by the names
            of the state variables that they determine, what is to be zero. The state is then a dict, F returns the
            rates of the others only, and the unknowns are looked for near what the state says of them.
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
        integrator: the method, a function (rate, h, δt) ↦ h'.
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
    algebraic: Callable[[Any, Any, Any], Any] | None = None

    def __init__(
        self,
        F: Callable[[Any, Any, Any], Any],
        Y: Callable[[Any, Any, Any], Any] | None,
        state: Any,
        params: dict[str, Any],
        x: Any = None,
        loss: Any = None,
        dt: float | str | None = None,
        method: str | Adaptive | None = None,
        frozen: Iterable[str] = (),
        *,
        substeps: int = 1,
        injection: Any = None,
        y: Any = None,
        name: str | None = None,
        first: str | None = None,
        events: Iterable[At | When] = (),
        delays: Mapping[str, Delay] | None = None,
        algebraic: Callable[[Any, Any, Any], Any] | None = None,
    ) -> None:
        for label, function in (("F", F), ("Y", Y)):
            if not callable(function) and not (label == "Y" and function is None):
                raise DeclarationError(
                    f"System: {label} must be a function of (state, input, parameters), got {function!r}."
                )
        self.F, self.Y = F, Y
        self.name = str(name or getattr(F, "__name__", "system"))
        self.loss: Loss = as_loss(loss, y)
        self._method = method
        self.method = method if method is not None else "euler" if dt is None else DEFAULT
        self.integrator = step_map(self.method)
        if dt is None and self.method != "euler":
            raise DeclarationError(f"method={method!r}: a map (dt=None) is not integrated. Give dt, if F is a rate.")
        self.substeps, self.events = substeps_of(substeps, dt), events_of(events, dt)

        declared = parameters_of(params)
        self._tied = {k: p for k, p in declared.items() if isinstance(p, Tied)}
        held = {k: p for k, p in declared.items() if isinstance(p, Parameter)}
        init: Callable[[Any], Any] | None = state if callable(state) else None
        values = {k: arrays(f"params[{k!r}]", p.value) for k, p in held.items()}
        self._order = tuple(declared)
        self.coordinate = {k: p.coordinate for k, p in held.items()}
        self._plain = not self._tied and all(isinstance(c, Free) for c in self.coordinate.values())
        self.coordinates: dict[str, np.ndarray] = self.learned(values, values)
        if init is not None:
            state = self._called_init(init)

        self.state = arrays("state", state)
        self._remember(delays, declared, dt)
        if not sum(leaf.size for leaf in flatten(self.state)):
            raise DeclarationError("System: state is empty. Give an array or a dict of arrays, such as np.zeros(3).")
        self.dtype = np.result_type(*flatten(self.state))
        self.state = unflatten(self.state, [leaf.astype(self.dtype) for leaf in flatten(self.state)])
        self.size = sum(leaf.size for leaf in flatten(self.state))
        self.coordinates = {k: v.astype(self.dtype) for k, v in self.coordinates.items()}

        self.frozen = self._frozen(frozen, held)
        self.per_stream = tuple(k for k, p in held.items() if p.per_stream)
        self.trainable = tuple(k for k in self.coordinates if k not in self.frozen)

        x = inputs(x)
        self.x = unflatten(x, [v if v.dtype == np.int64 else v.astype(self.dtype) for v in flatten(x)])
        self.dt = step_of(dt, self.x)
        self._constrain(algebraic)
        self.first = self._observed_first(first, learned=init is not None)
        asked = init is not None and self.first == "next" and not isinstance(self.dt, str)
        self.first_unsaid = first is None
        self._first = "next" if asked else first  # `replace` does not ask again
        self.marked = self.fed = False
        self.init: Callable[[Any], Any] | None = None
        self.injection, self.given = None, self.x
        self._predicts(self._try_out())
        self.init = init
        if injection is not None:
            self.injection, self.corrects = self._gain(injection), True
        self._feed()
        self.outside = Outside(self._functions())

    def _frozen(self, frozen: Any, held: Mapping[str, Parameter]) -> tuple[str, ...]:
        """The names of the parameters that are not to be learned."""
        if not isinstance(frozen, Iterable):
            raise DeclarationError(f"frozen: expected names of parameters, got {frozen!r}. Write frozen=['W'].")
        frozen = (frozen,) if isinstance(frozen, str) else tuple(frozen)
        for k in frozen:
            if k not in self.coordinates:
                raise UnknownNameError(f"frozen: there is no parameter {k!r}. {did_you_mean(k, self.coordinates)}")
        return tuple(k for k, p in held.items() if k in frozen or not p.learn)

    def _predicts(self, prediction: Any) -> None:
        """Keep what predictions and targets look like."""
        self.prediction = np.zeros(prediction.shape, prediction.dtype)
        target = self.loss.target(self.prediction)
        self.y = unflatten(target, [np.asarray(leaf) for leaf in flatten(target)])

    def _constrain(self, algebraic: Any) -> None:
        """Take up algebraic equations, if there are any, and begin where they hold."""
        self.algebraic = algebraic
        if algebraic is None:
            return
        if self.dt is None:
            raise DeclarationError("algebraic: a map (dt=None) has no rates. Give dt, or solve with root in F.")
        if self.past is not None:
            raise DeclarationError(
                "algebraic: delays and algebraic equations do not go together.\n"
                "Solve the equations in F, with fwdgrad.program.root."
            )
        theta = self.natural(self.coordinates)
        self.constraint = Constraint(algebraic, self.state, self.x, theta, self.dtype)
        self.state = self.unpack(
            self.constraint.begun(self.F, np.asarray(self._pack(self.state, "state")), self.x, theta)
        )

    def _feed(self) -> None:
        """Say what a transition is given besides the user's input."""
        self.marked = self.init is not None or self.first == "initial"
        self.fed = self.marked or self.corrects
        if self.fed:
            start = {"start": np.zeros((), self.dtype)} if self.marked else {}
            seen = {"seen": {"x": self.x, "y": self.y}} if self.corrects else {}
            self.given = {"x": self.x, **start, **seen}

    def __repr__(self) -> str:
        inputs = ", ".join(f"{v.dtype}{list(v.shape)}" for v in flatten(self.x)) or "none"
        step = f", dt={self.dt if isinstance(self.dt, str) else f'{self.dt:g}'} ({self.method})" if self.dt else ""
        count = sum(p.size for p in self.params.values())
        return (
            f"System {self.name}: state {self.size}, parameters {count} ({', '.join(self.params)}), "
            f"input {inputs}{step}, loss {self.loss!r}" + (", biased derivatives" if self.surrogates else "")
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

    def must_learn(self) -> None:
        """Refuse to learn where there is nothing to learn.

        A system without parameters may be simulated all the same, and filtered, which brings those of the noise.

        Raises:
            DeclarationError: no parameter is learned.
        """
        if not self.trainable:
            raise DeclarationError(
                f"System {self.name}: there is no parameter to learn; params is empty or all of it is frozen.\n"
                "Declare params={…}; or filter it, with noise that is learned: fg.filtered(system, fg.positive(1.0), …)"
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
        return unflatten(self.state, cut(h, [leaf.shape for leaf in leaves]))

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
        if self.constraint is not None:
            begun = self.constraint.rate(self.F, x, theta).settled(begun)
        return np.where(np.abs(given["start"]) > OWN / 2, begun, after)

    def output(self, h: Any, given: Any, coordinates: Mapping[str, Any]) -> Any:
        """ŷ = Y(h', x, θ) for a flat h'; without Y the state as declared, or the flat vector if it is a dict."""
        return self.observed(h, self._input(given), self.natural(coordinates))

    def observed(self, h: Any, x: Any, theta: Mapping[str, Any]) -> Any:
        """ŷ for a flat h, from θ as Y sees it."""
        if self.Y is None:
            own = h if self.past is None else h[: self.past.free(self.state)]
            return own if isinstance(self.state, dict) else self.unpack(h)
        return result(self.Y(self._read(h, theta), x, theta))

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

    # ---- parameters

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

    def restartable(self) -> System:
        """The same system, `marked`: whether a trajectory starts is among what its transition is given."""
        if self.init is not None:
            return self
        state = self.state

        def begun(_: Any) -> Any:
            return unflatten(state, [np.array(leaf) for leaf in flatten(state)])

        return self.replace(state=begun, **({} if isinstance(self.dt, str) else {"first": self.first}))

    @property
    def declared(self) -> dict[str, Any]:
        """The parameters as they were declared, by name: for `replace`, with some more or other ones among them."""
        return self._parameters(self.params)

    def _parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            k: self._tied[k]
            if k in self._tied
            else Parameter(v, self.coordinate[k], k not in self.frozen, k in self.per_stream)
            for k, v in values.items()
        }

    def astype(self, dtype: Any) -> System:
        """The same system in another precision, float32 or float64."""
        return System(**self._declared(dtype))

    def _declared(self, dtype: Any) -> dict[str, Any]:
        """The arguments that declare this system."""

        def cast(tree: Any) -> Any:
            return unflatten(tree, [v if v.dtype == np.int64 else v.astype(dtype) for v in flatten(tree)])

        state = self.state if self.past is None else self.past.declared(self.state)
        params = self.declared
        params = {k: replace(p, value=cast(p.value)) if isinstance(p, Parameter) else p for k, p in params.items()}
        return {
            "F": self.F,
            "Y": self.Y,
            "state": cast(state) if self.init is None else self.init,
            "params": params,
            "x": cast(self.x),
            "loss": self.loss,
            "dt": self.dt,
            "method": self._method,
            "substeps": self.substeps,
            "injection": self.injection,
            "name": self.name,
            "first": self._first,
            "events": self.events,
            "delays": None if self.past is None else self.past.delays,
            "algebraic": self.algebraic,
        }

    @cached_property
    def initial(self) -> np.ndarray:
        """h(0) as a flat vector, for the initial parameters."""
        return np.asarray(self.pack(self.state))
